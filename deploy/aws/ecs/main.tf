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

variable "config_file" {
  type        = string
  description = "gateway.yaml, which the task \"files\" writes into the file system. It has no secrets in it."
}

variable "desired_count" {
  type        = number
  default     = 2
  description = "Tasks of each service. 0 until the file system has gateway.yaml and the key ring."
}

variable "key_ring_kms_key" {
  type        = string
  default     = null
  description = "ARN of the KMS key in key_ring.kms, if the key ring is encrypted. Both roles then run the full image."
}

variable "client_secret_arns" {
  type        = list(string)
  default     = []
  description = "Secrets Manager's ARNs of the secrets of app clients that the gateway adopted; see docs/operator/provisioning.md."
}

variable "execute_command" {
  type        = bool
  default     = false
  description = "Whether commands run in the admin task with ECS Exec. Its root file system is then writable."
}

data "aws_caller_identity" "this" {}

locals {
  # Port → who may reach it. tests/packaging/test_aws.py compares them with the task definitions.
  ports = {
    auth  = { "8080" = var.proxy_security_group_id, "8081" = var.proxy_security_group_id, "8082" = var.operator_security_group_id }
    admin = { "8082" = var.operator_security_group_id, "8083" = var.proxy_security_group_id, "8084" = var.proxy_security_group_id }
  }
  role_ports = merge([for role, ports in local.ports : { for port, _ in ports : "${role}-${port}" => { role = role, port = tonumber(port) } }]...)
  # Port of the balancer → the service behind it.
  balanced = { "8080" = "auth", "8081" = "auth", "8082" = "admin", "8083" = "admin", "8084" = "admin" }
  secrets  = ["ingress_key", "redis_url", "database_url"]
  # Of each task its own, by name.
  task_secrets = {
    for role, text in local.files : role => {
      for secret in jsondecode(text).containerDefinitions[0].secrets : secret.name => reverse(split("/", secret.valueFrom))[0]
    }
  }
  policies = jsondecode(file("${path.module}/../admin-role-policy.json")).Statement
  # The region's certificates of RDS, which no system's list contains.
  rds_authority = "https://truststore.pki.rds.amazonaws.com/${var.region}/${var.region}-bundle.pem"
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

resource "aws_security_group" "balancer" {
  name   = "cognito-gateway-balancer"
  vpc_id = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  for_each                     = local.balanced
  security_group_id            = aws_security_group.balancer.id
  referenced_security_group_id = local.ports[each.value][each.key]
  from_port                    = tonumber(each.key)
  to_port                      = tonumber(each.key)
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  for_each                     = aws_security_group.role
  security_group_id            = aws_security_group.balancer.id
  referenced_security_group_id = each.value.id
  ip_protocol                  = "-1"
}

# With 8082 of both, which health checks ask.
resource "aws_vpc_security_group_ingress_rule" "task" {
  for_each                     = local.role_ports
  security_group_id            = aws_security_group.role[each.value.role].id
  referenced_security_group_id = aws_security_group.balancer.id
  from_port                    = each.value.port
  to_port                      = each.value.port
  ip_protocol                  = "tcp"
}

# Metrics are scraped from each task.
resource "aws_vpc_security_group_ingress_rule" "operator" {
  for_each                     = aws_security_group.role
  security_group_id            = each.value.id
  referenced_security_group_id = var.operator_security_group_id
  from_port                    = 8082
  to_port                      = 8082
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
  num_cache_clusters         = 3 # a write is confirmed by one replica; after a failover there must still be one
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

  lifecycle {
    prevent_destroy = true # without the key ring, every session and every sealed secret is lost
  }
}

resource "aws_efs_backup_policy" "shared" {
  file_system_id = aws_efs_file_system.shared.id
  backup_policy {
    status = "ENABLED"
  }
}

# Without a policy, whoever reaches a mount target mounts all of it.
data "aws_iam_policy_document" "shared" {
  statement {
    sid       = "BothRolesThroughTheAccessPoint"
    actions   = ["elasticfilesystem:ClientMount"]
    resources = [aws_efs_file_system.shared.arn]
    principals {
      type        = "AWS"
      identifiers = [for role in ["auth", "admin"] : aws_iam_role.this[role].arn]
    }
    condition {
      test     = "StringEquals"
      variable = "elasticfilesystem:AccessPointArn"
      values   = [aws_efs_access_point.shared.arn]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["true"]
    }
  }

  statement {
    sid       = "TheAdminRoleWrites"
    actions   = ["elasticfilesystem:ClientWrite"]
    resources = [aws_efs_file_system.shared.arn]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.this["admin"].arn]
    }
    condition {
      test     = "StringEquals"
      variable = "elasticfilesystem:AccessPointArn"
      values   = [aws_efs_access_point.shared.arn]
    }
  }

  statement {
    sid       = "NothingWithoutTLS"
    effect    = "Deny"
    actions   = ["*"]
    resources = [aws_efs_file_system.shared.arn]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_efs_file_system_policy" "shared" {
  file_system_id = aws_efs_file_system.shared.id
  policy         = data.aws_iam_policy_document.shared.json
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
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.this.account_id]
    }
  }
}

