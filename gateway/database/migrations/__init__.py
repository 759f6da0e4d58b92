"""Alembic's revisions of the schema. See ``gateway.database.migrate``."""
