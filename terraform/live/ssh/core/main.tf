module "core" {
  source         = "../../../modules/ssh/core"
  artifact       = local.fleet.core.artifact
  dns_name       = var.dns_name
  ca             = var.ca
  tls            = var.tls
  hosts          = var.hosts
  secrets        = var.secrets
  secret_names   = var.secret_names
  secret_version = var.secret_version
  environment    = var.environment
}
