variable "fleet_file" {
  description = "The fleet: regions, release, core, drained regions."
  type        = string
  default     = "../../fleet.json"
}

variable "name" {
  description = "Which region of fleet.json this is."
  type        = string
}

variable "aws_region" {
  description = "AWS region of these resources."
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

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnets" {
  description = "Public subnets, one per availability zone."
  type = map(object({
    id   = string
    ipv6 = optional(string, "")
  }))
}

variable "ami_id" {
  description = "Image of the nodes."
  type        = string
}

variable "instance_type" {
  description = "Instance type of the nodes."
  type        = string
  default     = "c7g.large"
}

variable "certificate_arn" {
  description = "ACM certificate of the public names, where the load balancer ends TLS."
  type        = string
  default     = ""
}

variable "certificate_ref" {
  description = "Where a node finds the readers' certificate, where the edges end TLS; a reference."
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
