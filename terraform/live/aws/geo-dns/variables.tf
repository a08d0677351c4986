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

variable "aws_region" {
  description = "AWS region of these resources."
  type        = string
}

variable "zone_id" {
  description = "Route 53's id of the zone."
  type        = string
}

variable "policy" {
  description = "latency or geoproximity."
  type        = string
  default     = "latency"
}
