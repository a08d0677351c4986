output "endpoint" {
  description = "Where edges call: the sync port."
  value       = "${var.tls ? "https" : "http"}://${var.dns_name}:${var.admin_port + 1}"
}

output "ca" {
  description = "The certificate that edges trust; empty without TLS."
  value       = var.ca
}

output "db_ref" {
  description = "Where the core's secret settings are, the database's URL among them, on every host; a reference, never the value."
  value       = local.credentials["settings"]
}

output "ipv4" {
  description = "The addresses dns_name has to point at."
  value       = [for h in values(var.hosts) : h.ipv4]
}
