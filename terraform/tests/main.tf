# The root of the unit tests: the *.tftest.hcl files beside it name the module that
# each run is about.
terraform {
  required_version = ">= 1.11.0"
}
