module "contract" {
  source  = "../../../modules/contract"
  regions = local.fleet.regions
  release = local.fleet.release
}

module "region" {
  source               = "../../../modules/azure/edge-region"
  name                 = local.here.name
  lat                  = local.here.lat
  lon                  = local.here.lon
  wave                 = local.here.wave
  capacity             = local.here.capacity
  artifact             = local.here.artifact
  core_endpoint        = local.fleet.core.endpoint
  core_ca              = local.fleet.core.ca
  secret_ref           = var.secret_ref
  dns_name             = var.dns_name
  tls                  = var.tls
  certificate_ref      = var.certificate_ref
  drain_seconds        = var.drain_seconds
  location             = var.location
  resource_group_name  = var.resource_group_name
  resource_group_id    = var.resource_group_id
  subnet_id            = var.subnet_id
  key_vault_id         = var.key_vault_id
  admin_ssh_public_key = var.admin_ssh_public_key
  ipv6                 = var.ipv6
  sku_name             = var.sku_name
}
