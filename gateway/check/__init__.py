"""The check: what an ingress asks before each request."""
