output "geo_name" {
  description = "The name publishers' pages ask."
  value       = "${var.label}.${var.zone}"
}

output "name_servers" {
  description = "To which servers the parent zone has to delegate this one."
  value       = { for name, s in var.servers : "${name}.${var.zone}" => compact([s.ipv4, s.ipv6]) }
}

output "files" {
  description = "What every name server gets: gdnsd's config, the zone, the drained regions."
  value       = local.files
}
