module "contract" {
  source  = "../../contract"
  regions = { for name, r in var.regions : name => { lat = r.lat, lon = r.lon } }
}

module "locations" {
  source  = "../../contract"
  regions = local.azure_locations
}

# Performance: the endpoint nearest by measured latency. When all are degraded
# Traffic Manager answers as if all were well: it fails open.
resource "azurerm_traffic_manager_profile" "geo" {
  name                   = var.profile_name
  resource_group_name    = var.resource_group_name
  traffic_routing_method = "Performance"
  tags                   = var.tags

  dns_config {
    relative_name = var.profile_name
    ttl           = var.ttl
  }

  monitor_config {
    protocol                     = "HTTP"
    port                         = local.checks[0].port
    path                         = local.checks[0].path
    interval_in_seconds          = 10
    timeout_in_seconds           = 5
    tolerated_number_of_failures = 1
    expected_status_code_ranges  = ["200-200"]
  }

  lifecycle {
    precondition {
      condition     = length(local.checks) == 1
      error_message = "health_url: a Traffic Manager profile checks one port and path, but the regions have ${jsonencode(local.checks)}."
    }
  }
}

resource "azurerm_traffic_manager_external_endpoint" "region" {
  for_each          = var.regions
  name              = each.key
  profile_id        = azurerm_traffic_manager_profile.geo.id
  target            = each.value.dns_name
  endpoint_location = local.nearest[each.key]
  enabled           = !contains(var.drained, each.key)

  custom_header {
    name  = "host"
    value = each.value.dns_name
  }
}

resource "azurerm_dns_cname_record" "geo" {
  name                = var.label
  zone_name           = var.zone
  resource_group_name = var.resource_group_name
  ttl                 = var.ttl
  record              = azurerm_traffic_manager_profile.geo.fqdn
  tags                = var.tags
}

# Each region's own name: what beacons and clicks use, drained or not.
resource "azurerm_dns_a_record" "region" {
  for_each            = var.regions
  name                = local.labels[each.key]
  zone_name           = var.zone
  resource_group_name = var.resource_group_name
  ttl                 = 300
  records             = each.value.ipv4
  tags                = var.tags
}

resource "azurerm_dns_aaaa_record" "region" {
  for_each            = { for name, r in var.regions : name => r if length(r.ipv6) > 0 }
  name                = local.labels[each.key]
  zone_name           = var.zone
  resource_group_name = var.resource_group_name
  ttl                 = 300
  records             = each.value.ipv6
  tags                = var.tags
}
