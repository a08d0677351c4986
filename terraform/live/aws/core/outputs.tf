output "core" {
  description = "The core's part of fleet.json: where edges call, the certificate they trust."
  value       = { endpoint = module.core.endpoint, ca = module.core.ca }
}

output "db_ref" {
  description = "Where the database's URL is; a reference, never the URL."
  value       = module.core.db_ref
}
