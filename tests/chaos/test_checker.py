"""The checker of ``scripts/soak chaos``: made histories, each of which breaks one rule, and their
neighbors, which break none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.soak.chaos.checker import GRANT_WITHIN_S, RULES, STATUSES, Account, violations
from tests.soak.chaos.history import (
    AllHealed,
    Answered,
    Check,
    Ended,
    History,
    InPool,
    Lifted,
    ProviderEvent,
    Recovered,
    SessionStarted,
    Webhook,
    WebhookOwed,
    encode,
    read,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.soak.chaos.history import Line

SESSION = SessionStarted("s1", "alice", "alice@acme.test", "acme", ("app-users",), 1.0, 2.0)
ALLOWED = Check("s1", 0, "acme", 10.0, 10.1, 200, "", "alice@acme.test", "acme")
DENIED = replace(ALLOWED, status=401, reason="session_ended", email="", tenant="")
UNAVAILABLE = replace(DENIED, status=503, reason="unavailable", retry_after=True)
REVOKED = Ended("r1", "revocation", "user", "acme", "alice", 5.0, 6.0, 0.0)
BLOCKED = replace(REVOKED, operation="b1", means="block", lasting=True)
POLICY = replace(BLOCKED, operation="p1", scope="tenant", value="", ends_sessions=False)
ALL_AGAIN = Lifted("p1", 20.0, 21.0)
EVENT = ProviderEvent("e1", "user.lifecycle.suspend", accepted=True, states=("applied",))
ABOUT = '{"email": "alice@acme.test"}'
BROKEN: dict[str, tuple[str, list[Line]]] = {
    "a check sent after the acknowledgment allows": (
        "allowed after an acknowledgment",
        [SESSION, REVOKED, ALLOWED],
    ),
    "the same by the session": (
        "allowed after an acknowledgment",
        [SESSION, replace(REVOKED, scope="session", value="s1"), ALLOWED],
    ),
    "the same by a group": (
        "allowed after an acknowledgment",
        [SESSION, replace(REVOKED, scope="group", value="app-users"), ALLOWED],
    ),
    "the same by the tenant": (
        "allowed after an acknowledgment",
        [SESSION, replace(REVOKED, scope="tenant", value=""), ALLOWED],
    ),
    "a session that began during a block": (
        "allowed after an acknowledgment",
        [replace(SESSION, began=7.0, at=8.0), BLOCKED, ALLOWED],
    ),
    "a tenant that is open to nobody": (
        "allowed after an acknowledgment",
        [SESSION, POLICY, ALLOWED, ALL_AGAIN],
    ),
    "nobody ended it": ("wrong logout", [SESSION, DENIED]),
    "somebody else was ended": ("wrong logout", [SESSION, replace(REVOKED, value="bob"), DENIED]),
    "the same name in another tenant was ended": (
        "wrong logout",
        [SESSION, replace(REVOKED, tenant="globex"), DENIED],
    ),
    "it was ended later": (
        "wrong logout",
        [SESSION, DENIED, replace(REVOKED, sent=11.0, acknowledged=12.0)],
    ),
    "it began after the acknowledgment": (
        "wrong logout",
        [replace(SESSION, began=7.0, at=8.0), REVOKED, DENIED],
    ),
    "the policy was lifted long ago": (
        "wrong logout",
        [
            SESSION,
            POLICY,
            ALL_AGAIN,
            replace(DENIED, sent=22.0 + GRANT_WITHIN_S, at=23.0 + GRANT_WITHIN_S),
        ],
    ),
    "nobody is served at the end": (
        "not served after recovery",
        [SESSION, AllHealed(9.0), UNAVAILABLE],
    ),
    "the identity of somebody else": (
        "wrong identity",
        [SESSION, replace(ALLOWED, email="bob@acme.test")],
    ),
    "the identity of another tenant": ("wrong identity", [SESSION, replace(ALLOWED, tenant="b")]),
    "no identity at all": ("wrong identity", [SESSION, replace(ALLOWED, email="", tenant="")]),
    "a host of another tenant": ("wrong tenant", [SESSION, replace(ALLOWED, host_tenant="b")]),
    "a cookie that nobody was given": (
        "allowed without a session",
        [replace(ALLOWED, session="")],
    ),
    "a check that is not told when to come again": (
        "503 without Retry-After",
        [SESSION, replace(UNAVAILABLE, retry_after=False)],
    ),
    "a hook that is not told when to come again": (
        "503 without Retry-After",
        [Answered("hooks", "POST", 1.0, 503, retry_after=False)],
    ),
    "a check that fails": ("undefined status", [SESSION, replace(UNAVAILABLE, status=500)]),
    "an admin API that fails": (
        "undefined status",
        [Answered("admin", "POST", 1.0, 500, retry_after=False)],
    ),
    "an event that was never applied": ("event lost", [replace(EVENT, states=("new",))]),
    "an event that is not there": ("event lost", [replace(EVENT, states=())]),
    "an event that is there twice": ("event twice", [replace(EVENT, states=("applied",) * 2)]),
    "a webhook that was never sent": ("webhook lost", [WebhookOwed("alice@acme.test", 3.0)]),
    "a webhook that was of before": (
        "webhook lost",
        [Webhook("w1", "d", ABOUT, 2.0), WebhookOwed("alice@acme.test", 3.0)],
    ),
    "a webhook about somebody else": (
        "webhook lost",
        [Webhook("w1", "d", "{}", 4.0), WebhookOwed("alice@acme.test", 3.0)],
    ),
    "a webhook repeated with another body": (
        "webhook changed",
        [Webhook("w1", "d", ABOUT, 4.0), Webhook("w1", "another", ABOUT, 5.0)],
    ),
    "a client that is nobody's": ("orphan in the pool", [InPool("client", "c1", "")]),
    "a recovery that took too long": (
        "recovery too slow",
        [Recovered(1, "kill (auth-0)", 31.0, 30.0)],
    ),
    "no recovery": ("recovery too slow", [Recovered(1, "kill (auth-0)", None, 30.0)]),
}
KEPT: dict[str, list[Line]] = {
    "allowed before anybody asked": [
        SESSION,
        ALLOWED,
        replace(REVOKED, sent=11.0, acknowledged=12.0),
    ],
    "sent before the acknowledgment": [SESSION, replace(REVOKED, acknowledged=10.05), ALLOWED],
    "denied before the acknowledgment": [SESSION, replace(REVOKED, acknowledged=12.0), DENIED],
    "never acknowledged, and allowed": [
        SESSION,
        replace(REVOKED, acknowledged=None, perhaps_until=99.0),
        ALLOWED,
    ],
    "never acknowledged, and denied": [
        SESSION,
        replace(REVOKED, acknowledged=None, perhaps_until=99.0),
        DENIED,
    ],
    "back after the revocation": [replace(SESSION, began=7.0, at=8.0), REVOKED, ALLOWED],
    "a login beside the revocation may be either": [
        replace(SESSION, began=5.5, at=7.0),
        REVOKED,
        ALLOWED,
        DENIED,
    ],
    "what was tried twice may happen twice": [
        replace(SESSION, began=7.0, at=8.0),
        replace(REVOKED, perhaps_until=9.0),
        DENIED,
    ],
    "back after the block was lifted": [
        replace(SESSION, began=8.2, at=9.0),
        BLOCKED,
        Lifted("b1", 7.0, 8.0),
        ALLOWED,
    ],
    "the policy denies, and is lifted": [SESSION, POLICY, DENIED, ALL_AGAIN],
    "the check overlaps with the lift": [
        SESSION,
        POLICY,
        replace(ALLOWED, at=20.5),
        ALL_AGAIN,
    ],
    "denied at another tenant's host": [SESSION, replace(DENIED, host_tenant="globex")],
    "garbage is denied": [replace(DENIED, session="")],
    "unavailable for a while": [SESSION, UNAVAILABLE, AllHealed(11.0)],
    "no answer at all": [SESSION, replace(UNAVAILABLE, status=0, retry_after=False)],
    "everything applied and told": [
        EVENT,
        WebhookOwed("alice@acme.test", 3.0),
        Webhook("w1", "d", ABOUT, 4.0),
        Webhook("w1", "d", ABOUT, 5.0),
        InPool("client", "c1", "acme"),
        Recovered(1, "kill (auth-0)", 29.0, 30.0),
    ],
}


@pytest.mark.parametrize(("rule", "history"), BROKEN.values(), ids=BROKEN)
def test_a_history_that_breaks_a_rule_breaks_that_one_alone(rule: str, history: list[Line]) -> None:
    assert [violation.rule for violation in violations(history)] == [rule]


@pytest.mark.parametrize("history", KEPT.values(), ids=KEPT)
def test_a_history_that_breaks_none_is_accepted(history: list[Line]) -> None:
    assert violations(history) == []


def test_no_rule_goes_without_a_history_that_breaks_it() -> None:
    histories = [Account(history) for _, history in BROKEN.values()]
    assert {rule for rule in RULES for account in histories if [*rule(account)]} == set(RULES)


def test_every_listener_has_statuses_and_none_of_them_is_an_internal_error() -> None:
    assert STATUSES.keys() == {"check", "public", "admin", "hooks"}
    assert not any(500 in statuses for statuses in STATUSES.values())


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    lines = [line for _, history in BROKEN.values() for line in history]
    history = History(tmp_path / "history")
    for line in lines:
        history.add(line)
    history.close()
    assert read((tmp_path / "history").read_text().splitlines()) == lines == history.lines
    assert encode(SESSION).startswith('{"type": "SessionStarted", "session": "s1"')
