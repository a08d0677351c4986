variable "fleet_file" {
  description = "The fleet: regions, release, core, drained regions."
  type        = string
  default     = "../../fleet.json"
}

variable "name" {
  description = "Which region of fleet.json this is."
  type        = string
}

variable "subscription_id" {
  description = "Azure subscription."
  type        = string
}

variable "dns_name" {
  description = "The region's own public name."
  type        = string
}

variable "secret_ref" {
  description = "Where a node finds its join token; a reference."
  type        = string
}

variable "location" {
  description = "Azure location."
  type        = string
}

variable "resource_group_name" {
  description = "Resource group of the region."
  type        = string
}

variable "resource_group_id" {
  description = "Its id."
  type        = string
}

variable "subnet_id" {
  description = "Subnet of the nodes."
  type        = string
}

variable "key_vault_id" {
  description = "Key vault that holds the join token."
  type        = string
}

variable "admin_ssh_public_key" {
  description = "Public key of the nodes' admin account."
  type        = string
}

variable "ipv6" {
  description = "Whether readers also come by IPv6."
  type        = bool
  default     = false
}

variable "sku_name" {
  description = "Size of the nodes."
  type        = string
  default     = "Standard_D2ps_v5"
}

variable "certificate_ref" {
  description = "Where a node finds the readers' certificate; a reference. Empty with tls: a terminator of your own."
  type        = string
  default     = ""
}

variable "tls" {
  description = "Whether readers come by https."
  type        = bool
  default     = true
}

variable "drain_seconds" {
  description = "How long a node may take to drain."
  type        = number
  default     = 300
}
