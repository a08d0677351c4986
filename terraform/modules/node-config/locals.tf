locals {
  edge = var.role == "edge"
  unit = "nearside-${var.role}.service"
  lib  = "/usr/local/lib/nearside"

  ops_port = local.edge ? var.public_port + 1 : var.public_port + 2

  # What readers see. The unit cannot load it as a credential: that is a copy made at
  # the start, and this one is renewed under a running edge.
  certificate = local.edge && var.certificate_ref != ""
  tls_port    = var.tls_port == 0 ? var.public_port + 4 : var.tls_port

  # Each credential is a file that only the unit can read; the binary gets its
  # path, in the variable that CONTRACT.md names for it. settings is a YAML file of
  # flags, for secrets that the binary takes by value. Those of a TLS directory have
  # no variable each: the directory they are in has one.
  tls_files = ["ca.pem", "ca.key", "next.key", "core.pem", "core.key", "admin.pem", "admin.key"]
  credential_variables = {
    for name in keys(var.credentials) : name => (
      name == "settings" ? "NEARSIDE_CONFIG" :
      contains(local.tls_files, name) ? "" : "NEARSIDE_${upper(replace(name, "-", "_"))}_FILE"
    )
  }

  environment = merge(
    { NEARSIDE_OPS_LISTEN = "${var.ops_address}:${local.ops_port}" },
    local.edge ? {
      NEARSIDE_REGION     = var.region
      NEARSIDE_LISTEN     = local.certificate ? ":${local.tls_port},http://:${var.public_port}" : ":${var.public_port}"
      NEARSIDE_PUBLIC_URL = var.public_url
      NEARSIDE_CORE       = var.core_url
      NEARSIDE_STATE_DIR  = "/var/lib/nearside-edge"
      } : {
      NEARSIDE_ADMIN_LISTEN = ":${var.public_port}"
      NEARSIDE_SYNC_LISTEN  = ":${var.public_port + 1}"
    },
    # Without a gossip key a node is alone in its region, and listens for nobody.
    local.edge && contains(keys(var.credentials), "gossip-key") ? {
      NEARSIDE_GOSSIP_LISTEN = "0.0.0.0:${var.public_port + 2}"
      NEARSIDE_PEER_LISTEN   = "0.0.0.0:${var.public_port + 3}"
    } : {},
    # The authority of the core: it is checked with it, and signs for this node. Beside
    # it what readers see.
    local.edge && (var.core_ca != "" || local.certificate) ? { NEARSIDE_TLS_DIR = "/etc/nearside/tls" } : {},
    var.environment,
  )

  cloud_edge = local.edge && var.cloud != "none"
  timers = join(" ", concat(
    local.cloud_edge ? ["nearside-saturation.timer", "nearside-termination.service"] : [],
    local.certificate ? ["nearside-certificate.timer"] : [],
  ))

  node_conf = join("\n", concat([
    "ROLE=${var.role}",
    "REGION=${var.region}",
    "NODE=${var.node}",
    "CREDENTIALS='${join(" ", [for name, ref in var.credentials : "${name}=${ref}"])}'",
    "ARTIFACT_URL='${var.artifact.url}'",
    "ARTIFACT_SHA256=${var.artifact.sha256}",
    "CERTIFICATE='${var.certificate_ref}'",
    "TIMERS='${local.timers}'",
    "export INSTALL_READY_URL=http://${var.ops_address}:${local.ops_port}/readyz",
    "",
  ]))

  cloud_env = join("\n", concat(
    [for k, v in var.cloud_settings : "${k}=${v}"],
    [
      "SATURATION_REGION=${var.region}",
      "SATURATION_METRICS_URL=http://${var.ops_address}:${local.ops_port}/metrics",
      "",
    ],
  ))

  unit_text = templatefile("${path.module}/templates/nearside.service.tftpl", {
    role        = var.role
    region      = var.region
    credentials = local.credential_variables
    tls         = length(setintersection(keys(var.credentials), local.tls_files)) > 0
    certificate = local.certificate
    low_port    = var.public_port < 1024 || local.certificate && local.tls_port < 1024
    stop_after  = local.edge ? var.drain_seconds : 60
  })

  scripts = {
    for name in concat(
      ["nearside-bootstrap", "nearside-install", "nearside-secret"],
      local.edge ? ["nearside-drain"] : [],
      local.cloud_edge ? ["nearside-saturation", "nearside-termination"] : [],
      local.certificate ? ["nearside-certificate"] : [],
    ) : "${local.lib}/${name}" => { mode = "0755", content = file("${path.module}/files/${name}") }
  }

  timer_units = {
    for name in concat(
      local.cloud_edge ? ["nearside-saturation.service", "nearside-saturation.timer", "nearside-termination.service"] : [],
      local.certificate ? ["nearside-certificate.service", "nearside-certificate.timer"] : [],
    ) :
    "/etc/systemd/system/${name}" => {
      mode    = "0644"
      content = templatefile("${path.module}/templates/${name}.tftpl", { cloud = var.cloud, drain_seconds = var.drain_seconds })
    }
  }

  files = merge(
    local.scripts,
    local.timer_units,
    {
      "/etc/systemd/system/${local.unit}" = { mode = "0644", content = local.unit_text }
      "/etc/nearside/${var.role}.env"     = { mode = "0644", content = local.env_text }
      "/etc/nearside/node.conf"           = { mode = "0644", content = local.node_conf }
      "/etc/nearside/cloud.env"           = { mode = "0644", content = local.cloud_env }
    },
    local.edge && var.core_ca != "" ? { "/etc/nearside/tls/ca.pem" = { mode = "0644", content = var.core_ca } } : {},
  )

  env_text = join("", [for k, v in local.environment : "${k}=\"${v}\"\n"])

  user_data = "#cloud-config\n${yamlencode({
    package_update = true
    packages       = ["ca-certificates", "curl"]
    write_files = [
      for path, f in local.files : { path = path, permissions = f.mode, owner = "root:root", content = f.content }
    ]
    runcmd = [["${local.lib}/nearside-bootstrap"]]
  })}"
}
