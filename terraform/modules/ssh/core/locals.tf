locals {
  first = sort(keys(var.hosts))[0]
  rest  = { for name, h in var.hosts : name => h if name != local.first }

  secret_dir  = "/etc/nearside/secrets"
  credentials = { for name in var.secret_names : name => "file://${local.secret_dir}/${name}" }
  host_secrets = var.secret_version == 0 ? {} : {
    for pair in setproduct(keys(var.hosts), var.secret_names) : join("/", pair) => { host = var.hosts[pair[0]], name = pair[1] }
  }
}
