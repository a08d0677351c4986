locals {
  name = "nearside-${var.name}"
  tags = merge(var.tags, { nearside-region = var.name, nearside-wave = tostring(var.wave) })

  versions = var.ipv6 ? { v4 = "IPv4", v6 = "IPv6" } : { v4 = "IPv4" }

  # Azure's load balancer passes TCP through: with tls the edge serves it, or a
  # terminator on the node, on the port after the peer port.
  tls_port  = module.node.ports.tls
  listeners = merge({ http = { front = 80, back = module.node.ports.public } }, var.tls ? { https = { front = 443, back = local.tls_port } } : {})

  rules = {
    for pair in setproduct(keys(local.listeners), keys(local.versions)) :
    join("-", pair) => merge(local.listeners[pair[0]], { version = pair[1] })
  }

  # The id that the scale set will have; its own output would be a circle, since
  # the nodes' configuration is part of it.
  scale_set_id = "${var.resource_group_id}/providers/Microsoft.Compute/virtualMachineScaleSets/${local.name}"
}
