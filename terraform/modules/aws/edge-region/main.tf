module "contract" {
  source  = "../../contract"
  regions = { (var.name) = { lat = var.lat, lon = var.lon, wave = var.wave, capacity = var.capacity } }
  release = { current = var.artifact }
}

module "node" {
  source          = "../../node-config"
  role            = "edge"
  region          = var.name
  artifact        = module.contract.regions[var.name].artifact
  credentials     = merge({ join-token = var.secret_ref }, var.gossip_key_ref == "" ? {} : { gossip-key = var.gossip_key_ref })
  core_url        = var.core_endpoint
  core_ca         = var.core_ca
  certificate_ref = var.certificate_ref
  public_url      = coalesce(var.public_url, "${var.tls ? "https" : "http"}://${var.dns_name}")
  environment     = var.environment
  cloud           = "aws"
  cloud_settings  = { TERMINATION_GROUP = local.name, TERMINATION_HOOK = local.hook }
  drain_seconds   = var.drain_seconds
}

# --- the load balancer: addresses that stay, the reader's address kept

resource "aws_eip" "lb" {
  for_each = var.subnets
  domain   = "vpc"
  tags     = local.tags
}

resource "aws_security_group" "lb" {
  name        = "${local.name}-lb"
  description = "Readers to the load balancer of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "lb" {
  for_each = {
    for pair in setproduct(keys(local.listeners), local.dual_stack ? ["ipv4", "ipv6"] : ["ipv4"]) :
    join("-", pair) => { port = local.listeners[pair[0]].port, ipv6 = pair[1] == "ipv6" }
  }
  security_group_id = aws_security_group.lb.id
  description       = "Readers"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.ipv6 ? null : "0.0.0.0/0"
  cidr_ipv6         = each.value.ipv6 ? "::/0" : null
}

resource "aws_vpc_security_group_egress_rule" "lb" {
  security_group_id            = aws_security_group.lb.id
  description                  = "To the nodes"
  ip_protocol                  = "tcp"
  from_port                    = module.node.ports.public
  to_port                      = module.node.ports.public
  referenced_security_group_id = aws_security_group.node.id
}

resource "aws_vpc_security_group_egress_rule" "lb_tls" {
  for_each                     = local.passed
  security_group_id            = aws_security_group.lb.id
  description                  = "To the nodes, TLS passed through"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.node.id
}

resource "aws_lb" "edge" {
  name                             = local.name
  load_balancer_type               = "network"
  internal                         = false
  ip_address_type                  = local.dual_stack ? "dualstack" : "ipv4"
  enable_cross_zone_load_balancing = true
  security_groups                  = [aws_security_group.lb.id]
  tags                             = local.tags

  dynamic "subnet_mapping" {
    for_each = var.subnets
    content {
      subnet_id     = subnet_mapping.value.id
      allocation_id = aws_eip.lb[subnet_mapping.key].allocation_id
      ipv6_address  = subnet_mapping.value.ipv6 == "" ? null : subnet_mapping.value.ipv6
    }
  }
}

