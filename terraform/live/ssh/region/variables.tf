variable "fleet_file" {
  description = "The fleet: regions, release, core, drained regions."
  type        = string
  default     = "../../fleet.json"
}

variable "name" {
  description = "Which region of fleet.json this is."
  type        = string
}

variable "dns_name" {
  description = "The region's own public name."
  type        = string
}

variable "secret_ref" {
  description = "Path of the join token on every host."
  type        = string
  default     = "file:///etc/nearside/secrets/join-token"
}

variable "hosts" {
  description = "The machines, by node name."
  type = map(object({
    address          = string
    port             = optional(number, 22)
    user             = optional(string, "root")
    host_key         = string
    private_key_path = string
    ipv4             = string
    ipv6             = optional(string, "")
  }))
}

variable "join_token" {
  description = "The join token, to be laid on the hosts; ephemeral."
  type        = string
  default     = ""
  sensitive   = true
  ephemeral   = true
}

variable "token_version" {
  description = "Raise by one to lay join_token anew; 0: never."
  type        = number
  default     = 0
}

variable "public_port" {
  description = "Port of the edge on every host."
  type        = number
  default     = 80
}

variable "tls" {
  description = "Whether readers come by https."
  type        = bool
  default     = false
}

variable "certificate_ref" {
  description = "Path of the readers' certificate on every host: file:///…; empty: a terminator of your own, or plain HTTP."
  type        = string
  default     = ""
}

variable "certificate" {
  description = "The readers' certificate, a PEM of key and chain, to be laid on the hosts; ephemeral."
  type        = string
  default     = ""
  sensitive   = true
  ephemeral   = true
}

variable "certificate_version" {
  description = "Raise by one to lay certificate anew; 0: never."
  type        = number
  default     = 0
}

variable "gossip_key_ref" {
  description = "Path of the region's gossip keys on every host: file:///…; empty: every node is alone."
  type        = string
  default     = ""
}

variable "drain_seconds" {
  description = "How long a node may take to drain."
  type        = number
  default     = 300
}

variable "environment" {
  description = "Further NEARSIDE_* settings that are not secret."
  type        = map(string)
  default     = {}
}
