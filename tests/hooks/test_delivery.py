"""The table of deliveries: what arrives, which status it gets, what it does, what the log says."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from sqlalchemy import select

from gateway.core.model import ProviderKind, Secret
from gateway.core.person import Person
from gateway.database.schema import hook_deliveries, hook_secret_uses
from gateway.hooks.activity import read_activity
from gateway.hooks.receive.delivery import FAILURES_AT_ONCE
from gateway.hooks.secret_uses import (
    KEPT_S,
    RESOLUTION_S,
    SecretUses,
    forget_old_uses,
    read_uses,
    write_uses,
)
from gateway.hooks.sources import backchannel_logout
from gateway.hooks.sources.credential import client_state
from gateway.hooks.sources.okta import EFFECTS
from tests.hooks.samples import DIRECTORY, load, okta_delivery, okta_event, sign
from tests.hooks.world import (
    GLOBEX_SECRET,
    PREVIOUS,
    SECRET,
    hooks_world,
    issuer_app,
    okta_target,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import aiohttp

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from tests.hooks.world import World

OKTA, ENTRA = "/hooks/okta/acme/acme-okta", "/hooks/entra/globex/globex-entra"
LUCA = "00ufh433fil4JtjEw4x7"


def outcomes(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.gateway_fields["outcome"] for r in caplog.records if r.message == "hook"]  # type: ignore[attr-defined]  # what log.fields attaches


def assert_explained(caplog: pytest.LogCaptureFixture, code: str) -> None:
    """Each refusal says what, why, what to look at, and in which request."""
    for record in caplog.records:
        if record.message == "hook":
            told = record.gateway_fields  # type: ignore[attr-defined]  # what log.fields attaches
            assert told["code"] == code
            assert told["cause"] and told["setting"] and told["request_id"]


def a_group_event(kind: str, **more: Any) -> dict[str, Any]:
    entry = okta_event(kind, group="00g3vcxkvkIPY52jL4x7", **more)
    if kind == "application.user_membership.remove":
        entry["target"][1] |= {"type": "AppInstance", "id": "0oa1"}
    return entry


@pytest.mark.parametrize("kind", sorted(EFFECTS))
async def test_each_okta_event_type_is_acknowledged_applied_once_and_not_again(
    world: World, kind: str
) -> None:
    document = okta_delivery(a_group_event(kind))
    assert await world.okta(document) == 200
    await world.settled()
    calls = list(world.revoker.calls)
    assert await world.okta(document) == 200
    assert await world.okta(okta_delivery(a_group_event(kind), event_id="another-envelope")) == 200
    await world.settled()
    assert world.revoker.calls == calls
    # Another name alone takes nothing away from anybody: what the group was called before is not
    # known here.
    gives_back = EFFECTS[kind].value in {"lift", "group_added", "group_renamed"}
    assert bool(calls) is not gives_back
    assert [state for _, state, _ in await world.states()] == [
        "ignored" if gives_back else "applied"
    ]


@pytest.mark.parametrize(
    ("headers", "body", "status", "outcome"),
    [
        pytest.param(
            {"Authorization": SECRET},
            lambda: json.dumps(okta_delivery(okta_event("user.lifecycle.suspend"))).encode(),
            200,
            "accepted",
            id="valid",
        ),
        pytest.param(
            {"Authorization": PREVIOUS},
            lambda: json.dumps(okta_delivery(okta_event("user.lifecycle.suspend"))).encode(),
            200,
            "accepted",
            id="secret-before-rotation",
        ),
        pytest.param(
            {"Authorization": f"Bearer {SECRET}"},
            lambda: json.dumps(okta_delivery(okta_event("user.lifecycle.suspend"))).encode(),
            200,
            "accepted",
            id="secret-as-bearer",
        ),
        pytest.param({}, lambda: b"{}", 401, "unauthenticated", id="no-secret"),
        pytest.param(
            {"Authorization": "wrong"}, lambda: b"{}", 401, "unauthenticated", id="wrong-secret"
        ),
        pytest.param(
            {"Authorization": GLOBEX_SECRET},
            lambda: b"{}",
            401,
            "unauthenticated",
            id="another-tenants-secret",
        ),
        pytest.param(
            {"Authorization": SECRET},
            lambda: json.dumps(okta_delivery(okta_event("user.mfa.factor.update"))).encode(),
            200,
            "ignored",
            id="unknown-type",
        ),
        pytest.param(
            {"Authorization": SECRET},
            lambda: b" " * (1024 * 1024) + b"{}",
            413,
            "too_large",
            id="huge",
        ),
        pytest.param(
            {"Authorization": SECRET}, lambda: b"not json", 400, "malformed", id="not-json"
        ),
        pytest.param(
            {"Authorization": SECRET, "Content-Type": "text/plain"},
            lambda: b"{}",
            415,
            "content_type",
            id="wrong-content-type",
        ),
        pytest.param(
            {"Authorization": SECRET, "Content-Encoding": "gzip"},
            lambda: b"",
            415,
            "content_type",
            id="compressed",
        ),
    ],
)
async def test_okta_delivery(
    world: World,
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    body: Callable[[], bytes],
    status: int,
    outcome: str,
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    answered, text = await world.post(
        OKTA, data=io.BytesIO(body()), headers={"Content-Type": "application/json", **headers}
    )
    assert answered == status
    assert outcomes(caplog) == [outcome]
    assert SECRET not in caplog.text
    assert "luca" not in caplog.text + text
    if status != 200:
        assert_explained(caplog, outcome)
        assert await world.states() == []


async def test_a_hundred_with_one_malformed_are_applied_and_the_one_is_shown(world: World) -> None:
    entries: list[object] = [
        okta_event("user.lifecycle.suspend", uuid=f"u-{n}", user=f"00u{n}") for n in range(99)
    ]
    entries.insert(50, {"eventType": "user.lifecycle.suspend"})
    assert await world.okta(okta_delivery(*entries)) == 200
    await world.settled()
    assert len(world.revoker.standing) == 99


@pytest.mark.parametrize("order", ["in order", "reordered"])
async def test_removed_then_added_ends_in_the_same_state_in_either_order(
    world: World, order: str
) -> None:
    events = [
        okta_event(
            "group.user_membership.remove",
            uuid="a",
            group="00g3vcxkvkIPY52jL4x7",
            published="2026-01-01T00:00:00Z",
        ),
        okta_event(
            "group.user_membership.add",
            uuid="b",
            group="00g3vcxkvkIPY52jL4x7",
            published="2026-01-01T00:00:05Z",
        ),
    ]
    for event in events if order == "in order" else reversed(events):
        assert await world.okta(okta_delivery(event, event_id=event["uuid"])) == 200
        await world.settled()
    assert world.revoker.standing == set()
    assert any(verb == "revoke" for verb, _ in world.revoker.calls)


def forged(typ: str) -> str:
    """Well-formed, and signed by somebody else."""
    return sign(
        {
            "iss": "https://x",
            "aud": "x",
            "iat": int(time.time()),
            "jti": "1",
            "sub": "x",
            "events": {},
        },
        typ=typ,
        kid="nobodys",
    )


UNPROVEN: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "okta": (
        "POST",
        "/hooks/okta/{}",
        "acme/acme-okta",
        {"json": {}, "headers": {"Authorization": "wrong"}},
    ),
    "okta-without": ("POST", "/hooks/okta/{}", "acme/acme-okta", {"json": {}}),
    "okta-verification": (
        "GET",
        "/hooks/okta/{}",
        "acme/acme-okta",
        {"headers": {"x-okta-verification-challenge": "abc"}},
    ),
    "entra": (
        "POST",
        "/hooks/entra/{}",
        "globex/globex-entra",
        {"json": {"value": [{"clientState": "wrong"}]}},
    ),
    "entra-empty": ("POST", "/hooks/entra/{}", "globex/globex-entra", {"json": {"value": []}}),
    "entra-no-object": ("POST", "/hooks/entra/{}", "globex/globex-entra", {"json": {"value": [1]}}),
    "entra-malformed": ("POST", "/hooks/entra/{}/lifecycle", "globex/globex-entra", {"json": {}}),
    "entra-handshake": ("POST", "/hooks/entra/{}?validationToken=abc", "globex/globex-entra", {}),
    "scim": (
        "GET",
        "/scim/v2/{}/Users",
        "acme/acme-okta",
        {"headers": {"Authorization": "Bearer wrong"}},
    ),
    "scim-write": (
        "POST",
        "/scim/v2/{}/Groups",
        "globex/globex-entra",
        {"json": {}, "headers": {"Authorization": "Bearer wrong"}},
    ),
    "universal-logout": ("POST", "/hooks/universal-logout/{}", "acme/acme-okta", {"json": {}}),
    "universal-logout-forged": (
        "POST",
        "/hooks/universal-logout/{}",
        "acme/acme-okta",
        {
            "json": {},
            "headers": {"Authorization": f"Bearer {forged('global-token-revocation+jwt')}"},
        },
    ),
    "backchannel": (
        "POST",
        "/hooks/backchannel/{}",
        "acme/acme-okta",
        {"data": {"logout_token": forged("logout+jwt")}},
    ),
    "backchannel-malformed": (
        "POST",
        "/hooks/backchannel/{}",
        "acme/acme-okta",
        {"data": {"logout_token": "x"}},
    ),
    "ssf": (
        "POST",
        "/hooks/ssf/{}",
        "acme/acme-okta",
        {"data": forged("secevent+jwt"), "headers": {"Content-Type": "application/secevent+jwt"}},
    ),
    "ssf-wrong-secret": (
        "POST",
        "/hooks/ssf/{}",
        "acme/acme-okta",
        {
            "data": "x",
            "headers": {
                "Content-Type": "application/secevent+jwt",
                "Authorization": "Bearer wrong",
            },
        },
    ),
}


@pytest.mark.parametrize("name", UNPROVEN)
async def test_a_name_that_is_nobodys_is_answered_like_a_wrong_proof(
    world: World, name: str
) -> None:
    method, path, known, request = UNPROVEN[name]
    entra = "entra" in path
    answers = []
    for target in (
        known,
        "none/acme-okta",
        "acme/none",
        "acme/acme-okta" if entra else "none/none",
    ):
        async with world.http.request(
            method, world.url + path.format(target), **request
        ) as response:
            headers = {
                k: v
                for k, v in response.headers.items()
                if k.lower() not in {"date", "x-request-id"}
            }
            answers.append(
                (response.status, headers, (await response.read()).replace(target.encode(), b""))
            )
    assert answers.count(answers[0]) == len(answers), answers
    assert answers[0][0] != 404
    assert await world.states() == []
    assert await deliveries(world) == 0, "a stranger leaves no row"


async def deliveries(world: World) -> int:
    async with world.database.read() as connection:
        return len((await connection.execute(select(hook_deliveries.c.id))).all())


async def test_what_is_not_configured_is_told_to_the_operator_and_not_to_the_sender(
    world: World,
) -> None:
    known = world.targets.by_key["globex", "globex-entra"]
    world.targets.by_key[known.key] = replace(known, secrets=())
    assert (
        await world.post("/hooks/entra/globex/globex-entra", json={"value": [{"clientState": "x"}]})
    )[0] == 202
    assert {outcome for _, _, _, outcome, _ in world.activity_counter._counts} == {
        "not_configured",
        "client_state",
    }


async def test_failed_proofs_are_limited_and_a_right_one_always_passes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    statuses = [await world.okta({}, secret="wrong") for _ in range(FAILURES_AT_ONCE + 20)]
    assert statuses[:FAILURES_AT_ONCE] == [401] * FAILURES_AT_ONCE
    assert set(statuses[FAILURES_AT_ONCE:]) <= {429, 401}
    assert statuses.count(429) > 10
    assert len([r for r in caplog.records if r.message == "hook"]) == statuses.count(401), (
        "what is refused by the number is not written down one by one"
    )
    assert await world.okta(okta_delivery(okta_event("user.lifecycle.suspend"))) == 200
    status, _ = await world.post(
        "/scim/v2/globex/globex-entra/Users",
        json={"userName": "x"},
        headers={"Authorization": f"Bearer {GLOBEX_SECRET}"},
    )
    assert status == 201, "another target is not concerned"
    assert (
        await world.post(
            "/scim/v2/globex/globex-entra/Users", json={}, headers={"Authorization": "Bearer wrong"}
        )
    )[0] == 401


async def test_verification_of_okta(world: World) -> None:
    async with world.http.get(
        world.url + OKTA, headers={"x-okta-verification-challenge": "8BqL-xyz"}
    ) as response:
        assert (response.status, await response.json()) == (200, {"verification": "8BqL-xyz"})
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    async with world.http.get(world.url + OKTA) as response:
        assert response.status == 400


@pytest.mark.parametrize("path", [ENTRA, f"{ENTRA}/lifecycle"])
async def test_graph_handshake_is_plain_text_whatever_it_holds(world: World, path: str) -> None:
    token = "Validation: <script>alert(1)</script> & 100%"
    async with world.http.post(f"{world.url}{path}?validationToken={quote(token)}") as response:
        assert (response.status, await response.text(), response.content_type) == (
            200,
            token,
            "text/plain",
        )
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    async with world.http.post(
        f"{world.url}{path}?validationToken=a&validationToken=b"
    ) as response:
        assert response.status == 400


def graph_document(name: str, *, secret: str = GLOBEX_SECRET) -> Any:
    from gateway.core.model import Secret

    state = client_state(Secret(secret), tenant="globex", provider="globex-entra")
    return json.loads(json.dumps(load(name)).replace('"STATE"', json.dumps(state)))


async def test_graph_removal_applies_at_once(world: World) -> None:
    assert (await world.post(ENTRA, json=graph_document("graph_group_member_removed.json")))[
        0
    ] == 202
    await world.settled()
    gid = "6f2c8f6e-6f0e-4d2b-9a52-0f2b7f9a1c01"
    assert world.revoker.said() == [
        ("revoke", "end_sessions", "b6f0c1f0-0f6e-4d7a-8d50-2f0e1d6a7b11", gid)
    ]


async def test_graph_with_a_wrong_client_state_is_202_and_leaves_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    assert (
        await world.post(
            ENTRA, json=graph_document("graph_group_member_removed.json", secret="guessed")
        )
    )[0] == 202
    assert outcomes(caplog) == ["client_state"]
    assert_explained(caplog, "client_state")
    async with world.database.read() as connection:
        from sqlalchemy import func

        from gateway.database.schema import hook_deliveries

        assert (
            await connection.execute(func.count(hook_deliveries.c.id).select())
        ).scalar_one() == 0


async def test_graph_user_update_is_looked_up(world: World) -> None:
    oid = "b6f0c1f0-0f6e-4d7a-8d50-2f0e1d6a7b11"
    world.directory.accounts[oid] = False
    assert (await world.post(ENTRA, json=graph_document("graph_user_updated.json")))[0] == 202
    await world.settled()
    assert world.revoker.said() == [("revoke", "block", oid, None)]
    world.directory.accounts[oid] = True
    world.clock.ahead += 60
    assert (await world.post(ENTRA, json=graph_document("graph_user_updated.json")))[0] == 202
    await world.settled()
    assert world.revoker.said()[1:] == [("lift", "block", oid, None)]


async def test_graph_lifecycle_reaches_the_subscriptions(world: World) -> None:
    assert (await world.post(f"{ENTRA}/lifecycle", json=graph_document("graph_lifecycle.json")))[
        0
    ] == 202
    await world.settled()
    assert world.directory.lifecycles == [
        ("7f105c7d-2dc5-4530-97cd-4e7ae6534c07", "reauthorizationRequired")
    ]


async def test_back_channel_logout_over_http(world: World) -> None:
    issuer = world.targets.by_key["acme", "acme-okta"].issuer
    now = int(world.clock())
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": LUCA,
        "aud": "0oa1",
        "iat": now,
        "exp": now + 60,
        "jti": "j-1",
        "events": {backchannel_logout.EVENT: {}},
    }
    form = urlencode({"logout_token": sign(claims, typ="logout+jwt")}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for _ in range(2):
        assert (await world.post("/hooks/backchannel/acme/acme-okta", data=form, headers=headers))[
            0
        ] == 200
    await world.settled()
    assert world.revoker.said() == [("revoke", "end_sessions", LUCA, None)]
    status, text = await world.post(
        "/hooks/backchannel/acme/acme-okta", data=form[:-8], headers=headers
    )
    assert (status, json.loads(text)["error"]) == (400, "invalid_request")


def logout_form(claims: dict[str, Any]) -> bytes:
    return urlencode({"logout_token": sign(claims, typ="logout+jwt")}).encode()


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def oidc_target(world: World, issuer: str) -> None:
    world.targets.by_key["acme", "acme-okta"] = okta_target(issuer, kind=ProviderKind.OIDC)


@pytest.mark.parametrize("configured", ["", "/"], ids=["configured-without", "configured-with"])
@pytest.mark.parametrize("spelled", ["", "/"], ids=["spelled-without", "spelled-with"])
async def test_signed_messages_are_compared_with_the_issuer_that_discovery_spells(
    world: World, configured: str, spelled: str
) -> None:
    now = int(world.clock())
    async with serving(issuer_app(spelled)) as origin:
        oidc_target(world, origin + configured)
        for ending in ("", "/"):
            claims = {
                "iss": origin + ending,
                "sub": LUCA,
                "aud": "0oa1",
                "iat": now,
                "exp": now + 60,
                "jti": f"j{ending}",
                "events": {backchannel_logout.EVENT: {}},
            }
            assert (
                await world.post(
                    "/hooks/backchannel/acme/acme-okta", data=logout_form(claims), headers=FORM
                )
            )[0] == (200 if ending == spelled else 400)
    await world.settled()
    assert world.revoker.said() == [("revoke", "end_sessions", LUCA, None)]


@pytest.mark.parametrize(
    ("spelled", "discovery", "status", "outcome", "told"),
    [
        ("/elsewhere", 200, 400, "not_configured", "its discovery document names the issuer"),
        ("", 404, 400, "not_configured", "answers 404"),
        ("", 302, 400, "not_configured", "answers 302"),
        ("", 503, 503, "unavailable", "answers 503"),
        ("", None, 503, "unavailable", "does not answer"),
    ],
)
async def test_an_issuer_that_is_wrong_is_told_as_such_and_one_that_is_away_as_such(
    world: World, spelled: str, discovery: int | None, status: int, outcome: str, told: str
) -> None:
    """The sender of a permanently wrong one is not asked to come again, and its operator is not
    sent to look at a store.
    """
    now = int(world.clock())
    async with serving(issuer_app(spelled, discovery or 200)) as origin:
        oidc_target(world, origin if discovery else "http://127.0.0.1:1")
        claims = {
            "iss": origin,
            "sub": LUCA,
            "aud": "0oa1",
            "iat": now,
            "exp": now + 60,
            "jti": "j",
            "events": {backchannel_logout.EVENT: {}},
        }
        assert (
            await world.post(
                "/hooks/backchannel/acme/acme-okta",
                data=logout_form(claims),
                headers=FORM,
                attempts=1,
            )
        )[0] == status
    await world.activity_counter.flush()
    refused = {
        a.outcome: a.detail
        for a in (await read_activity(world.database, "acme", "acme-okta", since=0.0)).refused
    }
    assert told in refused[outcome] and "providers[].issuer http://127.0.0.1" in refused[outcome]
    assert ("unavailable" in refused) == (status == 503)


async def test_a_message_of_an_issuer_that_is_away_is_not_refused_for_its_siblings_keys(
    world: World,
) -> None:
    """Okta's organization and its authorization server have keys of their own; with one set alone,
    nobody knows whose key is unknown.
    """
    now = int(world.clock())
    async with serving(issuer_app()) as origin:
        world.targets.by_key["acme", "acme-okta"] = okta_target(f"{origin}/oauth2/default")
        claims = {
            "iss": origin,
            "sub": LUCA,
            "aud": "0oa1",
            "iat": now,
            "exp": now + 60,
            "jti": "j",
            "events": {backchannel_logout.EVENT: {}},
        }
        assert (
            await world.post(
                "/hooks/backchannel/acme/acme-okta", data=logout_form(claims), headers=FORM
            )
        )[0] == 200


@pytest.mark.parametrize(
    ("change", "status", "err"),
    [
        ({}, 202, None),
        ({"iss": "https://globex.okta.com"}, 400, "invalid_issuer"),
        ({"aud": "https://elsewhere"}, 400, "invalid_audience"),
        ({"events": {}}, 400, "invalid_request"),
    ],
)
async def test_security_event_over_http(
    world: World, change: dict[str, Any], status: int, err: str | None
) -> None:
    issuer = world.targets.by_key["acme", "acme-okta"].issuer
    recorded = load("okta_caep_session_revoked.json")
    claims: dict[str, Any] = {
        **json.loads(json.dumps(recorded).replace("https://acme.okta.com", str(issuer))),
        **change,
    }
    answered, text = await world.post(
        "/hooks/ssf/acme/acme-okta",
        data=sign(claims, typ="secevent+jwt").encode(),
        headers={"Content-Type": "application/secevent+jwt"},
    )
    assert answered == status
    assert err is None or json.loads(text)["err"] == err
    await world.settled()
    assert [c[:3] for c in world.revoker.said()] == (
        [("revoke", "end_sessions", LUCA)] if status == 202 else []
    )


async def test_security_event_signed_with_an_unknown_key_fetches_the_keys_again_once(
    world: World,
) -> None:
    token = sign({"iss": "x"}, typ="secevent+jwt", headers={"kid": "unknown"})
    status, text = await world.post(
        "/hooks/ssf/acme/acme-okta",
        data=token.encode(),
        headers={"Content-Type": "application/secevent+jwt"},
    )
    assert (status, json.loads(text)["err"]) == (400, "invalid_key")


async def test_universal_logout_over_http(world: World) -> None:
    issuer = world.targets.by_key["acme", "acme-okta"].issuer
    now = int(world.clock())
    endpoint = "https://hooks.example.com/hooks/universal-logout/acme/acme-okta"
    claims = {
        "iss": issuer,
        "sub": "0oa1",
        "aud": endpoint,
        "iat": now,
        "exp": now + 300,
        "jti": "t",
    }
    token = sign(claims, typ="global-token-revocation+jwt")
    body = {"sub_id": {"format": "iss_sub", "iss": issuer, "sub": LUCA}}
    path = "/hooks/universal-logout/acme/acme-okta"
    assert (await world.post(path, json=body, headers={"Authorization": f"Bearer {token}"}))[
        0
    ] == 204
    await world.settled()
    assert world.revoker.said() == [("revoke", "end_sessions", LUCA, None)]
    assert (await world.post(path, json=body))[0] == 401
    assert (await world.post(path, json={}, headers={"Authorization": f"Bearer {token}"}))[0] == 400


@pytest.fixture
async def stuck(database: Database, http: aiohttp.ClientSession) -> AsyncIterator[World]:
    """A database in which another transaction holds every write back, as an overloaded or half-dead
    server does.
    """
    async with hooks_world(database, http, applying=False) as found:
        release = asyncio.Event()
        held = asyncio.Event()

        async def block(connection: Any) -> None:
            held.set()
            await release.wait()

        blocking = asyncio.create_task(found.committer.run(block, high_priority=True))
        await held.wait()
        yield found
        release.set()
        await blocking


async def test_a_database_that_does_not_answer_is_503_before_the_sender_gives_up(
    stuck: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    started = time.monotonic()
    status = await stuck.okta(okta_delivery(okta_event("user.lifecycle.suspend")), attempts=1)
    assert status == 503
    assert time.monotonic() - started > 2.4
    assert outcomes(caplog) == ["unavailable"]
    assert_explained(caplog, "unavailable")


@pytest.mark.parametrize("by", ["okta", "ssf-opaque-session", "graph"])
async def test_an_effect_on_nobody_known_is_told_as_such_whoever_says_it(
    world: World, by: str
) -> None:
    """The provider's opaque session ids name nobody here, and so may ids that no login brought."""
    world.revoker.ends = 0
    if by == "okta":
        await world.okta(okta_delivery(okta_event("user.lifecycle.suspend")))
    elif by == "graph":
        state = client_state(Secret(GLOBEX_SECRET), tenant="globex", provider="globex-entra")
        entry = {
            "clientState": state,
            "tenantId": DIRECTORY,
            "subscriptionId": next(iter(world.directory.subscriptions)),
            "changeType": "deleted",
            "resource": "users/o-1",
        }
        await world.post(ENTRA, json={"value": [entry]})
    else:
        issuer = world.targets.by_key["acme", "acme-okta"].issuer
        event = {
            "iss": issuer,
            "aud": "https://hooks.example.com/hooks/ssf/acme/acme-okta",
            "iat": int(time.time()),
            "jti": "1",
            "sub_id": {"format": "opaque", "id": "session|1|2"},
        }
        token = sign(
            event
            | {
                "events": {
                    "https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}
                }
            },
            typ="secevent+jwt",
        )
        assert (
            await world.post(
                "/hooks/ssf/acme/acme-okta",
                data=token,
                headers={"Content-Type": "application/secevent+jwt"},
            )
        )[0] == 202
    await world.settled()
    assert [state for _, state, _ in await world.states()] == ["applied_to_nobody"]


