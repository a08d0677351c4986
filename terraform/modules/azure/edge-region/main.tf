module "contract" {
  source  = "../../contract"
  regions = { (var.name) = { lat = var.lat, lon = var.lon, wave = var.wave, capacity = var.capacity } }
  release = { current = var.artifact }
}

module "node" {
  source      = "../../node-config"
  role        = "edge"
  region      = var.name
  artifact    = module.contract.regions[var.name].artifact
  credentials = merge({ join-token = var.secret_ref }, var.gossip_key_ref == "" ? {} : { gossip-key = var.gossip_key_ref })
  core_url    = var.core_endpoint
  core_ca     = var.core_ca
  public_url  = coalesce(var.public_url, "${var.tls ? "https" : "http"}://${var.dns_name}")

  certificate_ref = var.certificate_ref

  environment = var.environment
  cloud       = "azure"
  cloud_settings = {
    SATURATION_RESOURCE = local.scale_set_id
    SATURATION_LOCATION = var.location
  }
  drain_seconds = var.drain_seconds
}

# --- who a node is: it may read its join token and publish its saturation

resource "azurerm_user_assigned_identity" "node" {
  name                = local.name
  location            = var.location
  resource_group_name = var.resource_group_name
  tags                = local.tags
}

resource "azurerm_role_assignment" "join_token" {
  scope                = var.key_vault_id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.node.principal_id
}

resource "azurerm_role_assignment" "saturation" {
  scope                = var.resource_group_id
  role_definition_name = "Monitoring Metrics Publisher"
  principal_id         = azurerm_user_assigned_identity.node.principal_id
}

# --- the load balancer

resource "azurerm_public_ip" "lb" {
  for_each            = local.versions
  name                = "${local.name}-${each.key}"
  location            = var.location
  resource_group_name = var.resource_group_name
  allocation_method   = "Static"
  sku                 = "Standard"
  ip_version          = each.value
  zones               = var.zones
  tags                = local.tags
}

resource "azurerm_lb" "edge" {
  name                = local.name
  location            = var.location
  resource_group_name = var.resource_group_name
  sku                 = "Standard"
  tags                = local.tags

  dynamic "frontend_ip_configuration" {
    for_each = local.versions
    content {
      name                 = frontend_ip_configuration.key
      public_ip_address_id = azurerm_public_ip.lb[frontend_ip_configuration.key].id
    }
  }
}

resource "azurerm_lb_backend_address_pool" "edge" {
  for_each        = local.versions
  name            = each.key
  loadbalancer_id = azurerm_lb.edge.id
}

resource "azurerm_lb_probe" "ready" {
  name                = "ready"
  loadbalancer_id     = azurerm_lb.edge.id
  protocol            = "Http"
  port                = module.node.ports.public
  request_path        = "/readyz"
  interval_in_seconds = 5
  number_of_probes    = 2
}

resource "azurerm_lb_rule" "edge" {
  for_each                       = local.rules
  name                           = each.key
  loadbalancer_id                = azurerm_lb.edge.id
  frontend_ip_configuration_name = each.value.version
  backend_address_pool_ids       = [azurerm_lb_backend_address_pool.edge[each.value.version].id]
  probe_id                       = azurerm_lb_probe.ready.id
  protocol                       = "Tcp"
  frontend_port                  = each.value.front
  backend_port                   = each.value.back
  disable_outbound_snat          = true
}

resource "azurerm_lb_outbound_rule" "edge" {
  name                    = "out"
  loadbalancer_id         = azurerm_lb.edge.id
  backend_address_pool_id = azurerm_lb_backend_address_pool.edge["v4"].id
  protocol                = "All"

  frontend_ip_configuration {
    name = "v4"
  }
}

# --- the nodes

resource "azurerm_network_security_group" "node" {
  name                = local.name
  location            = var.location
  resource_group_name = var.resource_group_name
  tags                = local.tags
}

resource "azurerm_network_security_rule" "readers" {
  name                        = "readers"
  resource_group_name         = var.resource_group_name
  network_security_group_name = azurerm_network_security_group.node.name
  priority                    = 100
  direction                   = "Inbound"
  access                      = "Allow"
  protocol                    = "Tcp"
  source_address_prefix       = "*"
  source_port_range           = "*"
  destination_address_prefix  = "*"
  destination_port_ranges     = [for l in values(local.listeners) : tostring(l.back)]
}

