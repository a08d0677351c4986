locals {
  name = "nearside-${var.name}"
  hook = "drain"
  tags = merge(var.tags, { Name = local.name, nearside-region = var.name, nearside-wave = tostring(var.wave) })

  dual_stack = alltrue([for s in values(var.subnets) : s.ipv6 != ""])

  listeners = merge(
    { http = { port = 80, protocol = "TCP", certificate = null } },
    var.tls ? { https = { port = 443, protocol = "TLS", certificate = var.certificate_arn } } : {},
  )
}
