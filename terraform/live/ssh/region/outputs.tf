output "region" {
  description = "What geo-dns has to know about this region; `region` keeps it in live/regions/NAME.json."
  value = {
    name       = module.region.name
    lat        = module.region.lat
    lon        = module.region.lon
    ipv4       = module.region.ipv4
    ipv6       = module.region.ipv6
    dns_name   = module.region.dns_name
    health_url = module.region.health_url
  }
}
