"""Mail over SMTP, where it is configured: letters in four languages, an outbox in SQL."""
