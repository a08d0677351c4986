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
  description = "The certificate (PEM) that signed the core's; empty without TLS."
  type        = string
  default     = ""
}

variable "tls" {
  description = "Whether the sync port speaks TLS."
  type        = bool
  default     = true
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

variable "secrets" {
  description = "The core's secrets by name, to be laid on the hosts; ephemeral."
  type        = map(string)
  default     = {}
  sensitive   = true
  ephemeral   = true
}

variable "secret_names" {
  description = "Names of the core's secrets."
  type        = set(string)
  default     = ["settings"]
}

variable "secret_version" {
  description = "Raise by one to lay the secrets anew; 0: never."
  type        = number
  default     = 0
}

variable "environment" {
  description = "Further NEARSIDE_* settings that are not secret."
  type        = map(string)
  default     = {}
}
