"""A Cognito user pool on loopback: hosted pages, token endpoints, federation, and the control
plane.
"""
