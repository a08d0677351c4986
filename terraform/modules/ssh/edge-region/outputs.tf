output "name" {
  description = "Name of the region."
  value       = module.contract.regions[var.name].name
}

output "lat" {
  description = "Latitude in degrees."
  value       = var.lat
}

output "lon" {
  description = "Longitude in degrees."
  value       = var.lon
}

output "ipv4" {
  description = "IPv4 addresses readers reach the region at."
  value       = [for h in values(var.hosts) : h.ipv4]
}

output "ipv6" {
  description = "IPv6 addresses readers reach the region at; may be empty."
  value       = [for h in values(var.hosts) : h.ipv6 if h.ipv6 != ""]
}

output "dns_name" {
  description = "The region's own public name; geo-dns creates it."
  value       = var.dns_name
}

output "health_url" {
  description = "What geo DNS asks: plain HTTP, 200 when the region can answer."
  value       = "http://${var.dns_name}${var.public_port == 80 ? "" : ":${var.public_port}"}/readyz"
}