# What a task may do, and what starts it: the secrets of the one task are not the other's.
resource "aws_iam_role" "this" {
  for_each           = toset(["auth", "admin", "auth-execution", "admin-execution"])
  name               = "cognito-gateway-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.ecs.json
}

resource "aws_iam_role_policy" "execution" {
  for_each = local.task_secrets
  name     = "start"
  role     = aws_iam_role.this["${each.key}-execution"].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = [for secret in values(each.value) : aws_secretsmanager_secret.this[secret].arn] },
      { Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = "${aws_cloudwatch_log_group.this.arn}:*" },
      { Effect = "Allow", Action = "ecr:GetAuthorizationToken", Resource = "*" },
      {
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = "arn:aws:ecr:${var.region}:${data.aws_caller_identity.this.account_id}:repository/cognito-gateway"
      },
    ]
  })
}

# The auth role's only right, unless KMS encrypts the key ring: its file system.
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
  name = "cognito"
  role = aws_iam_role.this["admin"].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = local.policies[0].Action, Resource = var.user_pool_arn },
      { Effect = "Allow", Action = local.policies[1].Action, Resource = "*" },
    ]
  })
}

# As in ../client-secrets-policy.json.
resource "aws_iam_role_policy" "client_secrets" {
  count = length(var.client_secret_arns) == 0 ? 0 : 1
  name  = "client-secrets"
  role  = aws_iam_role.this["admin"].name
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = var.client_secret_arns }]
  })
}

# As in ../key-ring-policy.json: both roles read the key ring, the admin role rotates keys.
resource "aws_iam_role_policy" "key_ring" {
  for_each = toset(var.key_ring_kms_key == null ? [] : ["auth", "admin"])
  name     = "key-ring"
  role     = aws_iam_role.this[each.key].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = each.key == "admin" ? ["kms:Decrypt", "kms:GenerateDataKey"] : ["kms:Decrypt"]
      Resource  = var.key_ring_kms_key
      Condition = { StringEquals = { "kms:EncryptionContext:purpose" = "cognito-gateway key ring" } }
    }]
  })
}

resource "aws_iam_role_policy" "execute_command" {
  count = var.execute_command ? 1 : 0
  name  = "execute-command"
  role  = aws_iam_role.this["admin"].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]
      Resource = "*"
    }]
  })
}

# --- services -------------------------------------------------------------------------------------

resource "aws_cloudwatch_log_group" "this" {
  name              = "/cognito-gateway"
  retention_in_days = 90
}

