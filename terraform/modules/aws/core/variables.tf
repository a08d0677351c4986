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

variable "vpc_id" {
  description = "The VPC the core lives in."
  type        = string
}

variable "private_subnet_ids" {
  description = "Subnets of the database and the core nodes, in at least two availability zones, with a way out."
  type        = list(string)

  validation {
    condition     = length(var.private_subnet_ids) >= 2
    error_message = "private_subnet_ids: RDS needs subnets in two availability zones."
  }
}

variable "public_subnet_ids" {
  description = "Subnets of the load balancer that edges call."
  type        = list(string)
}

variable "ami_id" {
  description = "Image of the nodes: Debian 12 or later, or another with cloud-init, systemd >= 252, curl >= 7.75 and python3."
  type        = string
}

variable "instance_type" {
  description = "Instance type of the core nodes."
  type        = string
  default     = "c7g.large"
}

variable "database_class" {
  description = "Instance class of the database."
  type        = string
  default     = "db.m7g.large"
}

variable "database_version" {
  description = "PostgreSQL's major version."
  type        = string
  default     = "16"
}

variable "database_gigabytes" {
  description = "Storage of the database at the start; it grows by itself up to four times that."
  type        = number
  default     = 100
}

variable "route53_zone_id" {
  description = "Zone in which to create dns_name; empty: the operator points the name at lb_dns_name."
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
