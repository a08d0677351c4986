module "geo" {
  source              = "../../../modules/azure/geo-dns"
  regions             = local.regions
  drained             = setintersection(local.fleet.drained, keys(local.regions))
  zone                = var.zone
  label               = var.label
  resource_group_name = var.resource_group_name
  profile_name        = var.profile_name
}
