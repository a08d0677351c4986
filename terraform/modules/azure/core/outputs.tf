output "endpoint" {
  description = "Where edges call: the sync port."
  value       = "https://${var.dns_name}:${module.node.ports.sync}"
}

output "ca" {
  description = "The certificate that edges trust."
  value       = var.ca
}

output "db_ref" {
  description = "Where the database's URL is; a reference, never the URL."
  value       = azurerm_key_vault_secret.database.versionless_id
}

output "lb_ipv4" {
  description = "The address dns_name has to point at."
  value       = azurerm_public_ip.lb.ip_address
}
