locals {
  # Hosts are changed one after another: the first alone, the others after it.
  first = sort(keys(var.hosts))[0]
  rest  = { for name, h in var.hosts : name => h if name != local.first }

  secret_path = trimprefix(var.secret_ref, "file://")
  public_url  = "${var.tls ? "https" : "http"}://${var.dns_name}"
}
