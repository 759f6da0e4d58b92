"""``gateway.yaml`` and the environment."""
