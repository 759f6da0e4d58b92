"""Deciding, and nothing else: no await, no clock, no randomness, no logging, no I/O."""
