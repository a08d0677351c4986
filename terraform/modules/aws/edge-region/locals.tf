locals {
  name = "nearside-${var.name}"
  hook = "drain"
  tags = merge(var.tags, { Name = local.name, nearside-region = var.name, nearside-wave = tostring(var.wave) })

  dual_stack = alltrue([for s in values(var.subnets) : s.ipv6 != ""])

  listeners = merge(
    { http = { port = 80, protocol = "TCP", certificate = null } },
    !var.tls ? {} : { https = var.certificate_ref == "" ? { port = 443, protocol = "TLS", certificate = var.certificate_arn } : { port = 443, protocol = "TCP", certificate = null } },
  )

  # The listeners whose TLS ends at the edges, and the port there.
  passed = var.tls && var.certificate_ref != "" ? { https = module.node.ports.tls } : {}
}
