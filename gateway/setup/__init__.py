"""Setup links: what a customer's administrator was asked to do, by whom, until when, and how far
they came. The pages themselves are the portal's.
"""
