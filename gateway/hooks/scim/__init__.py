"""A SCIM 2.0 service provider that people leave through."""
