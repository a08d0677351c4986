variable "fleet_file" {
  description = "The fleet: regions, release, core, drained regions."
  type        = string
  default     = "../../fleet.json"
}

variable "dns_name" {
  description = "The core's name, which its certificate carries."
  type        = string
}

variable "ca" {
  description = "The certificate (PEM) that signed the core's."
  type        = string
}

variable "database_password" {
  description = "Password of the database's owner; ephemeral."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "database_password_version" {
  description = "Raise by one to set the password anew."
  type        = number
  default     = 1
}

variable "secret_refs" {
  description = "Further secrets of the core by reference."
  type        = map(string)
  default     = {}
}

variable "admin_networks" {
  description = "Networks that may reach the admin API."
  type        = set(string)
  default     = []
}

variable "edge_networks" {
  description = "Networks that edges call from."
  type        = set(string)
  default     = ["0.0.0.0/0"]
}

variable "subscription_id" {
  description = "Azure subscription."
  type        = string
}

variable "location" {
  description = "Azure location."
  type        = string
}

variable "resource_group_name" {
  description = "Resource group of the core."
  type        = string
}

variable "subnet_id" {
  description = "Subnet of the nodes."
  type        = string
}

variable "database_subnet_id" {
  description = "Subnet delegated to flexible servers."
  type        = string
}

variable "private_dns_zone_id" {
  description = "Private DNS zone of the database."
  type        = string
}

variable "key_vault_id" {
  description = "Key vault of the secrets."
  type        = string
}

variable "admin_ssh_public_key" {
  description = "Public key of the nodes' admin account."
  type        = string
}
