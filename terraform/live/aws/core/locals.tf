locals {
  fleet = jsondecode(file(var.fleet_file))
}
