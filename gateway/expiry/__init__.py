"""What a connection to an identity provider hangs on, watched: metadata, secrets, certificates."""
