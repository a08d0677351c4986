output "core" {
  description = "The core's part of fleet.json: where edges call, the certificate they trust."
  value       = { endpoint = module.core.endpoint, ca = module.core.ca }
}

output "db_ref" {
  description = "Where the core's secret settings are, the database's URL among them; a reference."
  value       = module.core.db_ref
}
