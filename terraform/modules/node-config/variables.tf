variable "role" {
  description = "Which binary this node runs: edge or core."
  type        = string

  validation {
    condition     = contains(["edge", "core"], var.role)
    error_message = "role: expected edge or core, got ${var.role}."
  }
}

variable "region" {
  description = "Name of the nearside region this node is in."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.region)) && length(var.region) <= 32
    error_message = "region: expected lower-case letters, digits and single hyphens, 32 at most, got ${var.region}."
  }
}

variable "node" {
  description = "Name of the node, for as long as its state directory lives; empty: REGION-INSTANCE_ID, found at boot."
  type        = string
  default     = ""

  validation {
    condition     = var.node == "" || can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.node))
    error_message = "node: expected lower-case letters, digits and single hyphens, got ${var.node}."
  }
}

variable "artifact" {
  description = "The release: a gzipped tar that holds the binary, and its sha256."
  type = object({
    url    = string
    sha256 = string
  })

  validation {
    condition     = can(regex("^(https|file)://[^\\s'\"$`\\\\]+$", var.artifact.url))
    error_message = "artifact: url must be https:// or file:// (a path on the node), without white space or quotes."
  }
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.artifact.sha256))
    error_message = "artifact: sha256 must be 64 lower-case hexadecimal digits."
  }
}

variable "credentials" {
  description = "Secrets by reference, never by value: the name under which the unit loads each, and where the node finds it (arn:aws:secretsmanager:…, https://….vault.azure.net/secrets/…, file:///… on the node)."
  type        = map(string)

  validation {
    condition     = alltrue([for n in keys(var.credentials) : can(regex("^[a-z][a-z0-9-]*$", n)) || var.role == "core" && contains(["ca.pem", "ca.key", "next.key", "core.pem", "core.key", "admin.pem", "admin.key"], n)])
    error_message = "credentials: names are lower-case letters, digits and hyphens; at a core also the files of its TLS directory (ca.pem, ca.key, next.key, core.pem, core.key, admin.pem, admin.key)."
  }
  validation {
    condition     = alltrue([for r in values(var.credentials) : can(regex("^(arn:aws[a-z-]*:secretsmanager:|https://[a-zA-Z0-9.-]+/secrets/|file:///)[^\\s'\"$`\\\\]+$", r))])
    error_message = "credentials: expected a reference (arn:aws:secretsmanager:…, https://…/secrets/…, file:///…) for ${join(", ", [for n, r in var.credentials : n if !can(regex("^(arn:aws[a-z-]*:secretsmanager:|https://[a-zA-Z0-9.-]+/secrets/|file:///)[^\\s'\"$`\\\\]+$", r))])}; the secret itself would end in user data and state."
  }
}

variable "environment" {
  description = "NEARSIDE_* settings that are not secret, on top of those this module sets; they win over it."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for k in keys(var.environment) : can(regex("^NEARSIDE_[A-Z0-9_]+$", k))])
    error_message = "environment: names start with NEARSIDE_ and are upper case."
  }
  validation {
    condition     = length([for k in keys(var.environment) : k if can(regex("(TOKEN|SECRET|PASSWORD|PRIVATE_KEY|DATABASE_URL|_KEY)$", k))]) == 0
    error_message = "environment: ${join(", ", [for k in keys(var.environment) : k if can(regex("(TOKEN|SECRET|PASSWORD|PRIVATE_KEY|DATABASE_URL|_KEY)$", k))])} would put a secret into user data; give it in credentials, by reference."
  }
  validation {
    condition     = length([for k, v in var.environment : k if can(regex("PRIVATE KEY-----|://[^/@\\s]*:[^/@\\s]+@", v))]) == 0
    error_message = "environment: the value of ${join(", ", [for k, v in var.environment : k if can(regex("PRIVATE KEY-----|://[^/@\\s]*:[^/@\\s]+@", v))])} carries a key or a password; give it in credentials, by reference."
  }
  validation {
    condition     = alltrue([for v in values(var.environment) : !can(regex("[\\n\\r\"\\\\]", v))])
    error_message = "environment: values have no line breaks, double quotes or backslashes."
  }
}

variable "core_url" {
  description = "Edge: where the core's sync port answers, as core's endpoint output says. Core: unused."
  type        = string
  default     = ""

  validation {
    condition     = var.role == "core" || can(regex("^https?://[^\\s/@]+$", var.core_url))
    error_message = "core_url: an edge needs https://host:port (or http:// inside a private network), without a path or a user."
  }
}

