"""From a customer's few facts to a tenant that works: the registry's and Cognito's sides together,
for API and commands.
"""
