locals {
  # One file says what all regions share: the map, the release, the core, who is drained.
  fleet = jsondecode(file(var.fleet_file))
  here  = module.contract.regions[var.name]
}
