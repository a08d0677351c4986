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

variable "aws_region" {
  description = "AWS region of these resources."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "private_subnet_ids" {
  description = "Subnets of the database and the nodes."
  type        = list(string)
}

variable "public_subnet_ids" {
  description = "Subnets of the load balancer."
  type        = list(string)
}

variable "ami_id" {
  description = "Image of the nodes."
  type        = string
}

variable "route53_zone_id" {
  description = "Zone in which to create dns_name; may be empty."
  type        = string
  default     = ""
}
