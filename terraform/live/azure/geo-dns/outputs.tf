output "geo_name" {
  description = "The name publishers' pages ask."
  value       = module.geo.geo_name
}
