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
  description = "Whether readers reach the region by https; its certificate is obtained outside the edge (DNS-01)."
  type        = bool
  default     = true
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

variable "vpc_id" {
  description = "The VPC the region lives in."
  type        = string
}

variable "subnets" {
  description = "Public subnets by a name of your own (one per availability zone): the id, and an IPv6 address of it for the load balancer, or empty."
  type = map(object({
    id   = string
    ipv6 = optional(string, "")
  }))

  validation {
    condition     = length(var.subnets) >= 1
    error_message = "subnets: expected at least one."
  }
  validation {
    condition     = length(distinct([for s in values(var.subnets) : s.ipv6 == ""])) <= 1
    error_message = "subnets: give an ipv6 address for all or for none."
  }
}

variable "ami_id" {
  description = "Image of the nodes: Debian 12 or later, or another with cloud-init, systemd >= 252, curl >= 7.75 and python3."
  type        = string
}

variable "instance_type" {
  description = "Instance type of the nodes."
  type        = string
  default     = "c7g.large"
}

variable "certificate_arn" {
  description = "ACM certificate of dns_name and the geo name (validated by DNS), for the load balancer's TLS listener. With tls this or certificate_ref is needed."
  type        = string
  default     = ""

  validation {
    condition     = var.certificate_arn == "" || can(regex("^arn:aws[a-z-]*:acm:", var.certificate_arn))
    error_message = "certificate_arn: expected an ACM certificate's ARN."
  }
  validation {
    condition     = !var.tls || (var.certificate_arn == "") != (var.certificate_ref == "")
    error_message = "certificate_arn: with tls either it (the load balancer ends TLS) or certificate_ref (the edges do) is needed."
  }
}

variable "certificate_ref" {
  description = "Where a node finds what readers see by https, where TLS ends at the edges: a secret of Secrets Manager with one PEM of a private key and its certificate chain, good for dns_name and the geo name; a reference, never the key. Renewed outside the edge (DNS-01); nodes look every six hours."
  type        = string
  default     = ""
}

variable "saturation_target" {
  description = "The autoscaler adds nodes above this mean saturation, and removes them well below it."
  type        = number
  default     = 0.55

  validation {
    condition     = var.saturation_target >= 0.2 && var.saturation_target <= 0.9
    error_message = "saturation_target: expected 0.2 to 0.9, got ${var.saturation_target}."
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
