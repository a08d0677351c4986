module "contract" {
  source  = "../../../modules/contract"
  regions = local.fleet.regions
  release = local.fleet.release
}

module "region" {
  source          = "../../../modules/aws/edge-region"
  name            = local.here.name
  lat             = local.here.lat
  lon             = local.here.lon
  wave            = local.here.wave
  capacity        = local.here.capacity
  artifact        = local.here.artifact
  core_endpoint   = local.fleet.core.endpoint
  core_ca         = local.fleet.core.ca
  secret_ref      = var.secret_ref
  dns_name        = var.dns_name
  tls             = var.tls
  certificate_arn = var.certificate_arn
  certificate_ref = var.certificate_ref
  drain_seconds   = var.drain_seconds
  vpc_id          = var.vpc_id
  subnets         = var.subnets
  ami_id          = var.ami_id
  instance_type   = var.instance_type
}
