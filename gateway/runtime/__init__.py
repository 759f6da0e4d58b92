"""Processes, roles, listeners: what is started, in which order."""
