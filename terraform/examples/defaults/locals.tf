locals {
  region = "first"
}
