# The smallest world: a core on one machine, an edge on another, everything else by
# default. The operator points core.ZONE and first.ZONE at them.
module "core" {
  source         = "../../modules/ssh/core"
  artifact       = var.core_artifact
  dns_name       = "core.${var.zone}"
  ca             = var.ca
  hosts          = { core-1 = var.core_host }
  secrets        = { settings = "database-url: ${var.database_url}" }
  secret_version = var.secret_version
}

module "region" {
  source        = "../../modules/ssh/edge-region"
  name          = local.region
  lat           = 50.11
  lon           = 8.68
  wave          = 0
  capacity      = { min = 1, max = 1 }
  artifact      = var.edge_artifact
  core_endpoint = module.core.endpoint
  core_ca       = module.core.ca
  secret_ref    = "file:///etc/nearside/secrets/join-token"
  join_token    = var.join_token
  token_version = var.secret_version
  dns_name      = "${local.region}.${var.zone}"
  tls           = false
  hosts         = { "${local.region}-1" = var.edge_host }
}
