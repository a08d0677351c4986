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
  description = "The certificate (PEM) of the authority that signed the core's; edges trust it. Public."
  type        = string

  validation {
    condition     = can(regex("-----BEGIN CERTIFICATE-----", var.ca)) && !can(regex("PRIVATE KEY", var.ca))
    error_message = "ca: expected a PEM certificate and no private key."
  }
}

variable "secret_refs" {
  description = "Further secrets of the core by reference: what nearside-core takes as a file."
  type        = map(string)
  default     = {}
}

variable "admin_networks" {
  description = "IPv4 networks that may reach the admin API and console. Nobody by default: open it to a bastion or a VPN."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for n in var.admin_networks : can(cidrhost(n, 0)) && n != "0.0.0.0/0"])
    error_message = "admin_networks: expected networks like 10.0.0.0/8, and not 0.0.0.0/0."
  }
}

variable "edge_networks" {
  description = "IPv4 networks that edges call the sync port from."
  type        = set(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for n in var.edge_networks : can(cidrhost(n, 0))])
    error_message = "edge_networks: expected networks like 192.0.2.0/24."
  }
}

variable "nodes" {
  description = "How many core processes run; they are stateless."
  type        = number
  default     = 2

  validation {
    condition     = var.nodes >= 1 && var.nodes <= 20 && floor(var.nodes) == var.nodes
    error_message = "nodes: expected a whole number from 1 to 20, got ${var.nodes}."
  }
}

variable "database_password" {
  description = "Password of the database's owner. Ephemeral: neither in the plan nor in the state."
  type        = string
  sensitive   = true
  ephemeral   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9_.~-]{16,}$", var.database_password))
    error_message = "database_password: expected 16 or more of A-Z a-z 0-9 _ . ~ -, which need no quoting in a URL."
  }
}

variable "database_password_version" {
  description = "Raise by one to set the password anew; Terraform cannot see that an ephemeral value changed."
  type        = number
  default     = 1
}

variable "environment" {
  description = "Further NEARSIDE_* settings of the core that are not secret."
  type        = map(string)
  default     = {}
}

variable "location" {
  description = "Azure location of the core."
  type        = string
}

variable "resource_group_name" {
  description = "Resource group of everything of the core."
  type        = string
}

variable "subnet_id" {
  description = "Subnet of the core nodes."
  type        = string
}

variable "database_subnet_id" {
  description = "Subnet delegated to Microsoft.DBforPostgreSQL/flexibleServers."
  type        = string
}

variable "private_dns_zone_id" {
  description = "Private DNS zone (….postgres.database.azure.com) that is linked to the network."
  type        = string
}

variable "key_vault_id" {
  description = "Key vault (with role-based access) that gets the database's URL and holds the secrets of secret_refs."
  type        = string
}

variable "zones" {
  description = "Two availability zones: the database's primary and its standby, and the nodes."
  type        = list(string)
  default     = ["1", "2"]

  validation {
    condition     = length(var.zones) >= 2
    error_message = "zones: the synchronous standby needs a second zone."
  }
}

variable "sku_name" {
  description = "Size of the core nodes."
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

variable "database_sku" {
  description = "Size of the database server."
  type        = string
  default     = "GP_Standard_D2ds_v5"
}

variable "database_version" {
  description = "PostgreSQL's major version."
  type        = string
  default     = "16"
}

variable "database_megabytes" {
  description = "Storage of the database; it grows by itself."
  type        = number
  default     = 131072
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
