output "geo_name" {
  description = "The name publishers' pages ask."
  value       = "${var.label}.${var.zone}"
}

output "nearest" {
  description = "The AWS region that stands for each of ours in latency records."
  value       = local.nearest
}
