"""Who is believed: ``ingress.keys`` and ``ingress.trusted_proxies``, replaced whole when the
configuration is read again.

Each that is configured must hold. A Unix socket counts as loopback. An ingress sends every key that
it was rendered with, in one line with commas between them, and one that holds here is enough: so a
key is exchanged at both ends in any order.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING, Final

from gateway.check.dialects.names import X_GATEWAY_KEY
from gateway.core.hosts import plain_address

if TYPE_CHECKING:
    from gateway.check.dialects import Headers, RawRequest
    from gateway.config.model import Ingress

KEY_HEADER: Final = X_GATEWAY_KEY
MAX_KEYS: Final = 4
"""That an ingress may send."""
_MAX_PEERS: Final = 4096


class Trust:
    """One for all listeners of a process."""

    def __init__(self, ingress: Ingress) -> None:
        self.replace(ingress)

    def replace(self, ingress: Ingress) -> None:
        """From the next request on."""
        self._keys = tuple(key.reveal().encode() for key in ingress.keys)
        self._networks = tuple(ipaddress.ip_network(network) for network in ingress.trusted_proxies)
        self._peers: dict[str, bool] = {}

    def believes(self, request: RawRequest) -> bool:
        """As ``is_trusted``; the key of a known head is compared once, until there are others."""
        head = request.known
        if head is None:
            return self.is_trusted(request.headers, request.peer)
        if head.key_of is not self._keys:
            if not self._has_key(request.headers):
                return False
            head.key_of = self._keys
        return not self._networks or self.proxy(request.peer or "127.0.0.1")

    def is_trusted(self, headers: Headers, peer: str) -> bool:
        """Whether the check listener's peer is an ingress of ours; ``peer``: its address, "" at a
        Unix socket.
        """
        if not self._has_key(headers):
            return False
        return not self._networks or self.proxy(peer or "127.0.0.1")

    def _has_key(self, headers: Headers) -> bool:
        """One that holds, where one is asked for."""
        if not self._keys:
            return True
        lines = headers.getall(KEY_HEADER, ())
        line = lines[0].encode("utf-8", "surrogateescape") if len(lines) == 1 else b""
        candidates = line.split(b",", MAX_KEYS)[:MAX_KEYS]
        return any([hmac.compare_digest(one, key) for one in candidates for key in self._keys])  # noqa: C419 - every key is compared, in constant time

    def proxy(self, address: str) -> bool:
        """Whether an address is in one of the trusted networks; no for what is no address."""
        is_trusted = self._peers.get(address)
        if is_trusted is None:
            try:
                ip_address = plain_address(address)
                is_trusted = any(ip_address in network for network in self._networks)
            except ValueError:
                is_trusted = False
            if len(self._peers) < _MAX_PEERS:
                self._peers[address] = is_trusted
        return is_trusted
