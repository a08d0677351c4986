locals {
  fleet = jsondecode(file(var.fleet_file))

  # One file per region, of whatever cloud: the output of its own state.
  regions = {
    for file in fileset(var.regions_dir, "*.json") :
    trimsuffix(file, ".json") => jsondecode(file("${var.regions_dir}/${file}"))
  }
}
