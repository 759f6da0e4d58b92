# Both roles on ECS Fargate, with ElastiCache (Valkey), RDS (PostgreSQL) and EFS. The pool and its policy: ../main.tf.
# The tasks are ../task-auth.json and ../task-admin.json with their words in capitals replaced.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.6"
    }
  }
}

variable "region" { type = string }
variable "image_version" { type = string }
variable "vpc_id" { type = string }
variable "cluster_arn" { type = string }

variable "subnet_ids" {
  type        = list(string)
  description = "Private subnets with a way out: Cognito and the customers' identity providers are called."
}

variable "proxy_security_group_id" {
  type        = string
  description = "Of the reverse proxy that asks about every request. Nothing else reaches check, public, hooks and pages."
}

variable "operator_security_group_id" {
  type        = string
  description = "Of whoever calls the admin API and scrapes metrics."
}

variable "user_pool_arn" { type = string }

data "aws_caller_identity" "this" {}

locals {
  # Port → who may reach it. tests/packaging/test_aws.py compares them with the task definitions.
  auth_ports  = { "8080" = var.proxy_security_group_id, "8081" = var.proxy_security_group_id, "8082" = var.operator_security_group_id }
  admin_ports = { "8082" = var.operator_security_group_id, "8083" = var.proxy_security_group_id, "8084" = var.proxy_security_group_id }
  secrets     = ["ingress_key", "redis_url", "database_url"]
  words = {
    ACCOUNT      = data.aws_caller_identity.this.account_id
    REGION       = var.region
    VERSION      = var.image_version
    FILE_SYSTEM  = aws_efs_file_system.shared.id
    ACCESS_POINT = aws_efs_access_point.shared.id
  }
  files = { for role in ["auth", "admin"] : role => file("${path.module}/../task-${role}.json") }
  tasks = {
    for role, text in local.files : role => jsondecode(
      replace(replace(replace(replace(replace(text,
        "ACCOUNT", local.words.ACCOUNT),
        "REGION", local.words.REGION),
        "VERSION", local.words.VERSION),
        "FILE_SYSTEM", local.words.FILE_SYSTEM),
      "ACCESS_POINT", local.words.ACCESS_POINT)
    )
  }
}

# --- who may reach whom ---------------------------------------------------------------------------

resource "aws_security_group" "role" {
  for_each = toset(["auth", "admin"])
  name     = "cognito-gateway-${each.key}"
  vpc_id   = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "auth" {
  for_each                     = local.auth_ports
  security_group_id            = aws_security_group.role["auth"].id
  referenced_security_group_id = each.value
  from_port                    = tonumber(each.key)
  to_port                      = tonumber(each.key)
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_ingress_rule" "admin" {
  for_each                     = local.admin_ports
  security_group_id            = aws_security_group.role["admin"].id
  referenced_security_group_id = each.value
  from_port                    = tonumber(each.key)
  to_port                      = tonumber(each.key)
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_egress_rule" "out" {
  for_each          = aws_security_group.role
  security_group_id = each.value.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_security_group" "redis" {
  name   = "cognito-gateway-redis"
  vpc_id = var.vpc_id
}

resource "aws_security_group" "database" {
  name   = "cognito-gateway-database"
  vpc_id = var.vpc_id
}

resource "aws_security_group" "shared" {
  name   = "cognito-gateway-shared"
  vpc_id = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "redis" {
  for_each                     = aws_security_group.role
  security_group_id            = aws_security_group.redis.id
  referenced_security_group_id = each.value.id
  from_port                    = 6379
  to_port                      = 6379
  ip_protocol                  = "tcp"
}

# SQL is the admin role's alone.
resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  referenced_security_group_id = aws_security_group.role["admin"].id
  from_port                    = 5432
  to_port                      = 5432
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_ingress_rule" "shared" {
  for_each                     = aws_security_group.role
  security_group_id            = aws_security_group.shared.id
  referenced_security_group_id = each.value.id
  from_port                    = 2049
  to_port                      = 2049
  ip_protocol                  = "tcp"
}

# --- stores ---------------------------------------------------------------------------------------

resource "random_password" "redis" {
  length  = 64
  special = false
}

resource "aws_elasticache_parameter_group" "redis" {
  name   = "cognito-gateway"
  family = "valkey8"
  # An evicted key is a session or a revocation that is lost.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

resource "aws_elasticache_subnet_group" "redis" {
  name       = "cognito-gateway"
  subnet_ids = var.subnet_ids
}

resource "aws_elasticache_replication_group" "redis" {
  replication_group_id       = "cognito-gateway"
  description                = "Sessions and revocations of the gateway"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = "cache.t4g.small"
  num_cache_clusters         = 2
  automatic_failover_enabled = true
  multi_az_enabled           = true
  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  auth_token                 = random_password.redis.result
  parameter_group_name       = aws_elasticache_parameter_group.redis.name
  subnet_group_name          = aws_elasticache_subnet_group.redis.name
  security_group_ids         = [aws_security_group.redis.id]
}

resource "random_password" "database" {
  length  = 64
  special = false
}

resource "aws_db_subnet_group" "database" {
  name       = "cognito-gateway"
  subnet_ids = var.subnet_ids
}

resource "aws_db_instance" "database" {
  identifier              = "cognito-gateway"
  engine                  = "postgres"
  engine_version          = "17"
  instance_class          = "db.t4g.small"
  allocated_storage       = 20
  db_name                 = "gateway"
  username                = "gateway"
  password                = random_password.database.result
  multi_az                = true
  storage_encrypted       = true
  backup_retention_period = 14
  deletion_protection     = true
  db_subnet_group_name    = aws_db_subnet_group.database.name
  vpc_security_group_ids  = [aws_security_group.database.id]
}

# The key ring and gateway.yaml: one file for all replicas, which `gateway keys rotate` writes.
resource "aws_efs_file_system" "shared" {
  encrypted = true
}

resource "aws_efs_mount_target" "shared" {
  for_each        = toset(var.subnet_ids)
  file_system_id  = aws_efs_file_system.shared.id
  subnet_id       = each.value
  security_groups = [aws_security_group.shared.id]
}

resource "aws_efs_access_point" "shared" {
  file_system_id = aws_efs_file_system.shared.id
  posix_user {
    uid = 10001
    gid = 0
  }
  root_directory {
    path = "/cognito-gateway"
    creation_info {
      owner_uid   = 10001
      owner_gid   = 0
      permissions = "0700"
    }
  }
}

resource "random_password" "ingress" {
  length  = 64
  special = false
}

resource "aws_secretsmanager_secret" "this" {
  for_each = toset(local.secrets)
  name     = "cognito-gateway/${each.key}"
}

resource "aws_secretsmanager_secret_version" "this" {
  for_each  = aws_secretsmanager_secret.this
  secret_id = each.value.id
  secret_string = {
    ingress_key  = random_password.ingress.result
    redis_url    = "rediss://:${random_password.redis.result}@${aws_elasticache_replication_group.redis.primary_endpoint_address}:6379/0"
    database_url = "postgresql+asyncpg://gateway:${random_password.database.result}@${aws_db_instance.database.address}:5432/gateway"
  }[each.key]
}

# --- rights ---------------------------------------------------------------------------------------

data "aws_iam_policy_document" "ecs" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  for_each           = toset(["execution", "auth", "admin"])
  name               = "cognito-gateway-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.ecs.json
}

resource "aws_iam_role_policy" "execution" {
  name = "start"
  role = aws_iam_role.this["execution"].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = [for each in aws_secretsmanager_secret.this : each.arn] },
      { Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = "${aws_cloudwatch_log_group.this.arn}:*" },
      { Effect = "Allow", Action = ["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], Resource = "*" },
    ]
  })
}

