"""E-mail domains of tenants, proven by a DNS record or vouched for by an operator."""
