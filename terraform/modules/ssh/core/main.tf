module "node" {
  source      = "../../node-config"
  for_each    = var.hosts
  role        = "core"
  region      = var.name
  node        = each.key
  artifact    = var.artifact
  credentials = local.credentials
  environment = var.environment
  public_port = var.admin_port
}

# Removing a host stops its core. The database is not this module's: it stays.
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
      "if [ -e /etc/systemd/system/nearside-core.service ]; then systemctl disable --now nearside-core.service; fi",
      "rm -rf /etc/nearside /usr/local/lib/nearside /opt/nearside /etc/systemd/system/nearside-core.service",
      "systemctl daemon-reload",
    ]
  }
}

resource "terraform_data" "secret" {
  for_each         = local.host_secrets
  triggers_replace = [var.secret_version, terraform_data.host[split("/", each.key)[0]].id]

  connection {
    type        = "ssh"
    host        = each.value.host.address
    port        = each.value.host.port
    user        = each.value.host.user
    host_key    = each.value.host.host_key
    private_key = file(each.value.host.private_key_path)
    timeout     = "1m"
  }

  provisioner "remote-exec" {
    inline = ["install -d -m 0700 ${local.secret_dir}", "install -m 0600 /dev/null ${local.secret_dir}/${each.value.name}"]
  }

  provisioner "file" {
    content     = var.secrets[each.value.name]
    destination = "${local.secret_dir}/${each.value.name}"
  }
}

# One host after the other: the first migrates.
resource "terraform_data" "first" {
  triggers_replace = [module.node[local.first].fingerprint, var.secret_version, terraform_data.host[local.first].id]

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

  depends_on = [terraform_data.secret]
}

resource "terraform_data" "rest" {
  for_each         = local.rest
  triggers_replace = [module.node[each.key].fingerprint, var.secret_version, terraform_data.host[each.key].id]

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
