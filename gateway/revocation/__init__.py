"""Ending sessions everywhere, on record, with acknowledgement."""