# The auth role's only right: its file system.
resource "aws_iam_role_policy" "shared" {
  for_each = toset(["auth", "admin"])
  name     = "shared"
  role     = aws_iam_role.this[each.key].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = each.key == "admin" ? ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"] : ["elasticfilesystem:ClientMount"]
      Resource  = aws_efs_file_system.shared.arn
      Condition = { StringEquals = { "elasticfilesystem:AccessPointArn" = aws_efs_access_point.shared.arn } }
    }]
  })
}

resource "aws_iam_role_policy" "pool" {
  name   = "cognito"
  role   = aws_iam_role.this["admin"].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = jsondecode(file("${path.module}/../admin-role-policy.json")).Statement[0].Action, Resource = var.user_pool_arn },
      { Effect = "Allow", Action = jsondecode(file("${path.module}/../admin-role-policy.json")).Statement[1].Action, Resource = "*" },
    ]
  })
}

# --- services -------------------------------------------------------------------------------------

resource "aws_cloudwatch_log_group" "this" {
  name              = "/cognito-gateway"
  retention_in_days = 90
}

resource "aws_ecs_task_definition" "this" {
  for_each                 = local.tasks
  family                   = each.value.family
  requires_compatibilities = each.value.requiresCompatibilities
  network_mode             = each.value.networkMode
  cpu                      = each.value.cpu
  memory                   = each.value.memory
  execution_role_arn       = aws_iam_role.this["execution"].arn
  task_role_arn            = aws_iam_role.this[each.key].arn
  container_definitions = jsonencode([
    for container in each.value.containerDefinitions : merge(container, {
      # Secrets Manager adds six characters to a secret's ARN.
      secrets = [for secret in container.secrets : { name = secret.name, valueFrom = aws_secretsmanager_secret.this[reverse(split("/", secret.valueFrom))[0]].arn }]
    })
  ])
  runtime_platform {
    operating_system_family = each.value.runtimePlatform.operatingSystemFamily
    cpu_architecture        = each.value.runtimePlatform.cpuArchitecture
  }
  volume {
    name = "state"
  }
  volume {
    name = "shared"
    efs_volume_configuration {
      file_system_id     = aws_efs_file_system.shared.id
      transit_encryption = "ENABLED"
      authorization_config {
        access_point_id = aws_efs_access_point.shared.id
        iam             = "ENABLED"
      }
    }
  }
}

resource "aws_ecs_service" "this" {
  for_each                           = aws_ecs_task_definition.this
  name                               = "cognito-gateway-${each.key}"
  cluster                            = var.cluster_arn
  task_definition                    = each.value.arn
  launch_type                        = "FARGATE"
  desired_count                      = 2
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.role[each.key].id]
    assign_public_ip = false
  }
}