variable "core_ca" {
  description = "Edge: the authority (PEM) of the core, of nearside-core ca init: the core is checked with it, and signs a certificate for the node; empty: the system's store, and no certificate of its own. Public, so it may be in user data."
  type        = string
  default     = ""

  validation {
    condition     = var.core_ca == "" || (can(regex("-----BEGIN CERTIFICATE-----", var.core_ca)) && !can(regex("PRIVATE KEY", var.core_ca)))
    error_message = "core_ca: expected a PEM certificate and no private key."
  }
}

variable "public_url" {
  description = "Edge: the region's own public address, which beacons and clicks use; never the geo name."
  type        = string
  default     = ""

  validation {
    condition     = var.role == "core" || can(regex("^https?://[^\\s/@]+$", var.public_url))
    error_message = "public_url: an edge needs https://name (or http://name), without a path."
  }
}

variable "public_port" {
  description = "The port readers (edge) or people (core) reach. The next ones up are, edge: operations, gossip, peers; core: sync, operations."
  type        = number
  default     = 8080

  validation {
    condition     = var.public_port >= 1 && var.public_port <= 65000 && floor(var.public_port) == var.public_port
    error_message = "public_port: expected a whole number from 1 to 65000, got ${var.public_port}."
  }
}

variable "certificate_ref" {
  description = "Edge: where the node finds what its public port shows to readers, one PEM of a private key and its certificate chain, good for dns_name and the geo name; a reference, never the key. It is asked for again every six hours and taken up without a restart. Empty: the public port speaks plain HTTP alone."
  type        = string
  default     = ""

  validation {
    condition     = var.certificate_ref == "" || can(regex("^(arn:aws[a-z-]*:secretsmanager:|https://[a-zA-Z0-9.-]+/secrets/|file:///)[^\\s'\"$`\\\\]+$", var.certificate_ref))
    error_message = "certificate_ref: expected a reference (arn:aws:secretsmanager:…, https://…/secrets/…, file:///…), never the key itself."
  }
  validation {
    condition     = var.certificate_ref == "" || var.role == "edge"
    error_message = "certificate_ref: readers come to edges; a core has admin.pem and admin.key in its credentials."
  }
}

variable "tls_port" {
  description = "Edge with a certificate: the port on which readers reach it by https; the public port stays plain, for health checks. 0: the port after the peer port."
  type        = number
  default     = 0

  validation {
    condition     = var.tls_port >= 0 && var.tls_port <= 65535 && floor(var.tls_port) == var.tls_port && var.tls_port != var.public_port
    error_message = "tls_port: expected a whole number from 1 to 65535 that is not the public port, or 0, got ${var.tls_port}."
  }
}

variable "ops_address" {
  description = "Address the operations port listens on. Not public: loopback, or the private address that metrics are scraped from."
  type        = string
  default     = "127.0.0.1"

  validation {
    condition     = can(cidrhost("${var.ops_address}/32", 0)) && !contains(["0.0.0.0"], var.ops_address)
    error_message = "ops_address: expected one IPv4 address that is not 0.0.0.0, got ${var.ops_address}."
  }
}

variable "cloud" {
  description = "Which cloud's termination notice and metrics this node uses: aws, azure, or none."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["aws", "azure", "none"], var.cloud)
    error_message = "cloud: expected aws, azure or none, got ${var.cloud}."
  }
}

variable "cloud_settings" {
  description = "What the node-side scripts of that cloud need: aws TERMINATION_GROUP, TERMINATION_HOOK; azure SATURATION_RESOURCE, SATURATION_LOCATION."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for k, v in var.cloud_settings : can(regex("^(TERMINATION|SATURATION)_[A-Z_]+$", k)) && can(regex("^[A-Za-z0-9/._:-]+$", v))])
    error_message = "cloud_settings: names start with TERMINATION_ or SATURATION_; values are letters, digits and /._:- only."
  }
}

variable "drain_seconds" {
  description = "How long a drain may take before the node is fenced instead."
  type        = number
  default     = 300

  validation {
    condition     = var.drain_seconds >= 30 && var.drain_seconds <= 780
    error_message = "drain_seconds: expected 30 to 780 (the clouds' own limit is 15 minutes), got ${var.drain_seconds}."
  }
}
