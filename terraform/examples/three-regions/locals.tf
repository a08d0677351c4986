locals {
  places = {
    for name, r in var.regions : name => {
      lat      = r.lat, lon = r.lon, wave = r.wave
      capacity = { min = length(r.hosts), max = length(r.hosts) }
    }
  }
}