resource "aws_ecs_task_definition" "this" {
  for_each                 = local.definitions
  family                   = each.value.family
  requires_compatibilities = each.value.requiresCompatibilities
  network_mode             = each.value.networkMode
  cpu                      = each.value.cpu
  memory                   = each.value.memory
  execution_role_arn       = aws_iam_role.this["${each.value.role}-execution"].arn
  task_role_arn            = aws_iam_role.this[each.value.role].arn
  container_definitions    = each.value.containers
  runtime_platform {
    operating_system_family = each.value.runtimePlatform.operatingSystemFamily
    cpu_architecture        = each.value.runtimePlatform.cpuArchitecture
  }
  dynamic "volume" {
    for_each = each.value.own_volumes
    content {
      name = volume.value
    }
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

locals {
  definitions = {
    auth  = merge(local.tasks["auth"], { role = "auth", own_volumes = ["state"], containers = local.containers["auth"] })
    admin = merge(local.tasks["admin"], { role = "admin", own_volumes = ["state"], containers = local.containers["admin"] })
    # Writes gateway.yaml and the certificates of RDS into the file system. Run by hand, with the admin role's rights.
    files = merge(local.tasks["admin"], {
      family      = "cognito-gateway-files"
      cpu         = "256"
      memory      = "512"
      role        = "admin"
      own_volumes = []
      containers = jsonencode([{
        name                   = "files"
        image                  = local.tasks["admin"].containerDefinitions[0].image
        essential              = true
        user                   = "10001"
        readonlyRootFilesystem = true
        entryPoint             = ["python", "-c", file("${path.module}/files.py")]
        environment = [
          { name = "GATEWAY_YAML", value = file(var.config_file) },
          { name = "RDS_AUTHORITY", value = local.rds_authority },
        ]
        mountPoints      = [{ sourceVolume = "shared", containerPath = "/etc/gateway", readOnly = false }]
        logConfiguration = local.tasks["admin"].containerDefinitions[0].logConfiguration
      }])
    })
  }
  containers = {
    for role, task in local.tasks : role => jsonencode([
      for container in task.containerDefinitions : merge(container, {
        image                  = var.key_ring_kms_key == null ? container.image : trimsuffix(container.image, "-auth")
        readonlyRootFilesystem = !(var.execute_command && role == "admin")
        # Secrets Manager adds six characters to a secret's ARN.
        secrets = [for name, secret in local.task_secrets[role] : { name = name, valueFrom = aws_secretsmanager_secret.this[secret].arn }]
      })
    ])
  }
}

# One name for both services, inside the network only.
resource "aws_lb" "this" {
  name                             = "cognito-gateway"
  internal                         = true
  load_balancer_type               = "network"
  subnets                          = var.subnet_ids
  security_groups                  = [aws_security_group.balancer.id]
  enable_cross_zone_load_balancing = true
}

resource "aws_lb_target_group" "this" {
  for_each             = local.balanced
  name                 = "cognito-gateway-${each.key}"
  port                 = tonumber(each.key)
  protocol             = "TCP"
  target_type          = "ip"
  vpc_id               = var.vpc_id
  deregistration_delay = 30
  # Whether it lives, not whether it is ready: ECS replaces a task that fails this, and while Redis is away that would be all of them.
  health_check {
    protocol = "HTTP"
    port     = "8082"
    path     = "/healthz"
    matcher  = "200"
    interval = 10
  }
}

resource "aws_lb_listener" "this" {
  for_each          = local.balanced
  load_balancer_arn = aws_lb.this.arn
  port              = tonumber(each.key)
  protocol          = "TCP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }
}

resource "aws_ecs_service" "this" {
  for_each                           = local.tasks
  name                               = "cognito-gateway-${each.key}"
  cluster                            = var.cluster_arn
  task_definition                    = aws_ecs_task_definition.this[each.key].arn
  launch_type                        = "FARGATE"
  desired_count                      = var.desired_count
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  health_check_grace_period_seconds  = 60
  enable_execute_command             = var.execute_command && each.key == "admin"
  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.role[each.key].id]
    assign_public_ip = false
  }
  dynamic "load_balancer" {
    for_each = [for port, role in local.balanced : port if role == each.key]
    content {
      target_group_arn = aws_lb_target_group.this[load_balancer.value].arn
      container_name   = "gateway"
      container_port   = tonumber(load_balancer.value)
    }
  }
  depends_on = [aws_lb_listener.this, aws_efs_mount_target.shared, aws_iam_role_policy.execution, aws_iam_role_policy.shared]
}

output "address" {
  value       = aws_lb.this.dns_name
  description = "Where the proxy finds both roles: --check ADDRESS:8081 --public ADDRESS:8080 --pages ADDRESS:8084, and hooks at 8083."
}

output "network" {
  value = jsonencode({
    awsvpcConfiguration = { subnets = var.subnet_ids, securityGroups = [aws_security_group.role["admin"].id], assignPublicIp = "DISABLED" }
  })
  description = "For `aws ecs run-task --network-configuration`."
}
