locals {
  # Where AWS is. Latency records name an AWS region; ours gets the nearest.
  aws_regions = {
    us-east-1      = { lat = 38.95, lon = -77.45 }
    us-east-2      = { lat = 39.96, lon = -83.00 }
    us-west-1      = { lat = 37.35, lon = -121.96 }
    us-west-2      = { lat = 45.84, lon = -119.70 }
    ca-central-1   = { lat = 45.50, lon = -73.60 }
    sa-east-1      = { lat = -23.55, lon = -46.63 }
    eu-west-1      = { lat = 53.35, lon = -6.26 }
    eu-west-2      = { lat = 51.51, lon = -0.13 }
    eu-west-3      = { lat = 48.86, lon = 2.35 }
    eu-central-1   = { lat = 50.11, lon = 8.68 }
    eu-north-1     = { lat = 59.33, lon = 18.07 }
    eu-south-1     = { lat = 45.46, lon = 9.19 }
    af-south-1     = { lat = -33.93, lon = 18.42 }
    me-south-1     = { lat = 26.07, lon = 50.55 }
    me-central-1   = { lat = 25.20, lon = 55.27 }
    ap-south-1     = { lat = 19.08, lon = 72.88 }
    ap-south-2     = { lat = 17.39, lon = 78.49 }
    ap-southeast-1 = { lat = 1.35, lon = 103.82 }
    ap-southeast-2 = { lat = -33.87, lon = 151.21 }
    ap-southeast-3 = { lat = -6.21, lon = 106.85 }
    ap-east-1      = { lat = 22.32, lon = 114.17 }
    ap-northeast-1 = { lat = 35.68, lon = 139.69 }
    ap-northeast-2 = { lat = 37.57, lon = 126.98 }
    ap-northeast-3 = { lat = 34.69, lon = 135.50 }
  }

  # The dot product of two points on the sphere is largest for the nearest pair.
  closeness = {
    for name, r in module.contract.regions : name => {
      for aws, a in module.aws_regions.regions : aws => sum([for i in range(3) : r.xyz[i] * a.xyz[i]])
    }
  }
  nearest = {
    for name, all in local.closeness : name => [for aws, c in all : aws if c == max(values(all)...)][0]
  }

  health = {
    for name, r in var.regions : name => regex("^http://(?P<host>[a-z0-9.-]+)(?::(?P<port>[0-9]+))?(?P<path>/.*)$", r.health_url)
  }

  # A record set has one type: A always, AAAA where the region has addresses.
  records = merge([
    for name, r in var.regions : merge(
      { "${name}-A" = { region = name, type = "A", addresses = r.ipv4 } },
      length(r.ipv6) == 0 ? {} : { "${name}-AAAA" = { region = name, type = "AAAA", addresses = r.ipv6 } },
    )
  ]...)
  geo_records = { for k, r in local.records : k => r if !contains(var.drained, r.region) }
}
