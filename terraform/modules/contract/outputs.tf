output "regions" {
  description = "The regions, normalised: name, lat, lon, wave, capacity, the artifact its wave has (null without a release), and xyz, the point on the unit sphere, whose dot products order places by distance."
  value = {
    for name, r in var.regions : name => {
      name     = name
      lat      = r.lat
      lon      = r.lon
      wave     = r.wave
      capacity = r.capacity
      artifact = local.artifacts[name]
      xyz = [for x in [
        local.trig[name].lat.cos * local.trig[name].lon.cos,
        local.trig[name].lat.cos * local.trig[name].lon.sin,
        local.trig[name].lat.sin,
      ] : floor(x * 1000000 + 0.5) / 1000000]
    }
  }
}

output "waves" {
  description = "The names of the regions of each wave, in the order of a rollout."
  value       = { for name, r in var.regions : tostring(r.wave) => name... }
}
