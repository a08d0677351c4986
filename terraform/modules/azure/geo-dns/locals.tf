locals {
  # Where Azure is. An endpoint outside Azure names the location it counts as;
  # ours gets the nearest.
  azure_locations = {
    eastus             = { lat = 37.37, lon = -79.82 }
    eastus2            = { lat = 36.67, lon = -78.39 }
    centralus          = { lat = 41.59, lon = -93.62 }
    northcentralus     = { lat = 41.88, lon = -87.63 }
    southcentralus     = { lat = 29.42, lon = -98.50 }
    westus             = { lat = 37.78, lon = -122.42 }
    westus2            = { lat = 47.23, lon = -119.85 }
    canadacentral      = { lat = 43.65, lon = -79.38 }
    canadaeast         = { lat = 46.82, lon = -71.22 }
    brazilsouth        = { lat = -23.55, lon = -46.63 }
    northeurope        = { lat = 53.35, lon = -6.26 }
    westeurope         = { lat = 52.37, lon = 4.90 }
    uksouth            = { lat = 50.94, lon = -0.80 }
    francecentral      = { lat = 46.38, lon = 2.37 }
    germanywestcentral = { lat = 50.11, lon = 8.68 }
    switzerlandnorth   = { lat = 47.45, lon = 8.56 }
    swedencentral      = { lat = 60.67, lon = 17.14 }
    norwayeast         = { lat = 59.91, lon = 10.75 }
    italynorth         = { lat = 45.47, lon = 9.18 }
    southafricanorth   = { lat = -25.73, lon = 28.22 }
    uaenorth           = { lat = 25.27, lon = 55.32 }
    centralindia       = { lat = 18.58, lon = 73.92 }
    southindia         = { lat = 12.98, lon = 80.16 }
    southeastasia      = { lat = 1.28, lon = 103.83 }
    eastasia           = { lat = 22.27, lon = 114.19 }
    japaneast          = { lat = 35.68, lon = 139.77 }
    japanwest          = { lat = 34.69, lon = 135.50 }
    koreacentral       = { lat = 37.57, lon = 126.98 }
    australiaeast      = { lat = -33.86, lon = 151.21 }
    australiasoutheast = { lat = -37.81, lon = 144.96 }
  }

  # The dot product of two points on the sphere is largest for the nearest pair.
  closeness = {
    for name, r in module.contract.regions : name => {
      for location, a in module.locations.regions : location => sum([for i in range(3) : r.xyz[i] * a.xyz[i]])
    }
  }
  nearest = {
    for name, all in local.closeness : name => [for location, c in all : location if c == max(values(all)...)][0]
  }

  # One profile checks one port and path, so all regions have to share them.
  health = {
    for name, r in var.regions : name => regex("^http://[a-z0-9.-]+(?::(?P<port>[0-9]+))?(?P<path>/.*)$", r.health_url)
  }
  checks = distinct([for h in values(local.health) : { port = tonumber(coalesce(h.port, "80")), path = h.path }])

  labels = { for name, r in var.regions : name => trimsuffix(r.dns_name, ".${var.zone}") }
}
