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
  description = "Seconds that resolvers may keep an answer for the geo name."
  type        = number
  default     = 30

  validation {
    condition     = var.ttl >= 5 && var.ttl <= 3600
    error_message = "ttl: expected 5 to 3600 seconds, got ${var.ttl}."
  }
}

variable "servers" {
  description = "The name servers by label in the zone (ns1, ns2, …): how SSH reaches each, its one host key, the private key's path on the machine that runs Terraform, and the public addresses it answers at."
  type = map(object({
    address          = string
    port             = optional(number, 22)
    user             = optional(string, "root")
    host_key         = string
    private_key_path = string
    ipv4             = string
    ipv6             = optional(string, "")
  }))

  validation {
    condition     = length(var.servers) >= 1 && alltrue([for n in keys(var.servers) : can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", n))])
    error_message = "servers: expected at least one (two or more in production); names are lower-case labels."
  }
  validation {
    condition     = alltrue([for s in values(var.servers) : can(regex("^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp256) [A-Za-z0-9+/=]+$", s.host_key))])
    error_message = "servers: host_key must be one public host key (TYPE BASE64)."
  }
  validation {
    condition     = alltrue([for s in values(var.servers) : can(cidrhost("${s.ipv4}/32", 0)) && (s.ipv6 == "" || can(cidrhost("${s.ipv6}/128", 0)))])
    error_message = "servers: ipv4 and ipv6 must be addresses."
  }
}

variable "mmdb_path" {
  description = "On every name server: an MMDB of City form with coordinates, which the operator supplies and renews. gdnsd notices a new file by itself."
  type        = string
  default     = "/var/lib/nearside-geo/city.mmdb"

  validation {
    condition     = can(regex("^/[A-Za-z0-9/._-]+\\.mmdb$", var.mmdb_path))
    error_message = "mmdb_path: expected an absolute path that ends in .mmdb, got ${var.mmdb_path}."
  }
}

variable "hostmaster" {
  description = "Mail address for the zone's SOA, written as a host name (hostmaster.example.net)."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", var.hostmaster))
    error_message = "hostmaster: expected a lower-case domain name without a trailing dot or @, got ${var.hostmaster}."
  }
}

variable "listen" {
  description = "Addresses gdnsd listens on, with an optional :PORT; empty: all, on port 53."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for l in var.listen : can(regex("^[0-9a-f.:\\[\\]]+$", l))])
    error_message = "listen: expected addresses like 192.0.2.1, 127.0.0.1:5353 or [2001:db8::1]:53."
  }
}

variable "health_interval" {
  description = "Seconds between two health checks of one address. Two bad ones in a row take a region out, two good ones bring it back."
  type        = number
  default     = 2

  validation {
    condition     = var.health_interval >= 2 && var.health_interval <= 60 && floor(var.health_interval) == var.health_interval
    error_message = "health_interval: expected a whole number of seconds from 2 to 60, got ${var.health_interval}."
  }
}
