module "core" {
  source                    = "../../../modules/aws/core"
  artifact                  = local.fleet.core.artifact
  dns_name                  = var.dns_name
  ca                        = var.ca
  secret_refs               = var.secret_refs
  admin_networks            = var.admin_networks
  edge_networks             = var.edge_networks
  database_password         = var.database_password
  database_password_version = var.database_password_version
  vpc_id                    = var.vpc_id
  private_subnet_ids        = var.private_subnet_ids
  public_subnet_ids         = var.public_subnet_ids
  ami_id                    = var.ami_id
  route53_zone_id           = var.route53_zone_id
}
