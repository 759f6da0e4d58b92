from __future__ import annotations

from typing import Any

import pytest

from gateway.core.activity import active_s
from gateway.core.decide import decide, match
from gateway.core.idle_counts import EVERY_REQUEST, IdleCounts
from gateway.core.model import MachineToken, SessionLimits
from gateway.core.readings import PathReader
from gateway.core.rule import BearerRule
from tests.core.build import NOW, identity, request, rule, session, tenant

COUNTS = IdleCounts(("/api/events", "/poll/**", "/hidden/*.js"), 3600)
RULES = (
    rule("/public/**", public=True),
    rule("/api/bot", bearer=BearerRule(frozenset({"m"}), frozenset())),
)


def after(
    path: str, counts: IdleCounts = COUNTS, *, held: Any = "", **changes: Any
) -> float | None:
    asked = request(path, **changes)
    customer = tenant(session=SessionLimits(1800, 43200, 20, counts), rules=RULES)
    who = session() if held == "" else held
    machine = MachineToken("m", frozenset(), "", "", 0) if asked.bearer else None
    return active_s(
        customer,
        asked,
        decide(
            customer,
            asked,
            match(customer, asked),
            session=None if machine else who,
            machine=machine,
            now=NOW,
        ),
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", 0.0),
        ("/api", 0.0),
        ("/api/events", None),
        ("/api/events/", None),
        ("/api/events/1", 0.0),
        ("/api/Events", 0.0),
        ("/poll", None),
        ("/poll/", None),
        ("/poll/a/b", None),
        ("/polls", 0.0),
        ("/hidden/a.js", None),
        ("/hidden/a/b.js", 0.0),
        ("/api/events.", None),
        ("/public/x", 0.0),
    ],
)
def test_a_request_for_an_excluded_path_does_not_count(path: str, expected: float | None) -> None:
    assert after(path) == expected
    assert after(path, EVERY_REQUEST) == 0.0
    assert after(path, websocket=True) == (None if expected is None else 3600.0)


def test_an_ambiguous_path_is_no_name_and_counts() -> None:
    assert after("/poll/x", ambiguous=True) == 0.0


def test_every_name_that_the_application_reads_in_a_path_is_looked_for() -> None:
    customer = tenant(
        session=SessionLimits(1800, 43200, 20, IdleCounts(("/poll",))),
        paths=PathReader(ignore_case=True, suffixes=True),
    )
    for path, expected in (("/Poll.json", None), ("/Polls", 0.0)):
        asked = request(path)
        assert (
            active_s(
                customer,
                asked,
                decide(
                    customer,
                    asked,
                    match(customer, asked),
                    session=session(),
                    machine=None,
                    now=NOW,
                ),
            )
            == expected
        )


def test_a_handshake_counts_for_as_long_as_the_tenant_says_where_it_is_let_in() -> None:
    assert after("/ws", websocket=True) == 3600.0
    assert after("/public/ws", websocket=True) == 3600.0
    assert after("/ws", EVERY_REQUEST, websocket=True) == 0.0
    assert after("/ws", websocket=True, held=session(identity=identity(groups=()))) == 0.0, (
        "refused, and yet somebody was there"
    )


def test_what_shows_no_live_session_of_the_tenant_counts_for_none() -> None:
    for held in (
        None,
        session(expires_at=NOW),
        session(tenant="globex"),
        session(host="other.acme.com"),
    ):
        assert after("/ws", websocket=True, held=held) is None
        assert after("/public/ws", websocket=True, held=held) is None
    assert after("/api/bot", bearer="t") is None
