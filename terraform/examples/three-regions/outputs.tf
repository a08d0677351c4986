output "geo_name" {
  description = "What publishers' pages are pointed at."
  value       = module.geo.geo_name
}

output "delegation" {
  description = "The NS records the parent zone needs, with their addresses."
  value       = module.geo.name_servers
}

output "waves" {
  description = "Who is in which wave."
  value       = module.contract.waves
}
