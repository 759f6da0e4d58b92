"""Customers' identity providers: an OpenID provider core with an Okta-like and an Entra-like
face.
"""
