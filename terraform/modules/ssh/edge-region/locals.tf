locals {
  # Hosts are changed one after another: the first alone, the others after it.
  first = sort(keys(var.hosts))[0]
  rest  = { for name, h in var.hosts : name => h if name != local.first }

  secret_path      = trimprefix(var.secret_ref, "file://")
  certificate_path = trimprefix(var.certificate_ref, "file://")
  # How the nodes of the region find each other.
  seeds = {
    for name in keys(var.hosts) : name => [
      for other, h in var.hosts : "${h.ipv4}:${var.public_port + 2}" if other != name && var.gossip_key_ref != ""
    ]
  }
  public_url = coalesce(var.public_url, "${var.tls ? "https" : "http"}://${var.dns_name}${var.tls && var.certificate_ref != "" && var.tls_port != 443 ? ":${var.tls_port}" : ""}")
}
