output "endpoint" {
  description = "Where edges call: the sync port."
  value       = "https://${var.dns_name}:${module.node.ports.sync}"
}

output "ca" {
  description = "The certificate that edges trust."
  value       = var.ca
}

output "db_ref" {
  description = "Where the core's secret settings are, the database's URL among them; a reference, never the value."
  value       = azurerm_key_vault_secret.database.versionless_id
}

output "lb_ipv4" {
  description = "The address dns_name has to point at."
  value       = azurerm_public_ip.lb.ip_address
}
