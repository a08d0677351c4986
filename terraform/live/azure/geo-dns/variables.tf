variable "fleet_file" {
  description = "The fleet: regions, release, core, drained regions."
  type        = string
  default     = "../../fleet.json"
}

variable "regions_dir" {
  description = "Directory with one JSON file per open region."
  type        = string
  default     = "../../regions"
}

variable "zone" {
  description = "The DNS zone of the geo name and of the regions' own names."
  type        = string
}

variable "label" {
  description = "The geo name's label in the zone."
  type        = string
  default     = "server"
}

variable "subscription_id" {
  description = "Azure subscription."
  type        = string
}

variable "resource_group_name" {
  description = "Resource group of the zone and the profile."
  type        = string
}

variable "profile_name" {
  description = "Name of the Traffic Manager profile."
  type        = string
}
