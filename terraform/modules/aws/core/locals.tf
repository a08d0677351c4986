locals {
  name = "nearside-${var.name}"
  tags = merge(var.tags, { Name = local.name })

  sync_port  = module.node.ports.sync
  admin_port = module.node.ports.admin
  ops_port   = module.node.ports.ops

  # The load balancer carries both ports; its security group decides who reaches which.
  listeners = { sync = local.sync_port, admin = local.admin_port }

  ingress = merge(
    { for n in var.edge_networks : "sync-${n}" => { port = local.sync_port, network = n } },
    { for n in var.admin_networks : "admin-${n}" => { port = local.admin_port, network = n } },
  )
}
