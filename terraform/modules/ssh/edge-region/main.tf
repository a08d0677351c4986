module "contract" {
  source  = "../../contract"
  regions = { (var.name) = { lat = var.lat, lon = var.lon, wave = var.wave, capacity = var.capacity } }
  release = { current = var.artifact }
}

module "node" {
  source      = "../../node-config"
  for_each    = var.hosts
  role        = "edge"
  region      = var.name
  node        = each.key
  artifact    = module.contract.regions[var.name].artifact
  credentials = merge({ join-token = var.secret_ref }, var.gossip_key_ref == "" ? {} : { gossip-key = var.gossip_key_ref })
  core_url    = var.core_endpoint
  core_ca     = var.core_ca
  public_url  = local.public_url
  public_port = var.public_port
  tls_port    = var.tls_port

  certificate_ref = var.certificate_ref
  environment     = merge(length(local.seeds[each.key]) == 0 ? {} : { NEARSIDE_SEEDS = join(",", local.seeds[each.key]) }, var.environment)
  drain_seconds   = var.drain_seconds
}

# What ends with a host: its holder. Only destroying this drains for good; a new
# release does not touch it. A host that cannot be reached or drained makes the
# destroy fail, so that nobody forgets a holder that is still open.
resource "terraform_data" "host" {
  for_each = var.hosts

  triggers_replace = each.value.address

  # All that a destroy-time provisioner can see. The key is a path, not a key.
  input = {
    address          = each.value.address
    port             = each.value.port
    user             = each.value.user
    host_key         = each.value.host_key
    private_key_path = each.value.private_key_path
  }

  lifecycle {
    precondition {
      condition     = length(var.hosts) >= var.capacity.min && length(var.hosts) <= var.capacity.max
      error_message = "hosts: ${length(var.hosts)} hosts, but capacity is ${var.capacity.min} to ${var.capacity.max}."
    }
    precondition {
      condition     = startswith(var.secret_ref, "file:///")
      error_message = "secret_ref: on hosts reached by SSH it is a path: file:///…"
    }
  }

  connection {
    type        = "ssh"
    host        = self.output.address
    port        = self.output.port
    user        = self.output.user
    host_key    = self.output.host_key
    private_key = file(self.output.private_key_path)
    timeout     = "1m"
  }

  provisioner "remote-exec" {
    when = destroy
    inline = [
      "set -eu",
      "if [ -x /usr/local/lib/nearside/nearside-drain ]; then /usr/local/lib/nearside/nearside-drain; fi",
      "if [ -e /etc/systemd/system/nearside-certificate.timer ]; then systemctl disable --now nearside-certificate.timer; fi",
      "rm -rf /etc/nearside /usr/local/lib/nearside /opt/nearside /etc/systemd/system/nearside-edge.service /etc/systemd/system/nearside-certificate.*",
      "systemctl daemon-reload",
    ]
  }
}

resource "terraform_data" "secret" {
  for_each         = var.token_version == 0 ? {} : var.hosts
  triggers_replace = [var.token_version, terraform_data.host[each.key].id]

  connection {
    type        = "ssh"
    host        = each.value.address
    port        = each.value.port
    user        = each.value.user
    host_key    = each.value.host_key
    private_key = file(each.value.private_key_path)
    timeout     = "1m"
  }

  provisioner "remote-exec" {
    inline = ["install -d -m 0700 ${dirname(local.secret_path)}", "install -m 0600 /dev/null ${local.secret_path}"]
  }

  provisioner "file" {
    content     = var.join_token
    destination = local.secret_path
  }
}

# A renewal is this alone: no release, no restart.
resource "terraform_data" "certificate" {
  for_each         = var.certificate_version == 0 ? {} : var.hosts
  triggers_replace = [var.certificate_version, terraform_data.host[each.key].id]

  connection {
    type        = "ssh"
    host        = each.value.address
    port        = each.value.port
    user        = each.value.user
    host_key    = each.value.host_key
    private_key = file(each.value.private_key_path)
    timeout     = "1m"
  }

  provisioner "remote-exec" {
    inline = ["install -d -m 0700 ${dirname(local.certificate_path)}", "install -m 0600 /dev/null ${local.certificate_path}"]
  }

  provisioner "file" {
    content     = var.certificate
    destination = local.certificate_path
  }

  # Where the node is not installed yet, its bootstrap does this.
  provisioner "remote-exec" {
    inline = ["if [ -x /usr/local/lib/nearside/nearside-certificate ]; then /usr/local/lib/nearside/nearside-certificate; fi"]
  }
}

resource "terraform_data" "first" {
  triggers_replace = [module.node[local.first].fingerprint, var.token_version, terraform_data.host[local.first].id]

  connection {
    type        = "ssh"
    host        = var.hosts[local.first].address
    port        = var.hosts[local.first].port
    user        = var.hosts[local.first].user
    host_key    = var.hosts[local.first].host_key
    private_key = file(var.hosts[local.first].private_key_path)
    timeout     = "1m"
  }

  provisioner "remote-exec" {
    inline = [module.node[local.first].install_script, module.node[local.first].bootstrap]
  }

  depends_on = [terraform_data.secret, terraform_data.certificate]
}

resource "terraform_data" "rest" {
  for_each         = local.rest
  triggers_replace = [module.node[each.key].fingerprint, var.token_version, terraform_data.host[each.key].id]

  connection {
    type        = "ssh"
    host        = each.value.address
    port        = each.value.port
    user        = each.value.user
    host_key    = each.value.host_key
    private_key = file(each.value.private_key_path)
    timeout     = "1m"
  }

  provisioner "remote-exec" {
    inline = [module.node[each.key].install_script, module.node[each.key].bootstrap]
  }

  depends_on = [terraform_data.first]
}
