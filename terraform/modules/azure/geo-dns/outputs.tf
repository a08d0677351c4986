output "geo_name" {
  description = "The name publishers' pages ask."
  value       = "${var.label}.${var.zone}"
}

output "nearest" {
  description = "The Azure location that stands for each region."
  value       = local.nearest
}
