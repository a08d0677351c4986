module "node" {
  source      = "../../node-config"
  role        = "core"
  region      = var.name
  artifact    = var.artifact
  credentials = merge(var.secret_refs, { settings = aws_secretsmanager_secret.database.arn })
  environment = var.environment
  cloud       = "aws"
}

# --- the database: the only truth, written to two zones before a commit answers

resource "aws_db_subnet_group" "core" {
  name       = local.name
  subnet_ids = var.private_subnet_ids
  tags       = local.tags
}

resource "aws_db_parameter_group" "core" {
  name_prefix = "${local.name}-"
  family      = "postgres${var.database_version}"
  description = "nearside: TLS only; a commit is durable before it answers"
  tags        = local.tags

  parameter {
    name         = "rds.force_ssl"
    value        = "1"
    apply_method = "pending-reboot"
  }
  parameter {
    name  = "synchronous_commit"
    value = "on"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "database" {
  name        = "${local.name}-database"
  description = "Core nodes to the database"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  description                  = "Core nodes"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = aws_security_group.node.id
}

resource "aws_db_instance" "core" {
  identifier                          = local.name
  engine                              = "postgres"
  engine_version                      = var.database_version
  instance_class                      = var.database_class
  allocated_storage                   = var.database_gigabytes
  max_allocated_storage               = var.database_gigabytes * 4
  storage_type                        = "gp3"
  storage_encrypted                   = true
  db_name                             = "nearside"
  username                            = "nearside"
  password_wo                         = var.database_password
  password_wo_version                 = var.database_password_version
  multi_az                            = true
  db_subnet_group_name                = aws_db_subnet_group.core.name
  parameter_group_name                = aws_db_parameter_group.core.name
  vpc_security_group_ids              = [aws_security_group.database.id]
  publicly_accessible                 = false
  backup_retention_period             = 14
  copy_tags_to_snapshot               = true
  deletion_protection                 = true
  skip_final_snapshot                 = false
  final_snapshot_identifier           = "${local.name}-final"
  performance_insights_enabled        = true
  auto_minor_version_upgrade          = true
  iam_database_authentication_enabled = false
  enabled_cloudwatch_logs_exports     = ["postgresql"]
  tags                                = local.tags
}

resource "aws_secretsmanager_secret" "database" {
  name_prefix = "${local.name}-settings-"
  description = "The core's secret settings, in YAML: its database"
  tags        = local.tags
}

resource "aws_secretsmanager_secret_version" "database" {
  secret_id                = aws_secretsmanager_secret.database.id
  secret_string_wo         = "database-url: postgres://nearside:${var.database_password}@${aws_db_instance.core.endpoint}/nearside?sslmode=require"
  secret_string_wo_version = var.database_password_version
}

# --- the core processes

resource "aws_security_group" "lb" {
  name        = "${local.name}-lb"
  description = "Edges and operators to the core"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "lb" {
  for_each          = local.ingress
  security_group_id = aws_security_group.lb.id
  description       = each.key
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.network
}

resource "aws_vpc_security_group_egress_rule" "lb" {
  for_each                     = merge(local.listeners, { ops = local.ops_port })
  security_group_id            = aws_security_group.lb.id
  description                  = "To the core nodes, ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.node.id
}

resource "aws_lb" "core" {
  name                             = local.name
  load_balancer_type               = "network"
  internal                         = false
  subnets                          = var.public_subnet_ids
  security_groups                  = [aws_security_group.lb.id]
  enable_cross_zone_load_balancing = true
  tags                             = local.tags
}

resource "aws_lb_target_group" "core" {
  for_each             = local.listeners
  name                 = "${local.name}-${each.key}"
  vpc_id               = var.vpc_id
  port                 = each.value
  protocol             = "TCP"
  target_type          = "instance"
  deregistration_delay = 30
  tags                 = local.tags

  # Only that the port answers: /readyz is on the operations port, which listens
  # on loopback.
  health_check {
    protocol            = "TCP"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

# TLS ends at the core itself: edges and core know each other by certificate.
resource "aws_lb_listener" "core" {
  for_each          = local.listeners
  load_balancer_arn = aws_lb.core.arn
  port              = each.value
  protocol          = "TCP"
  tags              = local.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.core[each.key].arn
  }
}

resource "aws_security_group" "node" {
  name        = "${local.name}-node"
  description = "Core nodes"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "node" {
  for_each                     = local.listeners
  security_group_id            = aws_security_group.node.id
  description                  = "From the load balancer, ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.lb.id
}

resource "aws_vpc_security_group_egress_rule" "node" {
  security_group_id = aws_security_group.node.id
  description       = "The database, the artifact, the cloud's own services"
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
    sid       = "Secrets"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = concat([aws_secretsmanager_secret.database.arn], values(var.secret_refs))
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

resource "aws_autoscaling_group" "core" {
  name                      = local.name
  min_size                  = var.nodes
  max_size                  = var.nodes + 1
  desired_capacity          = var.nodes
  vpc_zone_identifier       = var.private_subnet_ids
  target_group_arns         = [for t in values(aws_lb_target_group.core) : t.arn]
  health_check_type         = "ELB"
  health_check_grace_period = 180
  default_instance_warmup   = 60
  wait_for_capacity_timeout = "15m"

  launch_template {
    id      = aws_launch_template.node.id
    version = aws_launch_template.node.latest_version
  }

  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 150
      auto_rollback          = true
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

  # A node reads its secrets at its first boot.
  depends_on = [aws_secretsmanager_secret_version.database, aws_iam_role_policy.node]
}

resource "aws_route53_record" "core" {
  for_each = var.route53_zone_id == "" ? {} : { core = var.route53_zone_id }
  zone_id  = each.value
  name     = var.dns_name
  type     = "A"

  alias {
    name                   = aws_lb.core.dns_name
    zone_id                = aws_lb.core.zone_id
    evaluate_target_health = false
  }
}
