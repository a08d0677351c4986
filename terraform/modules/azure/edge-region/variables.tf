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
  description = "Whether readers reach the region by https: at the edge itself with certificate_ref, else at a terminator of your own on the port after the peer port. Plain HTTP is answered as well, for health checks."
  type        = bool
  default     = false
}

variable "certificate_ref" {
  description = "Where a node finds what readers see by https: a secret of the key vault (that of a certificate in PEM will do) with a private key and its certificate chain, good for dns_name and the geo name; a reference without a version, never the key. Renewed outside the edge (DNS-01); nodes look every six hours."
  type        = string
  default     = ""

  validation {
    condition     = var.certificate_ref == "" || var.tls
    error_message = "certificate_ref: it goes with tls."
  }
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

variable "location" {
  description = "Azure location of the region, for example westeurope."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+[0-9]?$", var.location))
    error_message = "location: expected a name like westeurope, got ${var.location}."
  }
}

variable "resource_group_name" {
  description = "Resource group of everything in this region."
  type        = string
}

variable "resource_group_id" {
  description = "Id of that resource group: the scope in which a node may publish its saturation."
  type        = string
}

variable "subnet_id" {
  description = "Subnet of the nodes; dual stack where ipv6 is on."
  type        = string
}

variable "key_vault_id" {
  description = "Key vault (with role-based access) that holds the join token of secret_ref."
  type        = string
}

variable "zones" {
  description = "Availability zones to spread over; empty where the location has none."
  type        = set(string)
  default     = ["1", "2", "3"]
}

variable "ipv6" {
  description = "Whether readers also reach the region by IPv6; the subnet must be dual stack."
  type        = bool
  default     = false
}

variable "sku_name" {
  description = "Size of the nodes."
  type        = string
  default     = "Standard_D2ps_v5"
}

variable "image" {
  description = "Image of the nodes: Debian 12 or later, or another with cloud-init, systemd >= 252, curl >= 7.75 and python3."
  type = object({
    publisher = string
    offer     = string
    sku       = string
    version   = string
  })
  default = {
    publisher = "Debian"
    offer     = "debian-12"
    sku       = "12-arm64"
    version   = "latest"
  }
}

variable "admin_ssh_public_key" {
  description = "Public key for the nodes' admin account; passwords are off and no rule lets SSH in."
  type        = string

  validation {
    condition     = can(regex("^(ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp256) ", var.admin_ssh_public_key))
    error_message = "admin_ssh_public_key: expected a public key."
  }
}

variable "saturation_out" {
  description = "Nodes are added while the mean saturation is above this."
  type        = number
  default     = 0.6

  validation {
    condition     = var.saturation_out >= 0.2 && var.saturation_out <= 0.9
    error_message = "saturation_out: expected 0.2 to 0.9, got ${var.saturation_out}."
  }
}

variable "saturation_in" {
  description = "One node is removed while the mean saturation is below this; far below saturation_out, so that it does not swing."
  type        = number
  default     = 0.25

  validation {
    condition     = var.saturation_in > 0 && var.saturation_in <= var.saturation_out / 2
    error_message = "saturation_in: expected above 0 and at most half of saturation_out, got ${var.saturation_in}."
  }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
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
