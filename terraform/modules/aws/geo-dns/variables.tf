variable "regions" {
  description = "The outputs of the edge regions, of any cloud, by name."
  type = map(object({
    name       = string
    lat        = number
    lon        = number
    ipv4       = list(string)
    ipv6       = list(string)
    dns_name   = string
    health_url = string
  }))
  nullable = false

  validation {
    condition     = alltrue([for k, r in var.regions : k == r.name])
    error_message = "regions: the key must be the region's name; it is not for ${join(", ", [for k, r in var.regions : k if k != r.name])}."
  }
  validation {
    condition     = alltrue([for r in values(var.regions) : endswith(r.dns_name, ".${var.zone}")])
    error_message = "regions: dns_name must be below the zone ${var.zone}; it is not for ${join(", ", [for k, r in var.regions : k if !endswith(r.dns_name, ".${var.zone}")])}."
  }
  validation {
    condition     = alltrue([for r in values(var.regions) : length(r.ipv4) >= 1 && alltrue([for a in r.ipv4 : can(cidrhost("${a}/32", 0))]) && alltrue([for a in r.ipv6 : can(cidrhost("${a}/128", 0)) && strcontains(a, ":")])])
    error_message = "regions: expected at least one IPv4 address and only addresses in ipv4 and ipv6; not so for ${join(", ", [for k, r in var.regions : k if !(length(r.ipv4) >= 1 && alltrue([for a in r.ipv4 : can(cidrhost("${a}/32", 0))]) && alltrue([for a in r.ipv6 : can(cidrhost("${a}/128", 0)) && strcontains(a, ":")]))])}."
  }
  validation {
    condition     = alltrue([for r in values(var.regions) : can(regex("^http://[a-z0-9.-]+(:[0-9]+)?/[^\\s?#]*$", r.health_url))])
    error_message = "regions: health_url must be http://HOST[:PORT]/PATH; it is not for ${join(", ", [for k, r in var.regions : k if !can(regex("^http://[a-z0-9.-]+(:[0-9]+)?/[^\\s?#]*$", r.health_url))])}."
  }
}

variable "zone" {
  description = "The DNS zone: a subdomain delegated to the geo DNS, without a trailing dot."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", var.zone))
    error_message = "zone: expected a lower-case domain without a trailing dot, got ${var.zone}."
  }
}

variable "label" {
  description = "The geo name's label in the zone: publishers' pages ask LABEL.ZONE."
  type        = string
  default     = "server"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", var.label)) && !contains([for r in values(var.regions) : r.dns_name], "${var.label}.${var.zone}")
    error_message = "label: expected a lower-case label that is no region's own name, got ${var.label}."
  }
}

variable "drained" {
  description = "Regions that get no new readers. Their own names stay, since views and clicks of ads already shown still come home."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.drained, keys(var.regions))) == 0
    error_message = "drained: no such region: ${join(", ", setsubtract(var.drained, keys(var.regions)))}."
  }
  validation {
    condition     = length(setsubtract(keys(var.regions), var.drained)) >= 1
    error_message = "drained: at least one region has to stay."
  }
}

variable "ttl" {
  description = "Seconds that resolvers may keep an answer, for the geo name and the regions' own."
  type        = number
  default     = 30

  validation {
    condition     = var.ttl >= 5 && var.ttl <= 3600
    error_message = "ttl: expected 5 to 3600 seconds, got ${var.ttl}."
  }
}

variable "zone_id" {
  description = "Route 53's id of the zone."
  type        = string
}

variable "policy" {
  description = "latency: what AWS measures between the reader and the AWS region nearest to ours. geoproximity: distance to the coordinates, for regions far from every AWS region."
  type        = string
  default     = "latency"

  validation {
    condition     = contains(["latency", "geoproximity"], var.policy)
    error_message = "policy: expected latency or geoproximity, got ${var.policy}."
  }
}

variable "tags" {
  description = "Tags of the health checks."
  type        = map(string)
  default     = {}
}
