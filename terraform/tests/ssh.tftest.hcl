# The modules for machines reached by SSH, and gdnsd: planned only, since an apply
# needs the machines. ssh.sh applies them for real.

variables {
  name          = "eu-west"
  lat           = 53.35
  lon           = -6.26
  wave          = 0
  capacity      = { min = 1, max = 3 }
  artifact      = { url = "file:///srv/edge.tar.gz", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
  core_endpoint = "https://core.example.net:8081"
  secret_ref    = "file:///etc/nearside/secrets/join-token"
  dns_name      = "eu-west.ads.example.net"
  hosts = {
    eu-west-1 = { address = "192.0.2.1", host_key = "ssh-ed25519 AAAA", private_key_path = "/dev/null", ipv4 = "192.0.2.1", ipv6 = "2001:db8::1" }
    eu-west-2 = { address = "192.0.2.2", host_key = "ssh-ed25519 AAAA", private_key_path = "/dev/null", ipv4 = "192.0.2.2" }
  }
  zone       = "ads.example.net"
  hostmaster = "hostmaster.example.net"
  servers    = { ns1 = { address = "192.0.2.3", host_key = "ssh-ed25519 AAAA", private_key_path = "/dev/null", ipv4 = "192.0.2.3" } }
  regions = {
    eu-west = { name = "eu-west", lat = 53.35, lon = -6.26, ipv4 = ["192.0.2.1"], ipv6 = [], dns_name = "eu-west.ads.example.net", health_url = "http://eu-west.ads.example.net:8080/readyz" }
    us-east = { name = "us-east", lat = 39.04, lon = -77.49, ipv4 = ["192.0.2.9"], ipv6 = [], dns_name = "us-east.ads.example.net", health_url = "http://us-east.ads.example.net/readyz" }
  }
}

run "an_edge_region" {
  command = plan
  module {
    source = "../modules/ssh/edge-region"
  }
  assert {
    condition     = jsonencode([output.name, output.ipv4, output.ipv6, output.health_url]) == jsonencode(["eu-west", ["192.0.2.1", "192.0.2.2"], ["2001:db8::1"], "http://eu-west.ads.example.net/readyz"])
    error_message = "the contract's outputs"
  }
  assert {
    condition     = keys(terraform_data.rest) == ["eu-west-2"] && length(terraform_data.secret) == 0
    error_message = "the first host alone, then the rest; no secret is laid unless token_version says so"
  }
}

run "an_edge_region_with_a_certificate" {
  command = plan
  module {
    source = "../modules/ssh/edge-region"
  }
  variables {
    tls                 = true
    certificate_ref     = "file:///etc/nearside/secrets/public.pem"
    certificate         = "not in the plan"
    certificate_version = 1
  }
  assert {
    condition     = length(terraform_data.certificate) == 2 && output.health_url == "http://eu-west.ads.example.net/readyz"
    error_message = "it is laid on every host, and health checks stay plain"
  }
}

run "refuses_a_certificate_with_nowhere_to_lay_it" {
  command = plan
  module {
    source = "../modules/ssh/edge-region"
  }
  variables {
    tls                 = true
    certificate_version = 1
  }
  expect_failures = [var.certificate_version]
}

run "refuses_a_certificate_in_a_vault" {
  command = plan
  module {
    source = "../modules/ssh/edge-region"
  }
  variables {
    tls             = true
    certificate_ref = "https://v.vault.azure.net/secrets/readers"
  }
  expect_failures = [var.certificate_ref]
}

run "another_port_is_in_the_health_url" {
  command = plan
  module {
    source = "../modules/ssh/edge-region"
  }
  variables {
    public_port = 8080
  }
  assert {
    condition     = output.health_url == "http://eu-west.ads.example.net:8080/readyz"
    error_message = output.health_url
  }
}

run "refuses_fewer_hosts_than_capacity" {
  command = plan
  module {
    source = "../modules/ssh/edge-region"
  }
  variables {
    capacity = { min = 3, max = 4 }
  }
  expect_failures = [terraform_data.host]
}

run "refuses_a_cloud_secret_on_plain_hosts" {
  command = plan
  module {
    source = "../modules/ssh/edge-region"
  }
  variables {
    secret_ref = "https://example.vault.azure.net/secrets/join"
  }
  expect_failures = [terraform_data.host]
}

run "refuses_a_host_without_its_key" {
  command = plan
  module {
    source = "../modules/ssh/edge-region"
  }
  variables {
    hosts = { eu-west-1 = { address = "192.0.2.1", host_key = "", private_key_path = "/dev/null", ipv4 = "192.0.2.1" } }
  }
  expect_failures = [var.hosts]
}

run "refuses_a_host_name_as_address" {
  command = plan
  module {
    source = "../modules/ssh/edge-region"
  }
  variables {
    hosts = { eu-west-1 = { address = "192.0.2.1", host_key = "ssh-ed25519 AAAA", private_key_path = "/dev/null", ipv4 = "edge.example.net" } }
  }
  expect_failures = [var.hosts]
}

run "a_core" {
  command = plan
  module {
    source = "../modules/ssh/core"
  }
  variables {
    name           = "core"
    dns_name       = "core.example.net"
    ca             = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    secrets        = { settings = "database-url: postgres://nearside:secret@db/nearside" }
    secret_version = 1
  }
  assert {
    condition     = output.endpoint == "https://core.example.net:8081" && output.db_ref == "file:///etc/nearside/secrets/settings"
    error_message = "the contract's outputs"
  }
}

run "refuses_tls_without_a_ca" {
  command = plan
  module {
    source = "../modules/ssh/core"
  }
  variables {
    name     = "core"
    dns_name = "core.example.net"
  }
  expect_failures = [var.ca]
}

run "gdnsd" {
  command = plan
  module {
    source = "../modules/geo-dns-gdnsd"
  }
  variables {
    drained = ["us-east"]
  }
  assert {
    condition     = strcontains(output.files["config"], "eu-west => [ 53.35, -6.26 ]") && strcontains(output.files["config"], "port => 8080") && strcontains(output.files["admin_state"], "geoip/world/us-east => DOWN")
    error_message = output.files["config"]
  }
}

run "refuses_a_slow_health_check" {
  command = plan
  module {
    source = "../modules/geo-dns-gdnsd"
  }
  variables {
    health_interval = 600
  }
  expect_failures = [var.health_interval]
}

run "refuses_a_mail_address_in_the_zone" {
  command = plan
  module {
    source = "../modules/geo-dns-gdnsd"
  }
  variables {
    hostmaster = "hostmaster@example.net"
  }
  expect_failures = [var.hostmaster]
}

run "refuses_a_relative_database" {
  command = plan
  module {
    source = "../modules/geo-dns-gdnsd"
  }
  variables {
    mmdb_path = "city.mmdb"
  }
  expect_failures = [var.mmdb_path]
}
