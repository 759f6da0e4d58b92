"""SQL of the admin role: one engine, one schema, secrets encrypted at rest. Never imported by the
auth role.
"""
