"""A forward-auth gateway for multi-tenant SaaS on AWS Cognito."""

__version__ = "0.9.0"
