# A core, any number of regions and their geo DNS, all over SSH and in one state: one
# apply opens a region. With one state per region, see live/.
module "core" {
  source         = "../../modules/ssh/core"
  artifact       = var.core_artifact
  dns_name       = "core.${var.zone}"
  ca             = var.ca
  hosts          = { core-1 = var.core_host }
  secrets        = { settings = "database-url: ${var.database_url}" }
  secret_version = var.secret_version
}

module "contract" {
  source  = "../../modules/contract"
  regions = local.places
  release = { current = var.edge_artifact, next = var.next_edge_artifact, through_wave = var.through_wave }
}

module "region" {
  source        = "../../modules/ssh/edge-region"
  for_each      = module.contract.regions
  name          = each.key
  lat           = each.value.lat
  lon           = each.value.lon
  wave          = each.value.wave
  capacity      = each.value.capacity
  artifact      = each.value.artifact
  core_endpoint = module.core.endpoint
  core_ca       = module.core.ca
  secret_ref    = "file:///etc/nearside/secrets/join-token"
  join_token    = var.join_token
  token_version = var.secret_version
  dns_name      = "${each.key}.${var.zone}"
  tls           = false
  hosts         = var.regions[each.key].hosts

  # An edge that cannot reach the core is not ready, and a new one needs to be.
  depends_on = [module.core]
}

module "geo" {
  source     = "../../modules/geo-dns-gdnsd"
  zone       = var.zone
  hostmaster = "hostmaster.${var.zone}"
  servers    = var.name_servers
  drained    = var.drained
  regions = {
    for name, r in module.region : name => {
      name = r.name, lat = r.lat, lon = r.lon, ipv4 = r.ipv4, ipv6 = r.ipv6, dns_name = r.dns_name, health_url = r.health_url
    }
  }
}
