"""Which peers and addresses count as an ingress of ours."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict

import gateway
from gateway.check.trusted_peer import Trust
from gateway.config.model import Ingress
from gateway.core.hosts import client_key
from gateway.login.request import client_of

NETWORKS = ["10.0.0.0/8", "::ffff:192.168.0.0/112", "fd00::/8"]


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("::FFFF:a01:203", True),
        ("192.168.0.9", True),
        ("::ffff:192.168.0.9", True),
        ("fd00::1", True),
        ("11.1.2.3", False),
        ("::ffff:11.1.2.3", False),
        ("::10.1.2.3", False),
        ("64:ff9b::a01:203", False),
        ("2001:db8::ffff:10.1.2.3", False),
        ("unix:", False),
        ("", False),
    ],
)
def test_a_dual_stack_socket_shows_the_same_peer(address: str, trusted: bool) -> None:
    assert Trust(Ingress.model_validate({"trusted_proxies": NETWORKS})).proxy(address) is trusted


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.9", "198.51.100.1", "203.0.113.9"),
    ],
)
def test_the_client_is_found_behind_proxies_that_speak_of_ipv4_within_ipv6(
    remote: str, forwarded: str, client: str
) -> None:
    trust = Trust(Ingress.model_validate({"trusted_proxies": NETWORKS}))
    request: Any = SimpleNamespace(
        remote=remote, headers=CIMultiDict({"X-Forwarded-For": forwarded})
    )
    services: Any = SimpleNamespace(trust=trust)
    assert client_of(request, services) == client


def test_one_client_is_one_key_however_its_address_is_written() -> None:
    assert client_key("::ffff:203.0.113.7") == client_key("203.0.113.7") == "203.0.113.7"
    assert client_key("2001:db8::1") == client_key("2001:db8::2") == "2001:db8::/64"


def test_a_process_has_one_for_all_listeners_which_a_reload_replaces() -> None:
    """The pages listener had its own, which kept the networks of the start."""
    room = Path(gateway.__file__).parent
    made = {
        str(path.relative_to(room)): path.read_text("utf-8")
        for path in room.rglob("*.py")
        if re.search(r"\bTrust\(", path.read_text("utf-8").replace("class Trust(", ""))
    }
    assert made.keys() == {"runtime/app.py"}
    assert made["runtime/app.py"].count("Trust(") == 1
    assert "file.changed.append(lambda now: trust.replace(now.ingress))" in made["runtime/app.py"]
