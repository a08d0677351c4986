# The AWS modules against the provider's schema, with the cloud mocked: what they
# ask for, and what they refuse.

mock_provider "aws" {
  mock_resource "aws_eip" {
    defaults = {
      allocation_id = "eipalloc-0123456789abcdef0"
      public_ip     = "192.0.2.10"
    }
  }
  mock_resource "aws_lb" {
    defaults = {
      arn      = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/nearside/50dc6c495c0c9188"
      dns_name = "nearside.elb.eu-west-1.amazonaws.com"
      zone_id  = "Z2IFOLAFXWLO4F"
    }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = {
      arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:nearside-core-settings-AbCdEf"
    }
  }
  mock_resource "aws_db_instance" {
    defaults = {
      endpoint = "nearside-core.abc.eu-west-1.rds.amazonaws.com:5432"
    }
  }
  mock_data "aws_iam_policy_document" {
    defaults = {
      json = "{}"
    }
  }
}

variables {
  name            = "eu-west"
  lat             = 53.35
  lon             = -6.26
  wave            = 0
  capacity        = { min = 4, max = 12 }
  artifact        = { url = "https://dl.example.net/1.tar.gz", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
  core_endpoint   = "https://core.example.net:8081"
  secret_ref      = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:join-AbCdEf"
  dns_name        = "eu-west.ads.example.net"
  vpc_id          = "vpc-1"
  subnets         = { a = { id = "subnet-a" }, b = { id = "subnet-b" } }
  ami_id          = "ami-1"
  certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/x"
  zone            = "ads.example.net"
  zone_id         = "Z1"
  regions = {
    eu-west  = { name = "eu-west", lat = 53.35, lon = -6.26, ipv4 = ["192.0.2.10"], ipv6 = ["2001:db8::10"], dns_name = "eu-west.ads.example.net", health_url = "http://eu-west.ads.example.net/readyz" }
    us-west  = { name = "us-west", lat = 37.77, lon = -122.42, ipv4 = ["192.0.2.20", "192.0.2.21"], ipv6 = [], dns_name = "us-west.ads.example.net", health_url = "http://us-west.ads.example.net:8080/readyz" }
    auckland = { name = "auckland", lat = -36.85, lon = 174.76, ipv4 = ["192.0.2.30"], ipv6 = [], dns_name = "auckland.ads.example.net", health_url = "http://auckland.ads.example.net/readyz" }
  }
}

run "an_edge_region" {
  module {
    source = "../modules/aws/edge-region"
  }
  assert {
    condition     = output.name == "eu-west" && output.lat == 53.35 && length(output.ipv4) == 2 && length(output.ipv6) == 0 && output.dns_name == "eu-west.ads.example.net" && output.health_url == "http://eu-west.ads.example.net/readyz"
    error_message = "the contract's outputs: ${jsonencode([output.name, output.ipv4, output.ipv6, output.dns_name, output.health_url])}"
  }
  assert {
    condition     = aws_autoscaling_group.edge.min_size == 4 && aws_autoscaling_group.edge.max_size == 12
    error_message = "capacity"
  }
  assert {
    condition     = one(aws_autoscaling_group.edge.initial_lifecycle_hook).lifecycle_transition == "autoscaling:EC2_INSTANCE_TERMINATING" && one(aws_autoscaling_group.edge.initial_lifecycle_hook).heartbeat_timeout > var.drain_seconds
    error_message = "the group waits for a drain, longer than the drain may take"
  }
  assert {
    condition     = aws_autoscaling_group.edge.instance_refresh[0].preferences[0].checkpoint_percentages == tolist([25, 100]) && aws_autoscaling_group.edge.instance_refresh[0].preferences[0].auto_rollback
    error_message = "a new release goes to one node of four first, and back if it does not become healthy"
  }
  assert {
    condition     = aws_autoscaling_policy.saturation.target_tracking_configuration[0].customized_metric_specification[0].metric_name == "nearside_edge_saturation" && one(aws_autoscaling_policy.saturation.target_tracking_configuration[0].customized_metric_specification[0].metric_dimension).value == "eu-west"
    error_message = "scaled by the edge's own saturation in this region"
  }
  assert {
    condition     = aws_launch_template.node.metadata_options[0].http_tokens == "required" && aws_launch_template.node.block_device_mappings[0].ebs[0].encrypted == "true"
    error_message = "metadata needs a session, disks are encrypted"
  }
  assert {
    condition     = aws_lb_target_group.edge.health_check[0].path == "/readyz" && aws_lb_target_group.edge.preserve_client_ip == "true"
    error_message = "the load balancer asks /readyz and keeps the reader's address"
  }
  assert {
    condition     = toset(keys(aws_lb_listener.edge)) == toset(["http", "https"]) && aws_lb_listener.edge["https"].certificate_arn == var.certificate_arn
    error_message = "port 80 for health checks, 443 for readers"
  }
}

run "an_edge_region_with_ipv6_and_without_tls" {
  module {
    source = "../modules/aws/edge-region"
  }
  variables {
    subnets         = { a = { id = "subnet-a", ipv6 = "2001:db8::10" } }
    tls             = false
    certificate_arn = ""
    capacity        = { min = 1, max = 1 }
  }
  assert {
    condition     = aws_lb.edge.ip_address_type == "dualstack" && output.ipv6 == tolist(["2001:db8::10"]) && keys(aws_lb_listener.edge) == ["http"]
    error_message = "dual stack, one listener"
  }
  assert {
    condition     = aws_autoscaling_group.edge.instance_refresh[0].preferences[0].checkpoint_percentages == tolist([100])
    error_message = "one node is one step"
  }
}

run "refuses_a_region_name" {
  command = plan
  module {
    source = "../modules/aws/edge-region"
  }
  variables {
    dns_name = "EU.ads.example.net"
  }
  expect_failures = [var.dns_name]
}

run "an_edge_region_whose_edges_end_tls" {
  module {
    source = "../modules/aws/edge-region"
  }
  variables {
    certificate_arn = ""
    certificate_ref = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:readers-AbCdEf"
  }
  assert {
    condition     = aws_lb_listener.edge["https"].protocol == "TCP" && aws_lb_listener.edge["https"].certificate_arn == null && aws_lb_target_group.tls["https"].port == 8084 && aws_lb_target_group.tls["https"].health_check[0].port == "8080"
    error_message = "TLS is passed through to the edges, whose plain port says whether they are well"
  }
  assert {
    condition     = contains(data.aws_iam_policy_document.node.statement[0].resources, var.certificate_ref) && length(aws_autoscaling_group.edge.target_group_arns) == 2
    error_message = "a node may read the secret, and is in both target groups"
  }
}

run "refuses_two_ends_of_tls" {
  command = plan
  module {
    source = "../modules/aws/edge-region"
  }
  variables {
    certificate_ref = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:readers-AbCdEf"
  }
  expect_failures = [var.certificate_arn]
}

run "refuses_tls_without_a_certificate" {
  command = plan
  module {
    source = "../modules/aws/edge-region"
  }
  variables {
    certificate_arn = ""
  }
  expect_failures = [var.certificate_arn]
}

run "refuses_half_dual_stack" {
  command = plan
  module {
    source = "../modules/aws/edge-region"
  }
  variables {
    subnets = { a = { id = "subnet-a", ipv6 = "2001:db8::10" }, b = { id = "subnet-b" } }
  }
  expect_failures = [var.subnets]
}

run "refuses_a_target_of_one" {
  command = plan
  module {
    source = "../modules/aws/edge-region"
  }
  variables {
    saturation_target = 1
  }
  expect_failures = [var.saturation_target]
}

run "latency_records_with_the_nearest_aws_region" {
  module {
    source = "../modules/aws/geo-dns"
  }
  variables {
    ttl = 20
  }
  assert {
    condition     = jsonencode(output.nearest) == jsonencode({ auckland = "ap-southeast-2", eu-west = "eu-west-1", us-west = "us-west-1" })
    error_message = "nearest: ${jsonencode(output.nearest)}"
  }
  assert {
    condition     = toset(keys(aws_route53_record.geo)) == toset(["auckland-A", "eu-west-A", "eu-west-AAAA", "us-west-A"])
    error_message = "an A record for each region, AAAA where it has IPv6: ${jsonencode(keys(aws_route53_record.geo))}"
  }
  assert {
    condition     = alltrue([for r in values(aws_route53_record.geo) : r.name == "server.ads.example.net" && r.alias[0].evaluate_target_health])
    error_message = "the geo name is an alias that follows the health"
  }
  assert {
    condition     = aws_route53_record.region["us-west-A"].records == toset(["192.0.2.20", "192.0.2.21"]) && aws_route53_health_check.region["us-west"].port == 8080 && aws_route53_health_check.region["us-west"].resource_path == "/readyz"
    error_message = "a region's own name and its health check"
  }
  assert {
    condition     = alltrue([for r in values(aws_route53_record.region) : r.ttl == 20])
    error_message = "an alias is answered with the ttl of the record it stands for, so that has to be the one asked for"
  }
}

run "a_drained_region_keeps_its_own_name" {
  module {
    source = "../modules/aws/geo-dns"
  }
  variables {
    drained = ["eu-west"]
  }
  assert {
    condition     = toset(keys(aws_route53_record.geo)) == toset(["auckland-A", "us-west-A"]) && contains(keys(aws_route53_record.region), "eu-west-A")
    error_message = "no new readers, but beacons still come home"
  }
}

run "geoproximity_with_the_coordinates" {
  module {
    source = "../modules/aws/geo-dns"
  }
  variables {
    policy = "geoproximity"
  }
  assert {
    condition     = one(aws_route53_record.geo["auckland-A"].geoproximity_routing_policy[0].coordinates).latitude == "-36.85" && length(aws_route53_record.geo["auckland-A"].latency_routing_policy) == 0
    error_message = "coordinates"
  }
}

run "refuses_two_regions_beside_one_aws_region" {
  command = plan
  module {
    source = "../modules/aws/geo-dns"
  }
  variables {
    regions = {
      dublin  = { name = "dublin", lat = 53.35, lon = -6.26, ipv4 = ["192.0.2.1"], ipv6 = [], dns_name = "dublin.ads.example.net", health_url = "http://dublin.ads.example.net/readyz" }
      belfast = { name = "belfast", lat = 54.60, lon = -5.93, ipv4 = ["192.0.2.2"], ipv6 = [], dns_name = "belfast.ads.example.net", health_url = "http://belfast.ads.example.net/readyz" }
    }
  }
  expect_failures = [aws_route53_record.geo]
}

run "refuses_a_region_outside_the_zone" {
  command = plan
  module {
    source = "../modules/aws/geo-dns"
  }
  variables {
    zone = "other.example.net"
  }
  expect_failures = [var.regions]
}

run "refuses_to_drain_all" {
  command = plan
  module {
    source = "../modules/aws/geo-dns"
  }
  variables {
    drained = ["eu-west", "us-west", "auckland"]
  }
  expect_failures = [var.drained]
}

run "refuses_to_drain_an_unknown_region" {
  command = plan
  module {
    source = "../modules/aws/geo-dns"
  }
  variables {
    drained = ["mars"]
  }
  expect_failures = [var.drained]
}

run "a_core" {
  module {
    source = "../modules/aws/core"
  }
  variables {
    name               = "core"
    dns_name           = "core.example.net"
    ca                 = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    private_subnet_ids = ["subnet-c", "subnet-d"]
    public_subnet_ids  = ["subnet-a", "subnet-b"]
    database_password  = "correct-horse-battery-staple"
    admin_networks     = ["10.0.0.0/8"]
  }
  assert {
    condition     = output.endpoint == "https://core.example.net:8081" && startswith(output.db_ref, "arn:aws:secretsmanager:") && strcontains(output.ca, "BEGIN CERTIFICATE")
    error_message = "the contract's outputs"
  }
  assert {
    condition     = aws_db_instance.core.multi_az && aws_db_instance.core.storage_encrypted && aws_db_instance.core.deletion_protection && !aws_db_instance.core.publicly_accessible && aws_db_instance.core.backup_retention_period >= 7
    error_message = "two zones, encrypted, protected, private, backed up"
  }
  assert {
    condition     = aws_db_instance.core.password == null && aws_secretsmanager_secret_version.database.secret_string == null
    error_message = "the password is written only: nothing of it in the state"
  }
  assert {
    condition     = toset(keys(aws_vpc_security_group_ingress_rule.lb)) == toset(["sync-0.0.0.0/0", "admin-10.0.0.0/8"])
    error_message = "the admin API is open to the named networks only"
  }
}

run "refuses_an_admin_api_for_everybody" {
  command = plan
  module {
    source = "../modules/aws/core"
  }
  variables {
    name               = "core"
    dns_name           = "core.example.net"
    ca                 = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    private_subnet_ids = ["subnet-c", "subnet-d"]
    public_subnet_ids  = ["subnet-a"]
    database_password  = "correct-horse-battery-staple"
    admin_networks     = ["0.0.0.0/0"]
  }
  expect_failures = [var.admin_networks]
}

run "refuses_a_short_password" {
  command = plan
  module {
    source = "../modules/aws/core"
  }
  variables {
    name               = "core"
    dns_name           = "core.example.net"
    ca                 = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    private_subnet_ids = ["subnet-c", "subnet-d"]
    public_subnet_ids  = ["subnet-a"]
    database_password  = "short"
  }
  expect_failures = [var.database_password]
}
