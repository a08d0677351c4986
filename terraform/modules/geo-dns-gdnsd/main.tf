module "contract" {
  source  = "../contract"
  regions = { for name, r in var.regions : name => { lat = r.lat, lon = r.lon } }
}

# One name server after the other would be safer than all at once; gdnsd checks the
# configuration on each before it takes it, and a refused one leaves it answering.
resource "terraform_data" "server" {
  for_each         = var.servers
  triggers_replace = [sha256(local.deploy_script), each.value.address]

  connection {
    type        = "ssh"
    host        = each.value.address
    port        = each.value.port
    user        = each.value.user
    host_key    = each.value.host_key
    private_key = file(each.value.private_key_path)
    timeout     = "1m"
  }

  provisioner "remote-exec" {
    inline = ["install -d /var/lib/nearside-geo", local.deploy_script]
  }
}
