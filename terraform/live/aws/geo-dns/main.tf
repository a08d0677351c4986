module "geo" {
  source  = "../../../modules/aws/geo-dns"
  regions = local.regions
  drained = setintersection(local.fleet.drained, keys(local.regions))
  zone    = var.zone
  label   = var.label
  zone_id = var.zone_id
  policy  = var.policy
}
