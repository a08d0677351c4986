# The Azure modules against the provider's schema, with the cloud mocked: what they
# ask for, and what they refuse.

mock_provider "azurerm" {
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/node"
      principal_id = "00000000-0000-0000-0000-000000000001"
    }
  }
  mock_resource "azurerm_public_ip" {
    defaults = {
      id         = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/publicIPAddresses/lb"
      ip_address = "192.0.2.10"
    }
  }
  mock_resource "azurerm_lb" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/loadBalancers/lb"
    }
  }
  mock_resource "azurerm_lb_backend_address_pool" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/loadBalancers/lb/backendAddressPools/pool"
    }
  }
  mock_resource "azurerm_lb_probe" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/loadBalancers/lb/probes/probe"
    }
  }
  mock_resource "azurerm_network_security_group" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/networkSecurityGroups/node"
    }
  }
  mock_resource "azurerm_orchestrated_virtual_machine_scale_set" {
    defaults = {
      id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/nearside-eu-west"
    }
  }
  mock_resource "azurerm_traffic_manager_profile" {
    defaults = {
      id   = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/trafficManagerProfiles/geo"
      fqdn = "nearside-example.trafficmanager.net"
    }
  }
  # The core is only planned: its database refuses to be destroyed after a test.
  mock_resource "azurerm_postgresql_flexible_server" {
    override_during = plan
    defaults = {
      id   = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.DBforPostgreSQL/flexibleServers/nearside-core"
      fqdn = "nearside-core.postgres.database.azure.com"
    }
  }
  # The core is only planned: its database refuses to be destroyed after a test.
  mock_resource "azurerm_key_vault_secret" {
    override_during = plan
    defaults = {
      versionless_id = "https://example.vault.azure.net/secrets/nearside-core-settings"
    }
  }
}

