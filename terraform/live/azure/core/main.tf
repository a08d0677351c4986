module "core" {
  source                    = "../../../modules/azure/core"
  artifact                  = local.fleet.core.artifact
  dns_name                  = var.dns_name
  ca                        = var.ca
  secret_refs               = var.secret_refs
  admin_networks            = var.admin_networks
  edge_networks             = var.edge_networks
  database_password         = var.database_password
  database_password_version = var.database_password_version
  location                  = var.location
  resource_group_name       = var.resource_group_name
  subnet_id                 = var.subnet_id
  database_subnet_id        = var.database_subnet_id
  private_dns_zone_id       = var.private_dns_zone_id
  key_vault_id              = var.key_vault_id
  admin_ssh_public_key      = var.admin_ssh_public_key
}
