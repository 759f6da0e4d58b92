"""Whoever spells a person or group, and however: every door leads to the same index entries, marks
and overlays.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.admin.routes.revocations import WhoBody
from gateway.cli.sessions import one_who
from gateway.cognito.users import CognitoUsers
from gateway.core.explain import Hypothesis
from gateway.core.model import ProviderKind
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.hooks.effects import Found, groups_that_count, plan
from gateway.hooks.event import Effect, Group, HookEvent, Source, Subject
from gateway.hooks.people import SignedIn
from gateway.hooks.scim import resources
from gateway.hooks.sources import backchannel_logout, okta, ssf, universal_logout
from gateway.hooks.sources import entra as graph
from gateway.keys import ring as keys
from gateway.revocation.api import Standing
from gateway.sessions.aliases import AliasIndex
from gateway.sessions.directory import StoreDirectory
from gateway.sessions.watermarks import Watermarks, revocation_keys
from gateway.tenants.explanations import active_restrictions
from tests.hooks.samples import DIRECTORY, NOW, okta_delivery, okta_event, raw, sign
from tests.hooks.samples import keys as signing_keys
from tests.hooks.world import SECRET, okta_target
from tests.sessions.conftest import Login, identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sessions.connection import RedisClient
    from gateway.sessions.store import RedisSessions

ADDRESSES = (
    "josé@bücher.test",
    "jose\u0301@bu\u0308cher.test",
    "José@xn--bcher-kva.test",
    "JOSE\u0301@BÜCHER.TEST",
)
GUIDS = ("6f2c8f6e-6f0e-4d2b-9a52-0f2b7f9a1c01", "6F2C8F6E-6F0E-4D2B-9A52-0F2B7F9A1C01")
IDS = ("josé", "jose\u0301")
GROUPS = ("Café", "Cafe\u0301")
SPELLINGS = {"email": ADDRESSES, "oid": GUIDS, "idp_subject": IDS, "user": GUIDS, "group": GROUPS}
ISSUER, ENDPOINT = "https://idp.example", "https://hooks.example/x"


def scim_subject(document: dict[str, Any], kind: ProviderKind = ProviderKind.OKTA) -> Subject:
    return resources.subject(document, kind)


def okta_person(*, user: str = "00u1", login: str = "") -> Subject:
    event = okta_event("user.lifecycle.deactivate", user=user)
    event["target"][0]["alternateId"] = login
    return one_subject(okta.parse_delivery(raw(okta_delivery(event))).events)


def one_subject(events: tuple[HookEvent, ...]) -> Subject:
    assert len(events) == 1
    assert events[0].subject is not None
    return events[0].subject


def security_event(subject: dict[str, str], *, entra: bool = False) -> Subject:
    claims = {
        "iss": ISSUER,
        "aud": "r",
        "iat": NOW,
        "jti": "1",
        "sub_id": subject,
        "events": {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}},
    }
    body = sign(claims, typ="secevent+jwt").encode()
    return one_subject(
        ssf.parse_delivery(
            body,
            keys=signing_keys(),
            issuers=frozenset({ISSUER}),
            audiences=frozenset({"r"}),
            now=NOW,
            entra=entra,
        ).events
    )


def revocation_request(subject: dict[str, str]) -> Subject:
    token = sign(
        {"iss": ISSUER, "aud": ENDPOINT, "iat": NOW, "exp": NOW + 60},
        typ="global-token-revocation+jwt",
    )
    body = raw({"sub_id": subject})
    return one_subject(
        universal_logout.parse_delivery(
            body,
            token=token,
            keys=signing_keys(),
            issuers=frozenset({ISSUER}),
            endpoint=ENDPOINT,
            client_id=None,
            now=NOW,
        ).events
    )


def logout_token(sub: str) -> Subject:
    token = sign(
        {
            "iss": ISSUER,
            "aud": "r",
            "iat": NOW,
            "jti": "1",
            "sub": sub,
            "events": {backchannel_logout.EVENT: {}},
        },
        typ="logout+jwt",
    )
    return one_subject(
        backchannel_logout.parse_delivery(
            f"logout_token={token}".encode(),
            keys=signing_keys(),
            issuers=frozenset({ISSUER}),
            audiences=frozenset({"r"}),
            now=NOW,
        ).events
    )


def notification(oid: str) -> Subject:
    entry = {
        "subscriptionId": "s",
        "changeType": "deleted",
        "clientState": SECRET,
        "tenantId": DIRECTORY,
        "resource": f"users/{oid}",
        "resourceData": {"id": oid.lower()},
    }
    return one_subject(
        graph.parse_delivery(
            raw({"value": [entry]}), client_states=okta_target().secrets, directory_id=DIRECTORY
        ).events
    )


def by_event(subject: Subject) -> tuple[Who, ...]:
    planned = plan(
        HookEvent(Source.OKTA, "t", Effect.BLOCK, subject, None, 1.0),
        target=okta_target(),
        kept=None,
        received_at=2.0,
        found=Found(),
    )
    return tuple(replace(request.who, provider=None) for request in planned.revoke)


def of_group(group: Group) -> Who:
    target = okta_target(groups_used=frozenset({GROUPS[1]}))
    planned = plan(
        HookEvent(Source.OKTA, "t", Effect.GROUP_DELETED, None, group, 1.0),
        target=target,
        kept=None,
        received_at=2.0,
        found=Found(),
    )
    return replace(planned.revoke[0].who, provider=None)


DOORS: list[tuple[str, str, Callable[[str], Who | tuple[Who, ...]]]] = [
    *(
        (f"api-{kind}", kind, lambda s, kind=kind: WhoBody.model_validate({kind: s}).who())
        for kind in SPELLINGS
    ),
    *(
        (
            f"command-{kind}",
            kind,
            lambda s, kind=kind: WhoBody.model_validate(one_who(**{kind: s})).who(),
        )
        for kind in SPELLINGS
    ),
    ("okta-login", "email", lambda s: by_event(Subject(email=okta_person(login=s).email))),
    ("okta-id", "idp_subject", lambda s: by_event(okta_person(user=s))),
    ("okta-group", "group", lambda s: of_group(Group("00g9", s))),
    ("graph-user", "oid", lambda s: by_event(notification(s))),
    ("scim-user-name", "email", lambda s: by_event(scim_subject({"userName": s}))),
    (
        "scim-email",
        "email",
        lambda s: by_event(scim_subject({"userName": "x", "emails": [{"value": s}]})),
    ),
    (
        "scim-external-id",
        "idp_subject",
        lambda s: by_event(scim_subject({"userName": "x", "externalId": s})),
    ),
    (
        "scim-object-id",
        "oid",
        lambda s: by_event(scim_subject({"userName": "x", "externalId": s}, ProviderKind.ENTRA)),
    ),
    ("ssf-email", "email", lambda s: by_event(security_event({"format": "email", "email": s}))),
    (
        "ssf-iss-sub",
        "idp_subject",
        lambda s: by_event(security_event({"format": "iss_sub", "iss": ISSUER, "sub": s})),
    ),
    (
        "ssf-opaque-entra",
        "oid",
        lambda s: by_event(security_event({"format": "opaque", "id": s}, entra=True)),
    ),
    (
        "universal-logout-email",
        "email",
        lambda s: by_event(revocation_request({"format": "email", "email": s})),
    ),
    (
        "universal-logout-iss-sub",
        "idp_subject",
        lambda s: by_event(revocation_request({"format": "iss_sub", "iss": ISSUER, "sub": s})),
    ),
    ("back-channel", "idp_subject", lambda s: by_event(logout_token(s))),
]
RING = keys.generate()
PEOPLE = AliasIndex("acme", RING.sealing)


@pytest.mark.parametrize(
    ("kind", "door"), [pytest.param(kind, door, id=name) for name, kind, door in DOORS]
)
def test_every_door_leads_every_spelling_to_where_every_login_is_entered(
    kind: str, door: Callable[[str], Who | tuple[Who, ...]]
) -> None:
    field = {"user": "sub", "group": "groups"}.get(kind, kind)
    for login, said in product(SPELLINGS[kind], SPELLINGS[kind]):
        changed: Any = {field: (login,) if kind == "group" else login}
        who = replace(identity(), **changed)
        named = door(said)
        # A record says several names of its person; each is acted on, and one of them is this.
        found = [
            revocation_keys(PEOPLE, one, group="Café")
            for one in (named if isinstance(named, tuple) else (named,))
        ]
        reached = [where for where in found if set(where.indexes) & set(PEOPLE.index(who))]
        assert len(reached) == 1, (login, said)
        assert set(reached[0].marks) <= set(PEOPLE.marks(who, family="f")), (
            "also what a bearer link remembers (standing)"
        )
        assert set(reached[0].marks) <= set(PEOPLE.standing(who))


@pytest.mark.parametrize("reported", GROUPS)
@pytest.mark.parametrize("taken", GROUPS)
def test_a_group_taken_away_is_found_in_what_a_login_reports(reported: str, taken: str) -> None:
    where = revocation_keys(PEOPLE, Who(email="alice@acme.test"), group=taken)
    overlays = {
        place.key: place.groups
        for place in PEOPLE.overlays(replace(identity(), groups=(reported,)))
    }
    assert [
        overlays[key].get(name) for key, name in zip(where.overlays, where.fields, strict=True)
    ] == [reported]
    assert (
        RevocationRequest(
            "acme", Who(), RevocationKind.END_SESSIONS, "", "okta", group_overlay=taken
        ).group_overlay
        == "Café"
    )
    assert groups_that_count(okta_target(groups_used=frozenset({reported})), Group("g", taken)) == (
        "Café",
    )


@pytest.mark.parametrize("asked", ADDRESSES)
@pytest.mark.parametrize("said", ADDRESSES)
def test_an_explanation_knows_a_block_in_every_spelling(asked: str, said: str) -> None:
    standing = (
        Standing("1", "acme", Who(email=said), "okta", "", 0.0, 1),
        Standing("2", "acme", Who(group="Cafe\u0301"), "okta", "", 0.0, 1, "Cafe\u0301"),
    )
    found = active_restrictions(standing[:1], Hypothesis("h", "/", "GET", email=asked))
    assert found.block
    assert Hypothesis("h", "/", "GET", email=asked, groups=("Cafe\u0301",)).groups == ("Café",)


@pytest.mark.parametrize("door", ["email", "oid", "user"])
async def test_ended_means_ended_and_listed_means_listed_in_every_spelling(
    redis: RedisClient, ring: keys.KeyRing, sessions: RedisSessions, login: Login, door: str
) -> None:
    directory = StoreDirectory(redis, lambda: ring)
    marks = Watermarks(redis, lambda: ring)
    for signed_in, said in product(SPELLINGS[door], SPELLINGS[door]):
        changed: Any = {"sub" if door == "user" else door: signed_in}
        stored = await login.finish(identity=replace(identity(), **changed))
        if door != "user":
            (person,) = await SignedIn(directory, lambda: ring).find(
                "acme", provider="acme-okta", **{door: said}
            )
            assert (person.idp_subject, person.oid) == (
                stored.session.identity.idp_subject or "",
                stored.session.identity.oid or "",
            )
        if door != "oid":
            page = await directory.page(
                tenant="acme",
                user=said if door == "user" else None,
                email=said if door == "email" else None,
                position=None,
                limit=5,
            )
            assert [view.session for view in page.items] == [stored.session.family]
        swept = await marks.revoke(
            "acme", revocation_keys(marks.alias_index("acme"), Who(**{door: said}))
        )
        assert swept.sessions == 1, (signed_in, said)


async def test_the_pool_is_asked_for_every_spelling_that_it_may_hold_and_loses_the_group_in_each() -> (  # noqa: E501 - a test's name is a sentence
    None
):
    calls: list[tuple[str, dict[str, Any]]] = []

    async def call(operation: str, *, idempotent: bool, **arguments: Any) -> dict[str, Any]:
        calls.append((operation, arguments))
        if operation == "ListUsers":
            return {
                "Users": [{"Username": "acme-okta_1"}] if "bücher" in arguments["Filter"] else []
            }
        return {"UserAttributes": [{"Name": "custom:groups", "Value": "[Cafe%CC%81, Sales]"}]}

    users = CognitoUsers(cast("Any", SimpleNamespace(call=call)))
    assert await users.usernames(Who(email=ADDRESSES[3]).email or "") == ("acme-okta_1",)
    assert await users.remove_group("acme-okta_1", "Café", url_decode_groups=True)
    assert calls[-1][1]["UserAttributes"] == [{"Name": "custom:groups", "Value": "[Sales]"}]