resource "azurerm_orchestrated_virtual_machine_scale_set" "edge" {
  name                        = local.name
  location                    = var.location
  resource_group_name         = var.resource_group_name
  platform_fault_domain_count = 1
  zones                       = var.zones
  sku_name                    = var.sku_name
  instances                   = var.capacity.min
  upgrade_mode                = "Rolling"
  tags                        = local.tags

  os_profile {
    custom_data = base64encode(module.node.user_data)
    linux_configuration {
      admin_username                  = "nearside-admin"
      computer_name_prefix            = substr(local.name, 0, 50)
      disable_password_authentication = true
      admin_ssh_key {
        username   = "nearside-admin"
        public_key = var.admin_ssh_public_key
      }
    }
  }

  source_image_reference {
    publisher = var.image.publisher
    offer     = var.image.offer
    sku       = var.image.sku
    version   = var.image.version
  }

  os_disk {
    caching              = "ReadOnly"
    storage_account_type = "Premium_LRS"
  }

  network_interface {
    name                           = "nic"
    primary                        = true
    accelerated_networking_enabled = true
    network_security_group_id      = azurerm_network_security_group.node.id

    dynamic "ip_configuration" {
      for_each = local.versions
      content {
        name                                   = ip_configuration.key
        primary                                = ip_configuration.key == "v4"
        version                                = ip_configuration.value
        subnet_id                              = var.subnet_id
        load_balancer_backend_address_pool_ids = [azurerm_lb_backend_address_pool.edge[ip_configuration.key].id]
      }
    }
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.node.id]
  }

  # The node sees a Terminate event, drains, approves it. 15 minutes is the most
  # that Azure waits.
  termination_notification {
    enabled = true
    timeout = "PT15M"
  }

  # Whether a node is well: the repair and the rolling upgrade ask this. It is the
  # public twin of /readyz.
  extension {
    name                               = "health"
    publisher                          = "Microsoft.ManagedServices"
    type                               = "ApplicationHealthLinux"
    type_handler_version               = "1.0"
    auto_upgrade_minor_version_enabled = true
    settings = jsonencode({
      protocol    = "http"
      port        = module.node.ports.public
      requestPath = "/readyz"
    })
  }

  automatic_instance_repair {
    enabled      = true
    grace_period = "PT10M"
    action       = "Replace"
  }

  # A new release: a fifth of the nodes at a time, a pause, on only while they are
  # healthy.
  rolling_upgrade_policy {
    max_batch_instance_percent              = 20
    max_unhealthy_instance_percent          = 20
    max_unhealthy_upgraded_instance_percent = 5
    pause_time_between_batches              = "PT5M"
    maximum_surge_instances_enabled         = true
    prioritize_unhealthy_instances_enabled  = true
  }

  lifecycle {
    # The autoscaler's, from the first day on.
    ignore_changes = [instances]
  }

  depends_on = [azurerm_role_assignment.join_token, azurerm_lb_rule.edge, azurerm_lb_outbound_rule.edge]
}

resource "azurerm_monitor_autoscale_setting" "edge" {
  name                = local.name
  location            = var.location
  resource_group_name = var.resource_group_name
  target_resource_id  = azurerm_orchestrated_virtual_machine_scale_set.edge.id
  tags                = local.tags

  profile {
    name = "saturation"

    capacity {
      default = var.capacity.min
      minimum = var.capacity.min
      maximum = var.capacity.max
    }

    dynamic "rule" {
      for_each = {
        out = { operator = "GreaterThan", threshold = var.saturation_out, direction = "Increase", change = 2, minutes = 3, cooldown = 5 }
        in  = { operator = "LessThan", threshold = var.saturation_in, direction = "Decrease", change = 1, minutes = 15, cooldown = 15 }
      }
      content {
        metric_trigger {
          metric_name        = "nearside_edge_saturation"
          metric_namespace   = "nearside"
          metric_resource_id = azurerm_orchestrated_virtual_machine_scale_set.edge.id
          operator           = rule.value.operator
          threshold          = rule.value.threshold
          statistic          = "Average"
          time_aggregation   = "Average"
          time_grain         = "PT1M"
          time_window        = "PT${rule.value.minutes}M"
        }
        scale_action {
          type      = "ChangeCount"
          direction = rule.value.direction
          value     = tostring(rule.value.change)
          cooldown  = "PT${rule.value.cooldown}M"
        }
      }
    }
  }
}