variables {
  name                 = "eu-west"
  lat                  = 52.37
  lon                  = 4.90
  wave                 = 1
  capacity             = { min = 2, max = 6 }
  artifact             = { url = "https://dl.example.net/1.tar.gz", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
  core_endpoint        = "https://core.example.net:8081"
  secret_ref           = "https://example.vault.azure.net/secrets/join"
  dns_name             = "eu-west.ads.example.net"
  location             = "westeurope"
  resource_group_name  = "rg"
  resource_group_id    = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg"
  subnet_id            = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/n/subnets/s"
  key_vault_id         = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/v"
  admin_ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE4M1K53TVnwRukmzRRCoSXODHV/S0kX47796rDQsfv/ ops@example.net"
  zone                 = "ads.example.net"
  profile_name         = "nearside-example"
  regions = {
    eu-west  = { name = "eu-west", lat = 52.37, lon = 4.90, ipv4 = ["192.0.2.10"], ipv6 = ["2001:db8::10"], dns_name = "eu-west.ads.example.net", health_url = "http://eu-west.ads.example.net/readyz" }
    auckland = { name = "auckland", lat = -36.85, lon = 174.76, ipv4 = ["192.0.2.30"], ipv6 = [], dns_name = "auckland.ads.example.net", health_url = "http://auckland.ads.example.net/readyz" }
  }
}

run "an_edge_region" {
  module {
    source = "../modules/azure/edge-region"
  }
  variables {
    tls             = true
    certificate_ref = "https://example.vault.azure.net/secrets/readers"
  }
  assert {
    condition     = output.name == "eu-west" && output.ipv4[0] == "192.0.2.10" && length(output.ipv6) == 0 && output.health_url == "http://eu-west.ads.example.net/readyz"
    error_message = "the contract's outputs"
  }
  assert {
    condition     = azurerm_orchestrated_virtual_machine_scale_set.edge.termination_notification[0].enabled && azurerm_orchestrated_virtual_machine_scale_set.edge.termination_notification[0].timeout == "PT15M"
    error_message = "a node hears of its end in time to drain"
  }
  assert {
    condition     = azurerm_orchestrated_virtual_machine_scale_set.edge.upgrade_mode == "Rolling" && azurerm_orchestrated_virtual_machine_scale_set.edge.rolling_upgrade_policy[0].max_batch_instance_percent == 20
    error_message = "a new release goes to a fifth of the nodes at a time"
  }
  assert {
    condition     = alltrue([for r in azurerm_monitor_autoscale_setting.edge.profile[0].rule : r.metric_trigger[0].metric_name == "nearside_edge_saturation"]) && length(azurerm_monitor_autoscale_setting.edge.profile[0].rule) == 2
    error_message = "scaled out and in by the edge's own saturation"
  }
  assert {
    condition     = azurerm_monitor_autoscale_setting.edge.profile[0].capacity[0].minimum == 2 && azurerm_monitor_autoscale_setting.edge.profile[0].capacity[0].maximum == 6
    error_message = "capacity"
  }
  assert {
    condition     = toset(keys(azurerm_lb_rule.edge)) == toset(["http-v4", "https-v4"]) && azurerm_lb_probe.ready.request_path == "/readyz"
    error_message = "two ports, and the probe asks /readyz"
  }
  assert {
    condition     = azurerm_orchestrated_virtual_machine_scale_set.edge.os_profile[0].linux_configuration[0].disable_password_authentication
    error_message = "no passwords"
  }
  assert {
    condition     = !strcontains(base64decode(azurerm_orchestrated_virtual_machine_scale_set.edge.os_profile[0].custom_data), "PRIVATE KEY") && strcontains(base64decode(azurerm_orchestrated_virtual_machine_scale_set.edge.os_profile[0].custom_data), "join-token=https://example.vault.azure.net/secrets/join") && strcontains(base64decode(azurerm_orchestrated_virtual_machine_scale_set.edge.os_profile[0].custom_data), "CERTIFICATE='https://example.vault.azure.net/secrets/readers'")
    error_message = "the node gets references, not secrets"
  }
  assert {
    condition     = azurerm_network_security_rule.readers.destination_port_ranges == toset(["8080", "8084"])
    error_message = "readers reach the public ports only"
  }
}

run "an_edge_region_with_ipv6" {
  module {
    source = "../modules/azure/edge-region"
  }
  variables {
    ipv6 = true
  }
  assert {
    condition     = toset(keys(azurerm_lb_rule.edge)) == toset(["http-v4", "http-v6"]) && length(output.ipv6) == 1 && length(azurerm_orchestrated_virtual_machine_scale_set.edge.network_interface[0].ip_configuration) == 2
    error_message = "both families on every port"
  }
}

run "refuses_a_certificate_without_tls" {
  command = plan
  module {
    source = "../modules/azure/edge-region"
  }
  variables {
    certificate_ref = "https://example.vault.azure.net/secrets/readers"
  }
  expect_failures = [var.certificate_ref]
}

run "refuses_a_swinging_autoscaler" {
  command = plan
  module {
    source = "../modules/azure/edge-region"
  }
  variables {
    saturation_in = 0.5
  }
  expect_failures = [var.saturation_in]
}

run "refuses_a_location_with_a_space" {
  command = plan
  module {
    source = "../modules/azure/edge-region"
  }
  variables {
    location = "West Europe"
  }
  expect_failures = [var.location]
}

run "refuses_a_private_key_as_public" {
  command = plan
  module {
    source = "../modules/azure/edge-region"
  }
  variables {
    admin_ssh_public_key = "-----BEGIN OPENSSH PRIVATE KEY-----"
  }
  expect_failures = [var.admin_ssh_public_key]
}

run "traffic_manager" {
  module {
    source = "../modules/azure/geo-dns"
  }
  variables {
    drained = ["auckland"]
  }
  assert {
    condition     = azurerm_traffic_manager_profile.geo.traffic_routing_method == "Performance" && azurerm_traffic_manager_profile.geo.monitor_config[0].path == "/readyz" && azurerm_traffic_manager_profile.geo.monitor_config[0].port == 80
    error_message = "by measured latency, health by /readyz"
  }
  assert {
    condition     = azurerm_traffic_manager_external_endpoint.region["eu-west"].endpoint_location == "westeurope" && azurerm_traffic_manager_external_endpoint.region["auckland"].endpoint_location == "australiaeast"
    error_message = "the nearest location: ${jsonencode(output.nearest)}"
  }
  assert {
    condition     = azurerm_traffic_manager_external_endpoint.region["eu-west"].enabled && !azurerm_traffic_manager_external_endpoint.region["auckland"].enabled
    error_message = "a drained region gets no new readers"
  }
  assert {
    condition     = azurerm_dns_a_record.region["auckland"].name == "auckland" && keys(azurerm_dns_aaaa_record.region) == ["eu-west"] && output.geo_name == "server.ads.example.net"
    error_message = "own names stay; AAAA where there is IPv6"
  }
}

run "refuses_two_kinds_of_health_check" {
  command = plan
  module {
    source = "../modules/azure/geo-dns"
  }
  variables {
    regions = {
      a = { name = "a", lat = 1, lon = 1, ipv4 = ["192.0.2.1"], ipv6 = [], dns_name = "a.ads.example.net", health_url = "http://a.ads.example.net/readyz" }
      b = { name = "b", lat = 2, lon = 2, ipv4 = ["192.0.2.2"], ipv6 = [], dns_name = "b.ads.example.net", health_url = "http://b.ads.example.net:8080/readyz" }
    }
  }
  expect_failures = [azurerm_traffic_manager_profile.geo]
}

run "refuses_a_label_that_is_a_region" {
  command = plan
  module {
    source = "../modules/azure/geo-dns"
  }
  variables {
    label = "eu-west"
  }
  expect_failures = [var.label]
}

run "refuses_an_https_health_check" {
  command = plan
  module {
    source = "../modules/azure/geo-dns"
  }
  variables {
    regions = {
      a = { name = "a", lat = 1, lon = 1, ipv4 = ["192.0.2.1"], ipv6 = [], dns_name = "a.ads.example.net", health_url = "https://a.ads.example.net/readyz" }
    }
  }
  expect_failures = [var.regions]
}

run "a_core" {
  command = plan
  module {
    source = "../modules/azure/core"
  }
  variables {
    name                = "core"
    dns_name            = "core.example.net"
    ca                  = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    database_subnet_id  = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/n/subnets/d"
    private_dns_zone_id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/privateDnsZones/z"
    database_password   = "correct-horse-battery-staple"
  }
  assert {
    condition     = output.endpoint == "https://core.example.net:8081" && output.db_ref == "https://example.vault.azure.net/secrets/nearside-core-settings"
    error_message = "the contract's outputs"
  }
  assert {
    condition     = azurerm_postgresql_flexible_server.core.high_availability[0].mode == "ZoneRedundant" && !azurerm_postgresql_flexible_server.core.public_network_access_enabled && azurerm_postgresql_flexible_server_configuration.core["synchronous_commit"].value == "on"
    error_message = "a synchronous standby in another zone, and no way in from outside"
  }
  assert {
    condition     = azurerm_postgresql_flexible_server.core.administrator_password == null && azurerm_key_vault_secret.database.value == null
    error_message = "the password is written only: nothing of it in the state"
  }
  assert {
    condition     = keys(azurerm_network_security_rule.node) == ["sync"]
    error_message = "nobody reaches the admin API unless a network is named"
  }
}

run "refuses_one_zone" {
  command = plan
  module {
    source = "../modules/azure/core"
  }
  variables {
    name                = "core"
    dns_name            = "core.example.net"
    ca                  = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    database_subnet_id  = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/n/subnets/d"
    private_dns_zone_id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/privateDnsZones/nearside.postgres.database.azure.com"
    database_password   = "correct-horse-battery-staple"
    zones               = ["1"]
  }
  expect_failures = [var.zones]
}

run "refuses_a_private_key_as_ca" {
  command = plan
  module {
    source = "../modules/azure/core"
  }
  variables {
    name                = "core"
    dns_name            = "core.example.net"
    ca                  = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"
    database_subnet_id  = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/n/subnets/d"
    private_dns_zone_id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/privateDnsZones/nearside.postgres.database.azure.com"
    database_password   = "correct-horse-battery-staple"
  }
  expect_failures = [var.ca]
}
