# What modules/node-config renders, and what it refuses: above all a secret in
# user data.

variables {
  role        = "edge"
  region      = "eu-west"
  artifact    = { url = "https://dl.example.net/1.tar.gz", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
  credentials = { join-token = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:join-AbCdEf" }
  core_url    = "https://core.example.net:8081"
  public_url  = "https://eu-west.ads.example.net"
}

run "an_edge" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    cloud          = "aws"
    cloud_settings = { TERMINATION_GROUP = "edges", TERMINATION_HOOK = "drain" }
    environment    = { NEARSIDE_MAX_OFFLINE = "6h" }
    core_ca        = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    drain_seconds  = 400
  }
  assert {
    condition     = startswith(output.user_data, "#cloud-config\n") && yamldecode(output.user_data).runcmd == [["/usr/local/lib/nearside/nearside-bootstrap"]]
    error_message = "user data is a cloud-config that runs the bootstrap"
  }
  assert {
    condition = alltrue([for line in [
      "NEARSIDE_REGION=\"eu-west\"", "NEARSIDE_CORE=\"https://core.example.net:8081\"", "NEARSIDE_PUBLIC_URL=\"https://eu-west.ads.example.net\"",
      "NEARSIDE_LISTEN=\":8080\"", "NEARSIDE_OPS_LISTEN=\"127.0.0.1:8081\"", "NEARSIDE_TLS_DIR=\"/etc/nearside/tls\"", "NEARSIDE_MAX_OFFLINE=\"6h\"",
    ] : strcontains(output.files["/etc/nearside/edge.env"].content, "${line}\n")])
    error_message = "environment: ${output.files["/etc/nearside/edge.env"].content}"
  }
  assert {
    condition = alltrue([for line in [
      "ExecStart=/opt/nearside/edge/current/nearside-edge", "LoadCredential=join-token:/etc/nearside/credentials/join-token",
      "Environment=NEARSIDE_JOIN_TOKEN_FILE=%d/join-token", "TimeoutStopSec=400", "DynamicUser=yes", "ProtectSystem=strict", "CapabilityBoundingSet=",
    ] : strcontains(output.files["/etc/systemd/system/nearside-edge.service"].content, "${line}\n")])
    error_message = "unit: ${output.files["/etc/systemd/system/nearside-edge.service"].content}"
  }
  assert {
    condition     = strcontains(output.files["/etc/nearside/node.conf"].content, "TIMERS='nearside-saturation.timer nearside-termination.service'\n") && strcontains(output.files["/etc/nearside/cloud.env"].content, "TERMINATION_GROUP=edges\n")
    error_message = "in a cloud, the node listens for its end and reports its saturation"
  }
}

run "a_node_without_a_cloud" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    node        = "eu-west-1"
    public_port = 80
    credentials = { join-token = "file:///root/join-token" }
  }
  assert {
    condition     = !contains(keys(output.files), "/usr/local/lib/nearside/nearside-termination") && strcontains(output.files["/etc/nearside/node.conf"].content, "TIMERS=''\n")
    error_message = "no cloud, no notice of termination"
  }
  assert {
    condition     = strcontains(output.files["/etc/systemd/system/nearside-edge.service"].content, "AmbientCapabilities=CAP_NET_BIND_SERVICE\n") && output.ports.ops == 81
    error_message = "a low port needs the one capability for it, and the others follow"
  }
}

run "an_edge_with_a_certificate" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    certificate_ref = "https://v.vault.azure.net/secrets/readers"
  }
  assert {
    condition     = strcontains(output.files["/etc/nearside/edge.env"].content, "NEARSIDE_LISTEN=\":8084,http://:8080\"\n") && strcontains(output.files["/etc/nearside/edge.env"].content, "NEARSIDE_TLS_DIR=\"/etc/nearside/tls\"\n") && output.ports.tls == 8084
    error_message = "https on the port after the peers', plain HTTP where health checks ask"
  }
  assert {
    condition     = strcontains(output.files["/etc/systemd/system/nearside-edge.service"].content, "SupplementaryGroups=nearside-tls\n") && !strcontains(output.files["/etc/systemd/system/nearside-edge.service"].content, "vault")
    error_message = "the unit may read the file, and knows nothing of where it comes from"
  }
  assert {
    condition     = strcontains(output.files["/etc/nearside/node.conf"].content, "CERTIFICATE='https://v.vault.azure.net/secrets/readers'\nTIMERS='nearside-certificate.timer'\n") && contains(keys(output.files), "/etc/systemd/system/nearside-certificate.timer")
    error_message = "the node knows the reference, and looks for renewals"
  }
}

run "an_edge_with_a_certificate_on_a_plain_host" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    certificate_ref = "file:///root/readers.pem"
    tls_port        = 443
  }
  assert {
    condition     = strcontains(output.files["/etc/systemd/system/nearside-edge.service"].content, "AmbientCapabilities=CAP_NET_BIND_SERVICE\n") && strcontains(output.files["/etc/nearside/edge.env"].content, "NEARSIDE_LISTEN=\":443,http://:8080\"\n")
    error_message = "a low port for https needs the capability, too"
  }
}

run "refuses_a_certificate_by_value" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    certificate_ref = "-----BEGIN PRIVATE KEY-----"
  }
  expect_failures = [var.certificate_ref]
}

run "refuses_a_readers_certificate_for_a_core" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    role            = "core"
    credentials     = { settings = "file:///root/settings" }
    certificate_ref = "file:///root/readers.pem"
  }
  expect_failures = [var.certificate_ref]
}

