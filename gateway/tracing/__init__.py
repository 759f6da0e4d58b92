"""Traces: what the rooms say of their work, and the library that sends it to a collector.

``spans`` is all that other rooms know. ``exporting`` alone imports OpenTelemetry, where traces are
configured.
"""
