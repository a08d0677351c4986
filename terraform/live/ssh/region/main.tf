module "contract" {
  source  = "../../../modules/contract"
  regions = local.fleet.regions
  release = local.fleet.release
}

module "region" {
  source        = "../../../modules/ssh/edge-region"
  name          = local.here.name
  lat           = local.here.lat
  lon           = local.here.lon
  wave          = local.here.wave
  capacity      = local.here.capacity
  artifact      = local.here.artifact
  core_endpoint = local.fleet.core.endpoint
  core_ca       = local.fleet.core.ca
  secret_ref    = var.secret_ref
  join_token    = var.join_token
  token_version = var.token_version
  dns_name      = var.dns_name
  tls           = var.tls
  certificate   = var.certificate

  certificate_ref     = var.certificate_ref
  certificate_version = var.certificate_version
  gossip_key_ref      = var.gossip_key_ref
  drain_seconds       = var.drain_seconds
  public_port         = var.public_port
  environment         = var.environment
  hosts               = var.hosts
}
