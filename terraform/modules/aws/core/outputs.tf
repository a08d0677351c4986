output "endpoint" {
  description = "Where edges call: the sync port."
  value       = "https://${var.dns_name}:${local.sync_port}"
}

output "ca" {
  description = "The certificate that edges trust."
  value       = var.ca
}

output "db_ref" {
  description = "Where the core's secret settings are, the database's URL among them; a reference, never the value."
  value       = aws_secretsmanager_secret.database.arn
}

output "lb_dns_name" {
  description = "What dns_name has to point at, where this module did not create it."
  value       = aws_lb.core.dns_name
}
