# The user pool that brokers every customer's identity provider, and the rights of the gateway's admin role.
# The auth role needs no AWS rights at all. App clients and identity providers are the gateway's business, not Terraform's.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}

variable "name" {
  type        = string
  description = "Name of the pool."
}

variable "domain_prefix" {
  type        = string
  description = "Prefix of the hosted pages: https://<prefix>.auth.<region>.amazoncognito.com"
}

variable "admin_role_name" {
  type        = string
  default     = null
  description = "IAM role under which `gateway serve --role admin` runs. Leave it out with ecs/, which makes the role, or until the role exists."
}

variable "client_secret_arns" {
  type        = list(string)
  default     = []
  description = "Secrets Manager's ARNs of the secrets of app clients that the gateway adopted; see docs/operator/provisioning.md."
}

locals {
  # Mutable, or every second login fails; 2048 characters, or people in many groups cannot log in. Cannot be changed later.
  attributes = ["groups", "roles", "oid", "idp_iat", "hd"]
}

resource "aws_cognito_user_pool" "this" {
  name                = var.name
  deletion_protection = "ACTIVE"
  user_pool_tier      = "ESSENTIALS"

  # Otherwise subjects of identity providers that differ in case only become one person. Cannot be changed later.
  username_configuration {
    case_sensitive = true
  }

  admin_create_user_config {
    allow_admin_create_user_only = true
  }

  dynamic "schema" {
    for_each = local.attributes
    content {
      name                = schema.value
      attribute_data_type = "String"
      mutable             = true
      string_attribute_constraints {
        min_length = "0"
        max_length = "2048"
      }
    }
  }

  lifecycle {
    # The gateway may add attributes that it needs; Terraform could only answer by replacing the pool.
    ignore_changes  = [schema]
    prevent_destroy = true
  }
}

resource "aws_cognito_user_pool_domain" "this" {
  domain                = var.domain_prefix
  user_pool_id          = aws_cognito_user_pool.this.id
  managed_login_version = 1 # the gateway always names the identity provider; a style per client would end at 20 clients
}

data "aws_iam_policy_document" "admin_role" {
  statement {
    sid       = "GatewayAdminRole"
    actions   = jsondecode(file("${path.module}/admin-role-policy.json")).Statement[0].Action
    resources = [aws_cognito_user_pool.this.arn]
  }

  statement {
    sid       = "GatewayAdminRoleDomains"
    actions   = jsondecode(file("${path.module}/admin-role-policy.json")).Statement[1].Action
    resources = ["*"] # of a domain, IAM knows no resource
  }

  dynamic "statement" {
    for_each = length(var.client_secret_arns) == 0 ? [] : [var.client_secret_arns]
    content {
      sid       = "GatewayClientSecrets"
      actions   = jsondecode(file("${path.module}/client-secrets-policy.json")).Statement[0].Action
      resources = statement.value
    }
  }
}

resource "aws_iam_role_policy" "admin_role" {
  count  = var.admin_role_name == null ? 0 : 1
  name   = "cognito-gateway"
  role   = var.admin_role_name
  policy = data.aws_iam_policy_document.admin_role.json
}

output "user_pool_id" {
  value = aws_cognito_user_pool.this.id
}

output "user_pool_arn" {
  value = aws_cognito_user_pool.this.arn
}

output "domain" {
  value = "https://${aws_cognito_user_pool_domain.this.domain}.auth.${split(":", aws_cognito_user_pool.this.arn)[3]}.amazoncognito.com"
}
