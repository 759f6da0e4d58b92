"""What stands against a person, as far as an e-mail address and groups tell."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.explain import ActiveRestrictions, Hypothesis
from gateway.core.revocation import Who
from gateway.core.tenants import TenantTable
from gateway.errors import UnavailableError
from gateway.revocation.api import Standing
from gateway.tenants.api import Question
from gateway.tenants.explanations import Explanations, active_restrictions
from tests.core.build import NOW, tenant

ALICE = Hypothesis("app.acme.com", "/", "GET", email="Alice@acme.com", groups=("users", "admins"))
THEN = 1_790_000_000.0
SINCE = "since 2026-09-21 14:13 UTC by okta (lifted with: gateway blocks remove 1)"


def against(group: str | None = None, *, members: str | None = None, **who: str) -> Standing:
    """``group`` was taken away; without it a block. ``members``: of all in that group."""
    return Standing("1", "acme", Who(**who, group=members), "okta", "", THEN, 1, group)


CASES: dict[str, tuple[list[Standing], ActiveRestrictions]] = {
    "nothing": ([], ActiveRestrictions()),
    "a block of hers": ([against(email="alice@acme.com")], ActiveRestrictions(block=SINCE)),
    "a block of another": ([against(email="bob@acme.com")], ActiveRestrictions()),
    "a block of everybody": ([against()], ActiveRestrictions(block=SINCE)),
    "a block of a group": ([against(members="admins")], ActiveRestrictions(block=SINCE)),
    "a block of another group": ([against(members="guests")], ActiveRestrictions()),
    "a group taken away": (
        [against("admins", email="alice@acme.com")],
        ActiveRestrictions(groups=(("admins", SINCE),)),
    ),
    "a person by id": (
        [against(oid="1")],
        ActiveRestrictions(
            unknown=(
                "1 more of this tenant name people by their ids, not by an e-mail address: see "
                "gateway blocks list"
            )
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_stands_against_her(case: str) -> None:
    standing, expected = CASES[case]
    assert active_restrictions(standing, ALICE) == expected


def test_a_block_by_the_ids_of_her_last_login_is_hers_and_says_how_it_is_lifted() -> None:
    known = (Who(oid="1", provider="acme-entra"), Who(user="sub", provider="acme-entra"))
    for mine in (against(oid="1", provider="acme-entra"), against(oid="1"), against(user="sub")):
        assert active_restrictions([mine], ALICE, known=known) == ActiveRestrictions(block=SINCE)
    assert active_restrictions(
        [against("admins", oid="1")], ALICE, known=known
    ) == ActiveRestrictions(groups=(("admins", SINCE),))
    for other in (against(oid="2"), against(oid="1", provider="acme-okta"), against(session="s")):
        assert active_restrictions([other], ALICE, known=known).block == ""


async def ask(standing: Any, **more: Any) -> dict[str, Any]:
    explanations = Explanations(
        lambda: TenantTable.of([tenant()]), standing=standing, clock=lambda: NOW
    )
    asked: dict[str, Any] = {
        "host": "app.acme.com",
        "path": "/",
        "method": "GET",
        "email": "alice@acme.com",
        "groups": ("users",),
        "roles": (),
        "provider": None,
        "signed_in": True,
        **more,
    }
    found = await explanations.explain(Question(**asked))
    return {} if found is None else found


async def test_without_sql_it_explains_and_says_what_it_did_not_look_at() -> None:
    async def away(_: str) -> list[Standing]:
        msg = "SQL does not answer"
        raise UnavailableError(msg)

    found = await ask(away)
    assert found["decision"] == "allow"
    assert {
        "step": "blocks",
        "passed": True,
        "detail": "not looked at: SQL does not answer",
    } in found["steps"]


async def test_nothing_is_looked_up_of_a_tenant_that_the_asker_may_not_know() -> None:
    async def never(_: str) -> list[Standing]:
        raise AssertionError

    assert await ask(never, tenant="globex") == {}