resource "aws_lb_target_group" "edge" {
  name                 = local.name
  vpc_id               = var.vpc_id
  port                 = module.node.ports.public
  protocol             = "TCP"
  target_type          = "instance"
  preserve_client_ip   = "true"
  deregistration_delay = 30
  tags                 = local.tags

  health_check {
    protocol            = "HTTP"
    port                = "traffic-port"
    path                = "/readyz"
    matcher             = "200"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

# TLS that ends at the edges: passed through as TCP. Whether a node is well, its plain
# port says.
resource "aws_lb_target_group" "tls" {
  for_each             = local.passed
  name                 = "${local.name}-tls"
  vpc_id               = var.vpc_id
  port                 = each.value
  protocol             = "TCP"
  target_type          = "instance"
  preserve_client_ip   = "true"
  deregistration_delay = 30
  tags                 = local.tags

  health_check {
    protocol            = "HTTP"
    port                = tostring(module.node.ports.public)
    path                = "/readyz"
    matcher             = "200"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "edge" {
  for_each          = local.listeners
  load_balancer_arn = aws_lb.edge.arn
  port              = each.value.port
  protocol          = each.value.protocol
  certificate_arn   = each.value.certificate
  ssl_policy        = each.value.certificate == null ? null : "ELBSecurityPolicy-TLS13-1-2-2021-06"
  tags              = local.tags

  default_action {
    type             = "forward"
    target_group_arn = contains(keys(local.passed), each.key) ? aws_lb_target_group.tls[each.key].arn : aws_lb_target_group.edge.arn
  }
}

# --- the nodes

resource "aws_security_group" "node" {
  name        = "${local.name}-node"
  description = "Nodes of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "node_public" {
  security_group_id            = aws_security_group.node.id
  description                  = "From the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = module.node.ports.public
  to_port                      = module.node.ports.public
  referenced_security_group_id = aws_security_group.lb.id
}

resource "aws_vpc_security_group_ingress_rule" "node_tls" {
  for_each                     = local.passed
  security_group_id            = aws_security_group.node.id
  description                  = "From the load balancer, TLS passed through"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.lb.id
}

resource "aws_vpc_security_group_ingress_rule" "node_peers" {
  for_each = {
    gossip-tcp = { port = module.node.ports.gossip, protocol = "tcp" }
    gossip-udp = { port = module.node.ports.gossip, protocol = "udp" }
    peer       = { port = module.node.ports.peer, protocol = "tcp" }
  }
  security_group_id            = aws_security_group.node.id
  description                  = "Nodes of this region"
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = aws_security_group.node.id
}

resource "aws_vpc_security_group_egress_rule" "node" {
  security_group_id = aws_security_group.node.id
  description       = "The core, the artifact, the cloud's own services"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "node" {
  statement {
    sid       = "JoinToken"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = compact([var.secret_ref, var.gossip_key_ref, var.certificate_ref])
  }
  statement {
    sid       = "AnswerTheHook"
    actions   = ["autoscaling:CompleteLifecycleAction"]
    resources = ["arn:*:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/${local.name}"]
  }
  statement {
    sid       = "Saturation"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]
    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = ["Nearside"]
    }
  }
}

resource "aws_iam_role" "node" {
  name               = local.name
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = local.tags
}

resource "aws_iam_role_policy" "node" {
  name   = "node"
  role   = aws_iam_role.node.id
  policy = data.aws_iam_policy_document.node.json
}

resource "aws_iam_instance_profile" "node" {
  name = local.name
  role = aws_iam_role.node.name
  tags = local.tags
}

resource "aws_launch_template" "node" {
  name                   = local.name
  image_id               = var.ami_id
  instance_type          = var.instance_type
  update_default_version = true
  user_data              = module.node.user_data_packed
  vpc_security_group_ids = [aws_security_group.node.id]
  tags                   = local.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.node.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      encrypted             = "true"
      delete_on_termination = "true"
      volume_type           = "gp3"
      volume_size           = 20
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = local.tags
  }
}

resource "aws_autoscaling_group" "edge" {
  name                      = local.name
  min_size                  = var.capacity.min
  max_size                  = var.capacity.max
  vpc_zone_identifier       = [for s in values(var.subnets) : s.id]
  target_group_arns         = concat([aws_lb_target_group.edge.arn], [for t in values(aws_lb_target_group.tls) : t.arn])
  health_check_type         = "ELB"
  health_check_grace_period = 180
  default_instance_warmup   = 120
  # A drain may take its time before a destroy goes on.
  wait_for_capacity_timeout = "15m"

  launch_template {
    id      = aws_launch_template.node.id
    version = aws_launch_template.node.latest_version
  }

  # Part of the group, so that its first instance has it already.
  initial_lifecycle_hook {
    name                 = local.hook
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    heartbeat_timeout    = var.drain_seconds + 120
    default_result       = "CONTINUE"
  }

  # A new release: one node first, a pause to look, then the others; back to the
  # old launch template when nodes do not become healthy.
  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 150
      instance_warmup        = "120"
      auto_rollback          = true
      checkpoint_delay       = "600"
      checkpoint_percentages = var.capacity.min > 1 ? [ceil(100 / var.capacity.min), 100] : [100]
    }
  }

  dynamic "tag" {
    for_each = local.tags
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false
    }
  }

  lifecycle {
    # The autoscaler's, from the first day on.
    ignore_changes = [desired_capacity]
  }

  depends_on = [aws_iam_role_policy.node]
}

resource "aws_autoscaling_policy" "saturation" {
  name                   = "saturation"
  autoscaling_group_name = aws_autoscaling_group.edge.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.saturation_target

    customized_metric_specification {
      namespace   = "Nearside"
      metric_name = "nearside_edge_saturation"
      statistic   = "Average"
      unit        = "None"

      metric_dimension {
        name  = "Region"
        value = var.name
      }
    }
  }
}
