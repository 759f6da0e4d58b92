"""Whether a listener is reached from its own machine alone."""

from __future__ import annotations

import ipaddress


def is_loopback(address: str) -> bool:
    """``address`` as ``listen`` has it."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