run "refuses_https_on_the_plain_port" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    certificate_ref = "file:///root/readers.pem"
    tls_port        = 8080
  }
  expect_failures = [var.tls_port]
}

run "a_core" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    role        = "core"
    region      = "home"
    credentials = { settings = "file:///root/settings" }
    core_url    = ""
    public_url  = ""
  }
  assert {
    condition = alltrue([for line in [
      "ExecStartPre=/opt/nearside/core/current/nearside-core migrate", "ExecStart=/opt/nearside/core/current/nearside-core serve",
      "Environment=NEARSIDE_CONFIG=%d/settings",
    ] : strcontains(output.files["/etc/systemd/system/nearside-core.service"].content, "${line}\n")])
    error_message = "unit: ${output.files["/etc/systemd/system/nearside-core.service"].content}"
  }
  assert {
    condition     = !contains(keys(output.files), "/usr/local/lib/nearside/nearside-drain") && output.ports.sync == 8081
    error_message = "a core has no holder to drain; its sync port is the admin port + 1"
  }
}

run "a_core_with_an_authority" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    role        = "core"
    region      = "home"
    credentials = { settings = "file:///root/settings", "ca.pem" = "file:///root/ca.pem", "ca.key" = "file:///root/ca.key" }
    core_url    = ""
    public_url  = ""
  }
  assert {
    condition = alltrue([for line in [
      "LoadCredential=ca.key:/etc/nearside/credentials/ca.key", "LoadCredential=ca.pem:/etc/nearside/credentials/ca.pem", "Environment=NEARSIDE_TLS_DIR=%d",
    ] : strcontains(output.files["/etc/systemd/system/nearside-core.service"].content, "${line}\n")])
    error_message = "unit: ${output.files["/etc/systemd/system/nearside-core.service"].content}"
  }
  assert {
    condition     = !strcontains(output.files["/etc/systemd/system/nearside-core.service"].content, "CA.PEM") && !strcontains(output.files["/etc/systemd/system/nearside-core.service"].content, "=%d/ca.")
    error_message = "the files of a TLS directory have no variable each"
  }
}

run "refuses_an_authority_at_an_edge" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    credentials = { join-token = "file:///root/join-token", "ca.key" = "file:///root/ca.key" }
  }
  expect_failures = [var.credentials]
}

run "refuses_another_role" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    role = "admin"
  }
  expect_failures = [var.role]
}

run "refuses_a_bad_region" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    region = "EU"
  }
  expect_failures = [var.region]
}

run "refuses_a_bad_node" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    node = "eu_west_1"
  }
  expect_failures = [var.node]
}

run "refuses_an_artifact_by_http" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    artifact = { url = "http://dl.example.net/1.tar.gz", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
  }
  expect_failures = [var.artifact]
}

run "refuses_a_quote_in_the_artifact" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    artifact = { url = "https://dl.example.net/1'; rm -rf x", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
  }
  expect_failures = [var.artifact]
}

run "refuses_an_artifact_without_a_sum" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    artifact = { url = "https://dl.example.net/1.tar.gz", sha256 = "" }
  }
  expect_failures = [var.artifact]
}

run "refuses_a_secret_as_a_credential" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    credentials = { join-token = "nsj_9f8e7d6c5b4a" }
  }
  expect_failures = [var.credentials]
}

run "refuses_a_token_in_the_environment" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    environment = { NEARSIDE_JOIN_TOKEN = "x" }
  }
  expect_failures = [var.environment]
}

run "refuses_a_database_url_in_the_environment" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    environment = { NEARSIDE_DATABASE_URL = "postgres://db/x" }
  }
  expect_failures = [var.environment]
}

run "refuses_a_password_in_a_url" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    environment = { NEARSIDE_UPSTREAM = "postgres://user:secret@db/x" }
  }
  expect_failures = [var.environment]
}

run "refuses_a_private_key_in_the_environment" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    environment = { NEARSIDE_PEM = "-----BEGIN EC PRIVATE KEY-----" }
  }
  expect_failures = [var.environment]
}

run "refuses_a_foreign_variable" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    environment = { PATH = "/tmp" }
  }
  expect_failures = [var.environment]
}

run "refuses_a_line_break_in_the_environment" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    environment = { NEARSIDE_X = "a\nNEARSIDE_Y=b" }
  }
  expect_failures = [var.environment]
}

run "refuses_an_edge_without_a_core" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    core_url = ""
  }
  expect_failures = [var.core_url]
}

run "refuses_a_core_url_with_a_password" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    core_url = "https://user:secret@core.example.net"
  }
  expect_failures = [var.core_url]
}

run "refuses_a_private_key_as_ca" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    core_ca = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"
  }
  expect_failures = [var.core_ca]
}

run "refuses_a_public_url_with_a_path" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    public_url = "https://eu-west.ads.example.net/x"
  }
  expect_failures = [var.public_url]
}

run "refuses_port_0" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    public_port = 0
  }
  expect_failures = [var.public_port]
}

run "refuses_operations_for_everybody" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    ops_address = "0.0.0.0"
  }
  expect_failures = [var.ops_address]
}

run "refuses_another_cloud" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    cloud = "gcp"
  }
  expect_failures = [var.cloud]
}

run "refuses_a_shell_word_in_cloud_settings" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    cloud_settings = { TERMINATION_GROUP = "$(id)" }
  }
  expect_failures = [var.cloud_settings]
}

run "refuses_a_drain_longer_than_the_clouds_allow" {
  command = plan
  module {
    source = "../modules/node-config"
  }
  variables {
    drain_seconds = 1200
  }
  expect_failures = [var.drain_seconds]
}
