variable "name" {
  description = "Name of the region; also the first label of its public name."
  type        = string
}

variable "lat" {
  description = "Latitude of the region in degrees."
  type        = number
}

variable "lon" {
  description = "Longitude of the region in degrees."
  type        = number
}

variable "artifact" {
  description = "The release of nearside-edge that the region runs: a gzipped tar and its sha256."
  type = object({
    url    = string
    sha256 = string
  })
}

variable "core_endpoint" {
  description = "Where the core's sync port answers: the core module's endpoint."
  type        = string
}

variable "core_ca" {
  description = "The certificate (PEM) that signed the core's: the core module's ca. Empty: the system's store."
  type        = string
  default     = ""
}

variable "capacity" {
  description = "How few and how many nodes the region may have."
  type = object({
    min = number
    max = number
  })
}

variable "secret_ref" {
  description = "Where a node finds its join token; a reference, never the token."
  type        = string
}

variable "wave" {
  description = "The region's rollout wave, 0 (canary) to 9."
  type        = number
}

variable "dns_name" {
  description = "The region's own public name, which beacons and clicks use."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", var.dns_name))
    error_message = "dns_name: expected a full lower-case host name without a trailing dot, got ${var.dns_name}."
  }
}

variable "tls" {
  description = "Whether readers reach the region by https: at the edge itself with certificate_ref, else at a terminator of your own on the hosts. Plain HTTP is answered as well, for health checks."
  type        = bool
  default     = false
}

variable "certificate_ref" {
  description = "Path on every host (file:///…) of what readers see by https: one PEM of a private key and its certificate chain, good for dns_name and the geo name. Obtained and renewed outside the edge (DNS-01)."
  type        = string
  default     = ""

  validation {
    condition     = var.certificate_ref == "" || (startswith(var.certificate_ref, "file:///") && var.tls)
    error_message = "certificate_ref: on hosts reached by SSH it is a path, file:///…, and goes with tls."
  }
}

variable "certificate" {
  description = "That PEM, laid at certificate_ref's path on every host. Ephemeral: neither in the plan nor in the state. Leave certificate_version at 0 to lay it yourself: nodes look at the path every six hours."
  type        = string
  default     = ""
  sensitive   = true
  ephemeral   = true
}

variable "certificate_version" {
  description = "Raise by one to lay certificate anew; it counts from the next connection on, nothing restarts."
  type        = number
  default     = 0

  validation {
    condition     = var.certificate_version >= 0 && floor(var.certificate_version) == var.certificate_version && (var.certificate_version == 0 || var.certificate_ref != "")
    error_message = "certificate_version: expected a whole number from 0, and a certificate_ref to lay it at."
  }
}

variable "tls_port" {
  description = "Port of https on every host, with certificate_ref."
  type        = number
  default     = 443
}

variable "environment" {
  description = "Further NEARSIDE_* settings of the edge that are not secret."
  type        = map(string)
  default     = {}
}

variable "drain_seconds" {
  description = "How long a node may take to give back what it holds before it is fenced."
  type        = number
  default     = 300
}

variable "hosts" {
  description = "The machines by node name: where SSH reaches each, its one host key (with several types, pinning fails), the private key's path on the machine that runs Terraform, and the public addresses."
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
    condition     = length(var.hosts) >= 1 && alltrue([for n in keys(var.hosts) : can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", n))])
    error_message = "hosts: expected at least one; names are lower-case letters, digits and single hyphens."
  }
  validation {
    condition     = alltrue([for h in values(var.hosts) : can(regex("^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp256) [A-Za-z0-9+/=]+$", h.host_key))])
    error_message = "hosts: host_key must be one public host key (TYPE BASE64) for ${join(", ", [for n, h in var.hosts : n if !can(regex("^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp256) [A-Za-z0-9+/=]+$", h.host_key))])}."
  }
  validation {
    condition     = alltrue([for h in values(var.hosts) : can(cidrhost("${h.ipv4}/32", 0)) && (h.ipv6 == "" || can(cidrhost("${h.ipv6}/128", 0)))])
    error_message = "hosts: ipv4 and ipv6 must be addresses."
  }
  validation {
    condition     = alltrue([for h in values(var.hosts) : h.user == "root"])
    error_message = "hosts: user must be root: the node's files and unit belong to it."
  }
}

variable "join_token" {
  description = "The join token, laid at secret_ref's path on every host. Ephemeral: neither in the plan nor in the state. Leave token_version at 0 to lay it yourself."
  type        = string
  default     = ""
  sensitive   = true
  ephemeral   = true
}

variable "token_version" {
  description = "Raise by one to lay join_token anew; Terraform cannot see that an ephemeral value changed."
  type        = number
  default     = 0

  validation {
    condition     = var.token_version >= 0 && floor(var.token_version) == var.token_version
    error_message = "token_version: expected a whole number from 0."
  }
}

variable "public_port" {
  description = "Port of the edge on every host; operations, gossip and peers are the next ones."
  type        = number
  default     = 80
}

variable "gossip_key_ref" {
  description = "Where a node finds the region's gossip keys; a reference. Empty: every node is alone, as is right for one node."
  type        = string
  default     = ""
}

variable "public_url" {
  description = "Where readers reach the region, if not https (with tls) or http at dns_name: behind a terminator of your own."
  type        = string
  default     = ""
}