@pytest.mark.parametrize(
    "known",
    ["00uNEWOWNER000000000", "luca@acme.com"],
    ids=["another-person", "a-name-id-that-cannot-be-compared"],
)
async def test_the_new_owner_of_an_address_is_not_touched_by_what_is_said_of_the_former(
    world: World, known: str
) -> None:
    world.people.people.append(
        (
            "acme",
            "acme-okta",
            {"email": "luca@acme.com"},
            Person("pool-user", "luca@acme.com", known),
        )
    )
    await world.okta(
        okta_delivery(
            okta_event("user.lifecycle.deactivate"),
            okta_event("group.user_membership.remove", uuid="u-2", group="00gID"),
        )
    )
    await world.settled()
    touched = {whom for _, _, whom, _ in world.revoker.said()}
    assert touched == {"00ufh433fil4JtjEw4x7"} | (
        set() if known.startswith("00u") else {"pool-user", "luca@acme.com"}
    )


async def test_which_secret_proved_a_sender_last_is_on_record(world: World) -> None:
    now = 1_800_000_000.0
    world.activity_counter._clock = lambda: now

    async def used(target: HookTarget) -> list[dict[str, float]]:
        await world.activity_counter.flush()
        async with world.database.read() as connection:
            return [dict(use.senders) for use in await read_uses(connection, target)]

    acme, globex = (world.targets.by_key[key] for key in (*world.targets.by_key,)[:2])
    assert await used(acme) == [{}, {}]
    document, began = okta_delivery(okta_event("user.session.end")), now
    assert await world.okta(document, secret="wrong") == 401
    assert await world.okta(document, secret=PREVIOUS) == 200
    assert await used(acme) == [{}, {"okta": began}]
    for path in ("/scim/v2/acme/acme-okta/Users", "/scim/v2/acme/acme-okta/Schemas"):
        async with world.http.get(
            world.url + path, headers={"Authorization": f"Bearer {SECRET}"}
        ) as response:
            assert response.status == 200
    now += RESOLUTION_S - 1
    assert await world.okta(document, secret=PREVIOUS) == 200
    assert await used(acme) == [{"scim": began}, {"okta": began}], "once a minute is enough"
    now += 1
    assert await world.okta(document, secret=f"Bearer {PREVIOUS}") == 200
    assert await used(acme) == [{"scim": began}, {"okta": began + RESOLUTION_S}]
    graph = graph_document("graph_group_member_removed.json")
    assert (await world.post(ENTRA, json=graph))[0] == 202
    assert await used(globex) == [{"entra": now}]
    for secret, status in (("wrong", 401), (SECRET, 400)):
        headers = {"Content-Type": "application/secevent+jwt", "Authorization": f"Bearer {secret}"}
        answered = await world.post("/hooks/ssf/acme/acme-okta", data=b"x", headers=headers)
        assert answered[0] in {status, 400}
    assert (await used(acme))[0] == {"ssf": now, "scim": began}
    async with world.database.read() as connection:
        kept = str((await connection.execute(select(hook_secret_uses))).all())
    assert SECRET not in kept and PREVIOUS not in kept
    rotated = replace(acme, secrets=(Secret("the-newest"), acme.secrets[0]))
    assert await used(rotated) == [{}, {"ssf": now, "scim": began}]


async def test_a_use_that_could_not_be_written_is_written_later(database: Database) -> None:
    uses, target = SecretUses(), okta_target()
    uses.note(target, "okta", 1, 100.0)
    taken = uses.take()
    uses.put_back(taken)
    uses.note(target, "okta", 1, 101.0)
    taken = uses.take()
    assert list(taken.values()) == [101.0]
    async with database.write() as connection:
        await write_uses(connection, database, taken)
        await write_uses(connection, database, dict.fromkeys(taken, 99.0))
    uses.wrote(taken, 101.0)
    uses.note(target, "okta", 1, 102.0)
    assert not uses
    async with database.write() as connection:
        assert [use.last_used_at for use in await read_uses(connection, target)] == [None, 101.0]
        await forget_old_uses(connection, 101.0 + KEPT_S + 1)
        assert [use.last_used_at for use in await read_uses(connection, target)] == [None, None]
