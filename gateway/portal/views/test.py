"""The test sign-in: a whole login through the new provider that makes no session."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from gateway.core.reason import Reason
from gateway.core.signed_link import PATH
from gateway.portal.guides import guide_of
from gateway.portal.texts import TEST_PROBLEMS
from gateway.portal.visit import PREFIX, Failed, Moved, Page, Shown
from gateway.setup.model import Part, Phase

if TYPE_CHECKING:
    from gateway.portal.visit import Visit

_PASSES: Final = frozenset(
    {
        Reason.PROVIDER_INACTIVE,
        Reason.TENANT_INACTIVE,
        Reason.GROUP_MISSING,
        Reason.ROLE_MISSING,
    }
)
"""Decisions about somebody whom the provider did sign in: who gets in is chosen afterwards."""
_TECHNICAL: Final = frozenset(
    {
        *("at_hash", "aud", "auth_time", "event_id", "exp", "iat", "identities", "iss", "jti"),
        *("nonce", "origin_jti", "sub", "token_use"),
    }
)
"""Claims of every token of Cognito's: nothing that the identity provider was set up to send."""
HERE: Final = f"{PREFIX}/test"


async def show_test(visit: Visit) -> Shown | Moved:
    work = visit.link.work
    if not work.name:
        return Moved(PREFIX)
    result = await _result(visit) if work.test else None
    address = ""
    if work.test and (result is None or result["state"] != "done"):
        query = urlencode({"token": work.test, "provider": work.name})
        config = visit.rooms.config
        address = f"{config.origin(str(config.login_host))}{PATH}?{query}"
    guide = guide_of(work.provider, work.protocol)
    return Shown(
        "test",
        {
            "work": work,
            "result": result,
            "address": address,
            "claims": [
                name
                for name in work.claims or (result["claims"] if result else ())
                if name not in _TECHNICAL and not name.startswith("cognito:")
            ],
            "has_failed": result is not None
            and result["state"] in {"done", "cognito"}
            and not passes(result, work.name),
            "failed": TEST_PROBLEMS.get(result["detail"], "") if result else "",
            "passed": work.tested_at is not None,
            "no_groups": guide.no_groups if guide is not None else "",
        },
    )


async def start_test(visit: Visit) -> Moved | Failed:
    """A new link for one sign-in. It is followed from a link of ours: a form's redirects would be
    held against the page's policy.
    """
    work = visit.link.work
    if not work.name:
        return Moved(PREFIX)
    answer = await visit.reach.ask("test_tenant")
    if not answer.ok:
        return Failed(answer.status, answer.code, answer.detail)
    token = parse_qs(urlsplit(answer.document["url"]).query)["token"][0]
    outcome = await visit.save(replace(work, test=token), "setup.test.started")
    return outcome if isinstance(outcome, Failed) else Moved(HERE, "test_ready")


async def check_test(visit: Visit) -> Moved | Failed:
    """Puts down what the test brought."""
    work = visit.link.work
    result = await _result(visit) if work.test else None
    if result is None or result["state"] in {"not_opened", "begun"}:
        return Moved(HERE, "not_yet")
    if not passes(result, work.name):
        await visit.note("setup.test.failed", {"detail": result["detail"]})
        return Moved(HERE)
    new_work = replace(
        work,
        phase=Phase.TESTED if work.phase is Phase.SAVED else work.phase,
        tested_at=result["at"],
        tester=visit.link.claimed_by,
        groups=tuple(result["groups"]),
        claims=tuple(result["claims"]),
    )
    outcome = await visit.save(new_work, "setup.test.passed", {"groups": list(result["groups"])})
    return outcome if isinstance(outcome, Failed) else Moved(HERE, "passed")


def passes(result: dict[str, Any], provider: str) -> bool:
    """Whether somebody came all the way through this provider."""
    return (
        result["state"] == "done"
        and result["provider"] == provider
        and (result["allowed"] or result["detail"] in _PASSES)
    )


async def _result(visit: Visit) -> dict[str, Any] | None:
    answer = await visit.reach.ask("get_tenant_test", query={"token": visit.link.work.test})
    return answer.document if answer.ok else None


_PARTS: Final = frozenset({Part.SIGN_IN, Part.RENEW})
PAGES: Final = (
    Page("/test", show_test, _PARTS),
    Page("/test/start", start_test, _PARTS, form=True),
    Page("/test/check", check_test, _PARTS, form=True),
)
