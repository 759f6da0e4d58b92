"""Outgoing HTTP, and one listening socket."""
