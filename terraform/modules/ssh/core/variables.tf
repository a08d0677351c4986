variable "name" {
  description = "Name of this core; parts of resource names."
  type        = string
  default     = "core"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.name)) && length(var.name) <= 20
    error_message = "name: expected lower-case letters, digits and single hyphens, 20 at most, got ${var.name}."
  }
}

variable "artifact" {
  description = "The release of nearside-core: a gzipped tar and its sha256."
  type = object({
    url    = string
    sha256 = string
  })
}

variable "dns_name" {
  description = "The core's name, which its certificate carries."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", var.dns_name))
    error_message = "dns_name: expected a full lower-case host name without a trailing dot, got ${var.dns_name}."
  }
}

variable "ca" {
  description = "The certificate (PEM) of the authority that signed the core's; edges trust it. Public. Empty without TLS."
  type        = string
  default     = ""

  validation {
    condition     = (var.ca == "" && !var.tls) || (can(regex("-----BEGIN CERTIFICATE-----", var.ca)) && !can(regex("PRIVATE KEY", var.ca)))
    error_message = "ca: with tls expected a PEM certificate and no private key."
  }
}

variable "environment" {
  description = "Further NEARSIDE_* settings of the core that are not secret."
  type        = map(string)
  default     = {}
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

variable "secrets" {
  description = "The core's secrets by name, laid on every host: settings, a YAML file of flags with database-url in it, and what else nearside-core takes as a file. Ephemeral: neither in the plan nor in the state."
  type        = map(string)
  default     = {}
  sensitive   = true
  ephemeral   = true
}

variable "secret_names" {
  description = "Names of the core's secrets; each is a file in /etc/nearside/secrets on the hosts. Ephemeral values cannot say it."
  type        = set(string)
  default     = ["settings"]

  validation {
    condition     = contains(var.secret_names, "settings") && alltrue([for n in var.secret_names : can(regex("^[a-z][a-z0-9-]*([.](pem|key))?$", n))])
    error_message = "secret_names: expected settings among them, and lower-case letters, digits and hyphens, or files of a TLS directory (ca.pem, ca.key, …)."
  }
}

variable "secret_version" {
  description = "Raise by one to lay secrets anew; 0: the operator lays the files."
  type        = number
  default     = 0

  validation {
    condition     = var.secret_version >= 0 && floor(var.secret_version) == var.secret_version
    error_message = "secret_version: expected a whole number from 0."
  }
}

variable "tls" {
  description = "Whether the sync port speaks TLS. Without it, only inside a private network."
  type        = bool
  default     = true
}

variable "admin_port" {
  description = "Port of the admin API and console on every host; sync and operations are the next ones."
  type        = number
  default     = 8080
}
