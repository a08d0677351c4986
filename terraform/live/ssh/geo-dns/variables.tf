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

variable "servers" {
  description = "The name servers, by label in the zone."
  type = map(object({
    address          = string
    port             = optional(number, 22)
    user             = optional(string, "root")
    host_key         = string
    private_key_path = string
    ipv4             = string
    ipv6             = optional(string, "")
  }))
}

variable "hostmaster" {
  description = "Mail address of the zone, as a host name."
  type        = string
}

variable "mmdb_path" {
  description = "The MMDB with coordinates, on every name server."
  type        = string
  default     = "/var/lib/nearside-geo/city.mmdb"
}
