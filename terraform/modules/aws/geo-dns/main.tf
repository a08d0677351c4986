module "contract" {
  source  = "../../contract"
  regions = { for name, r in var.regions : name => { lat = r.lat, lon = r.lon } }
}

module "aws_regions" {
  source  = "../../contract"
  regions = local.aws_regions
}

resource "aws_route53_health_check" "region" {
  for_each          = var.regions
  fqdn              = local.health[each.key].host
  ip_address        = each.value.ipv4[0]
  port              = coalesce(local.health[each.key].port, "80")
  type              = "HTTP"
  resource_path     = local.health[each.key].path
  request_interval  = 10
  failure_threshold = 2
  tags              = merge(var.tags, { Name = "nearside-${each.key}" })
}

# Each region's own name: what beacons and clicks use, drained or not. Its ttl is the
# geo name's too: an alias is answered with that of the record it stands for.
resource "aws_route53_record" "region" {
  for_each = local.records
  zone_id  = var.zone_id
  name     = var.regions[each.value.region].dns_name
  type     = each.value.type
  ttl      = var.ttl
  records  = each.value.addresses
}

# The geo name: an alias of the region's own name, for each region that takes new
# readers. When all health checks fail Route 53 answers as if none did: it fails
# open.
resource "aws_route53_record" "geo" {
  for_each        = local.geo_records
  zone_id         = var.zone_id
  name            = "${var.label}.${var.zone}"
  type            = each.value.type
  set_identifier  = each.value.region
  health_check_id = aws_route53_health_check.region[each.value.region].id

  alias {
    name                   = aws_route53_record.region[each.key].name
    zone_id                = var.zone_id
    evaluate_target_health = true
  }

  dynamic "latency_routing_policy" {
    for_each = var.policy == "latency" ? [local.nearest[each.value.region]] : []
    content {
      region = latency_routing_policy.value
    }
  }

  dynamic "geoproximity_routing_policy" {
    for_each = var.policy == "geoproximity" ? [module.contract.regions[each.value.region]] : []
    content {
      coordinates {
        latitude  = format("%.2f", geoproximity_routing_policy.value.lat)
        longitude = format("%.2f", geoproximity_routing_policy.value.lon)
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.policy != "latency" || length(distinct(values(local.nearest))) == length(local.nearest)
      error_message = "Two regions have the same nearest AWS region (${jsonencode(local.nearest)}); latency records cannot tell them apart, use policy geoproximity."
    }
  }
}
