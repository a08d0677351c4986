locals {
  health = {
    for name, r in var.regions : name => regex("^http://(?P<host>[a-z0-9.-]+)(?::(?P<port>[0-9]+))?(?P<path>/.*)$", r.health_url)
  }
  regions = {
    for name, r in var.regions : name => {
      lat    = module.contract.regions[name].lat
      lon    = module.contract.regions[name].lon
      ipv4   = r.ipv4
      ipv6   = r.ipv6
      label  = trimsuffix(r.dns_name, ".${var.zone}")
      host   = local.health[name].host
      port   = coalesce(local.health[name].port, "80")
      path   = local.health[name].path
      drains = contains(var.drained, name)
    }
  }

  config = templatefile("${path.module}/templates/config.tftpl", {
    regions   = local.regions
    mmdb_path = var.mmdb_path
    listen    = var.listen
    interval  = var.health_interval
    # How many regions deep failover goes for one reader.
    depth = min(length(var.regions), 6)
  })
  zone = templatefile("${path.module}/templates/zone.tftpl", {
    zone       = var.zone
    label      = var.label
    hostmaster = var.hostmaster
    servers    = var.servers
    regions    = local.regions
    ttl        = var.ttl
  })
  admin_state = templatefile("${path.module}/templates/admin_state.tftpl", { drained = var.drained })

  files = {
    "config"            = local.config
    "zones/${var.zone}" = local.zone
    "admin_state"       = local.admin_state
  }
  stage = "/var/lib/nearside-geo/stage"
  deploy_script = join("\n", concat(
    ["set -eu", "rm -rf ${local.stage}", "install -d ${local.stage}/zones"],
    flatten([for path, content in local.files : ["base64 -d >${local.stage}/${path} <<'END'", base64encode(content), "END"]]),
    ["base64 -d >/var/lib/nearside-geo/deploy <<'END'", base64encode(file("${path.module}/files/deploy")), "END", "bash /var/lib/nearside-geo/deploy ${local.stage}", ""],
  ))
}
