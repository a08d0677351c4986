output "public_url" {
  description = "What the publisher's page is pointed at."
  value       = "http://${module.region.dns_name}"
}

output "names" {
  description = "The DNS records to make."
  value       = { "core.${var.zone}" = module.core.ipv4, (module.region.dns_name) = module.region.ipv4 }
}
