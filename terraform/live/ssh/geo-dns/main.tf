module "geo" {
  source     = "../../../modules/geo-dns-gdnsd"
  regions    = local.regions
  drained    = setintersection(local.fleet.drained, keys(local.regions))
  zone       = var.zone
  label      = var.label
  servers    = var.servers
  hostmaster = var.hostmaster
  mmdb_path  = var.mmdb_path
}
