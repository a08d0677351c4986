module "node" {
  source      = "../../node-config"
  role        = "core"
  region      = var.name
  artifact    = var.artifact
  credentials = merge(var.secret_refs, { settings = azurerm_key_vault_secret.database.versionless_id })
  environment = var.environment
  cloud       = "azure"
}

# --- the database: the only truth, written to two zones before a commit answers

resource "azurerm_postgresql_flexible_server" "core" {
  name                              = local.name
  location                          = var.location
  resource_group_name               = var.resource_group_name
  version                           = var.database_version
  sku_name                          = var.database_sku
  storage_mb                        = var.database_megabytes
  auto_grow_enabled                 = true
  administrator_login               = "nearside"
  administrator_password_wo         = var.database_password
  administrator_password_wo_version = var.database_password_version
  delegated_subnet_id               = var.database_subnet_id
  private_dns_zone_id               = var.private_dns_zone_id
  public_network_access_enabled     = false
  backup_retention_days             = 14
  geo_redundant_backup_enabled      = true
  zone                              = var.zones[0]
  tags                              = var.tags

  # Synchronous: a commit is on both before it answers.
  high_availability {
    mode                      = "ZoneRedundant"
    standby_availability_zone = var.zones[1]
  }

  lifecycle {
    prevent_destroy = true
    # A failover swaps the zones; that is no reason to move it back.
    ignore_changes = [zone, high_availability[0].standby_availability_zone]
  }
}

resource "azurerm_postgresql_flexible_server_configuration" "core" {
  for_each = {
    require_secure_transport = "on"
    synchronous_commit       = "on"
  }
  name      = each.key
  server_id = azurerm_postgresql_flexible_server.core.id
  value     = each.value
}

resource "azurerm_postgresql_flexible_server_database" "nearside" {
  name      = "nearside"
  server_id = azurerm_postgresql_flexible_server.core.id
  charset   = "UTF8"
  collation = "C"

  lifecycle {
    prevent_destroy = true
  }
}

resource "azurerm_key_vault_secret" "database" {
  name             = "${local.name}-settings"
  key_vault_id     = var.key_vault_id
  content_type     = "application/yaml"
  value_wo         = "database-url: postgres://nearside:${var.database_password}@${azurerm_postgresql_flexible_server.core.fqdn}:5432/nearside?sslmode=require"
  value_wo_version = var.database_password_version
  tags             = var.tags
}

# --- the core processes

resource "azurerm_user_assigned_identity" "node" {
  name                = local.name
  location            = var.location
  resource_group_name = var.resource_group_name
  tags                = var.tags
}

resource "azurerm_role_assignment" "secrets" {
  scope                = var.key_vault_id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.node.principal_id
}

resource "azurerm_public_ip" "lb" {
  name                = local.name
  location            = var.location
  resource_group_name = var.resource_group_name
  allocation_method   = "Static"
  sku                 = "Standard"
  zones               = var.zones
  tags                = var.tags
}

resource "azurerm_lb" "core" {
  name                = local.name
  location            = var.location
  resource_group_name = var.resource_group_name
  sku                 = "Standard"
  tags                = var.tags

  frontend_ip_configuration {
    name                 = "v4"
    public_ip_address_id = azurerm_public_ip.lb.id
  }
}

resource "azurerm_lb_backend_address_pool" "core" {
  name            = "core"
  loadbalancer_id = azurerm_lb.core.id
}

resource "azurerm_lb_probe" "core" {
  for_each            = local.ports
  name                = each.key
  loadbalancer_id     = azurerm_lb.core.id
  protocol            = "Tcp"
  port                = each.value
  interval_in_seconds = 10
  number_of_probes    = 2
}

# TLS ends at the core itself: edges and core know each other by certificate.
resource "azurerm_lb_rule" "core" {
  for_each                       = local.ports
  name                           = each.key
  loadbalancer_id                = azurerm_lb.core.id
  frontend_ip_configuration_name = "v4"
  backend_address_pool_ids       = [azurerm_lb_backend_address_pool.core.id]
  probe_id                       = azurerm_lb_probe.core[each.key].id
  protocol                       = "Tcp"
  frontend_port                  = each.value
  backend_port                   = each.value
  disable_outbound_snat          = true
}

resource "azurerm_lb_outbound_rule" "core" {
  name                    = "out"
  loadbalancer_id         = azurerm_lb.core.id
  backend_address_pool_id = azurerm_lb_backend_address_pool.core.id
  protocol                = "All"

  frontend_ip_configuration {
    name = "v4"
  }
}

resource "azurerm_network_security_group" "node" {
  name                = local.name
  location            = var.location
  resource_group_name = var.resource_group_name
  tags                = var.tags
}

resource "azurerm_network_security_rule" "node" {
  for_each                    = local.ingress
  name                        = each.key
  resource_group_name         = var.resource_group_name
  network_security_group_name = azurerm_network_security_group.node.name
  priority                    = each.value.priority
  direction                   = "Inbound"
  access                      = "Allow"
  protocol                    = "Tcp"
  source_address_prefixes     = each.value.networks
  source_port_range           = "*"
  destination_address_prefix  = "*"
  destination_port_range      = tostring(each.value.port)
}

resource "azurerm_orchestrated_virtual_machine_scale_set" "core" {
  name                        = local.name
  location                    = var.location
  resource_group_name         = var.resource_group_name
  platform_fault_domain_count = 1
  zones                       = var.zones
  sku_name                    = var.sku_name
  instances                   = var.nodes
  upgrade_mode                = "Rolling"
  tags                        = var.tags

  os_profile {
    custom_data = base64encode(module.node.user_data)
    linux_configuration {
      admin_username                  = "nearside-admin"
      computer_name_prefix            = local.name
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
    name                      = "nic"
    primary                   = true
    network_security_group_id = azurerm_network_security_group.node.id

    ip_configuration {
      name                                   = "v4"
      primary                                = true
      subnet_id                              = var.subnet_id
      load_balancer_backend_address_pool_ids = [azurerm_lb_backend_address_pool.core.id]
    }
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.node.id]
  }

  # The rolling upgrade asks whether the sync port answers.
  extension {
    name                               = "health"
    publisher                          = "Microsoft.ManagedServices"
    type                               = "ApplicationHealthLinux"
    type_handler_version               = "1.0"
    auto_upgrade_minor_version_enabled = true
    settings                           = jsonencode({ protocol = "tcp", port = module.node.ports.sync })
  }

  rolling_upgrade_policy {
    max_batch_instance_percent              = 50
    max_unhealthy_instance_percent          = 50
    max_unhealthy_upgraded_instance_percent = 20
    pause_time_between_batches              = "PT1M"
    maximum_surge_instances_enabled         = true
  }

  # A node reads its secrets at its first boot.
  depends_on = [azurerm_role_assignment.secrets, azurerm_lb_rule.core, azurerm_lb_outbound_rule.core, azurerm_postgresql_flexible_server_database.nearside]
}
