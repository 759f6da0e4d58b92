"""The stand-in cloud: a Cognito, an Okta-like and an Entra-like identity provider, and applications
to protect.

Everything runs on loopback and keeps its state in memory. The demo and the tests share it, so a
shortcut here would be a lie in every test above. It imports nothing of the gateway.
"""
