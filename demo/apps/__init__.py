"""Applications to protect: they know nothing of logins and believe the headers they get."""
