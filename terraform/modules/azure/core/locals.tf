locals {
  name = "nearside-${var.name}"

  ports = { sync = module.node.ports.sync, admin = module.node.ports.admin }

  # Who may reach which port; the admin port has no rule unless a network is named.
  ingress = merge(
    { sync = { priority = 100, port = module.node.ports.sync, networks = var.edge_networks } },
    length(var.admin_networks) == 0 ? {} : { admin = { priority = 110, port = module.node.ports.admin, networks = var.admin_networks } },
  )
}
