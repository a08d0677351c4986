variable "core_artifact" {
  description = "The release of nearside-core."
  type        = object({ url = string, sha256 = string })
}

variable "edge_artifact" {
  description = "The release of nearside-edge."
  type        = object({ url = string, sha256 = string })
}

variable "zone" {
  description = "The DNS zone of all names."
  type        = string
}

variable "core_host" {
  description = "The core's machine."
  type = object({
    address          = string
    host_key         = string
    private_key_path = string
    ipv4             = string
  })
}

variable "ca" {
  description = "The certificate (PEM) that signed the core's."
  type        = string
}

variable "database_url" {
  description = "The core's database; ephemeral."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "join_token" {
  description = "What lets a node join; ephemeral."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "secret_version" {
  description = "Raise by one to lay the secrets anew."
  type        = number
  default     = 1
}

variable "edge_host" {
  description = "The edge's machine."
  type = object({
    address          = string
    host_key         = string
    private_key_path = string
    ipv4             = string
  })
}
