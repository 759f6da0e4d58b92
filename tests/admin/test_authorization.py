"""Every route × every sort of key, in one literal. A route that is missing here fails the first
test.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.admin.application import admin_routes
from gateway.admin.keys import Scope
from gateway.admin.permissions import PERMISSIONS, Binding
from gateway.core.probe import issue
from gateway.setup.go_live import entry_digest
from gateway.setup.model import Approval, Part, Phase, Request, Work
from tests.admin.rooms import PROBE_KEY
from tests.admin.test_dispatch import TENANT, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.admin.conftest import Api, Clock

WHO = {"tenant": "acme", "email": "bob@acme.test", "reason": "left"}
PROVISION = {
    "provider": {
        "client_id": "0oa",
        "client_secret": "s3cr3t",
        "oidc_issuer": "https://acme.okta.com",
    },
    "group": "app-users",
    "allowed_domain": "acme.test",
}
POOL_USERS = "/tenants/acme/pool-users"
SETUP_LINKS = "/tenants/acme/setup-links"
SETUP_LINK = f"{SETUP_LINKS}/0000000000000001"
REPLACE_LINK = f"{SETUP_LINKS}/0000000000000002/replace"
OFFBOARDING = {"parts": ["offboarding"], "recipients": ["it@acme.test"]}
NOBODY = 403
HIDDEN = 404
FILTERED = 200
"""What a key of tenant globex gets for something of acme's: refused, not found, or its own part
only.
"""

TABLE: dict[str, tuple[Scope, str, str, Any, int, int]] = {
    # operation: scope, method, path, body, answer to the right key, answer to another tenant's key
    "list_tenants": (Scope.TENANTS_READ, "GET", "/tenants", None, 200, FILTERED),
    "get_tenant": (Scope.TENANTS_READ, "GET", "/tenants/acme", None, 200, NOBODY),
    "put_tenant": (
        Scope.TENANTS_WRITE,
        "PUT",
        "/tenants/acme",
        {**TENANT, "client_secret": "***"},
        200,
        NOBODY,
    ),
    "put_tenants": (
        Scope.TENANTS_WRITE,
        "PUT",
        "/tenants",
        {"tenants": [{**TENANT, "client_secret": "***"}]},
        200,
        NOBODY,
    ),
    "reveal_tenant": (Scope.OPERATOR, "POST", "/tenants/acme/reveal", None, NOBODY, NOBODY),
    "delete_tenant": (Scope.TENANTS_WRITE, "DELETE", "/tenants/acme", None, 204, NOBODY),
    "test_tenant": (Scope.TENANTS_WRITE, "POST", "/tenants/acme/test", None, 201, NOBODY),
    "get_tenant_test": (Scope.TENANTS_READ, "GET", "/tenants/acme/test?token=t", None, 200, NOBODY),
    "provision": (Scope.PROVISION, "POST", "/tenants/acme/provision", PROVISION, 201, NOBODY),
    "reprovision": (Scope.PROVISION, "PUT", "/tenants/acme/provision", PROVISION, 200, NOBODY),
    "list_all_runs": (Scope.PROVISION, "GET", "/provision-runs?tenant=acme", None, 200, NOBODY),
    "list_runs": (Scope.PROVISION, "GET", "/tenants/acme/provision", None, 200, NOBODY),
    "get_run": (Scope.PROVISION, "GET", "/tenants/acme/provision/abcdef012345", None, 200, NOBODY),
    "rollback_run": (
        Scope.PROVISION,
        "POST",
        "/tenants/acme/provision/abcdef012345/rollback",
        None,
        200,
        NOBODY,
    ),
    "rotate": (Scope.PROVISION, "POST", "/tenants/acme/provision/rotate", None, 201, NOBODY),
    "retire": (Scope.PROVISION, "POST", "/tenants/acme/provision/retire", None, 200, NOBODY),
    "move": (
        Scope.PROVISION,
        "POST",
        "/tenants/acme/provision/move",
        {"pool": "second"},
        201,
        NOBODY,
    ),
    "test_move": (
        Scope.PROVISION,
        "POST",
        "/tenants/acme/provision/move/test",
        {"pool": "second"},
        201,
        NOBODY,
    ),
    "list_pools": (Scope.OPERATOR, "GET", "/pools", None, 200, NOBODY),
    "fail_over_pool": (Scope.OPERATOR, "POST", "/pools/second/failover", None, 200, NOBODY),
    "fail_back_pool": (Scope.OPERATOR, "DELETE", "/pools/second/failover", None, 200, NOBODY),
    "verify": (Scope.PROVISION, "POST", "/tenants/acme/provision/verify", None, 200, NOBODY),
    "destroy": (Scope.PROVISION, "DELETE", "/tenants/acme/provision", None, 204, NOBODY),
    "create_console_link": (Scope.OPERATOR, "POST", "/console/links", None, NOBODY, NOBODY),
    "end_console_links": (Scope.OPERATOR, "DELETE", "/console/links", None, 204, NOBODY),
    "list_sessions": (Scope.SESSIONS_READ, "GET", "/sessions?tenant=acme", None, 200, NOBODY),
    "get_session": (Scope.SESSIONS_READ, "GET", "/sessions/acme-1", None, 200, HIDDEN),
    "end_session": (Scope.SESSIONS_REVOKE, "DELETE", "/sessions/acme-1", None, 200, HIDDEN),
    "list_domains": (Scope.TENANTS_READ, "GET", "/tenants/acme/domains", None, 200, NOBODY),
    "add_domain": (
        Scope.TENANTS_WRITE,
        "POST",
        "/tenants/acme/domains",
        {"domain": "eu.acme.test"},
        201,
        NOBODY,
    ),
    "check_domain": (
        Scope.TENANTS_WRITE,
        "POST",
        "/tenants/acme/domains/acme.test/check",
        None,
        200,
        NOBODY,
    ),
    "use_domain": (
        Scope.TENANTS_WRITE,
        "POST",
        "/tenants/acme/domains/proven.test/use",
        None,
        200,
        NOBODY,
    ),
    "vouch_domain": (
        Scope.TENANTS_WRITE,
        "POST",
        "/tenants/acme/domains/acme.test/vouch",
        {"reason": "known for years"},
        200,
        NOBODY,
    ),
    "remove_domain": (
        Scope.TENANTS_WRITE,
        "DELETE",
        "/tenants/acme/domains/acme.test",
        None,
        204,
        NOBODY,
    ),
    "test_mail": (Scope.OPERATOR, "POST", "/mail/test", {"to": "it@acme.test"}, 200, NOBODY),
    "list_connections": (Scope.TENANTS_READ, "GET", "/tenants/acme/connections", None, 200, NOBODY),
    "list_all_connections": (
        Scope.TENANTS_READ,
        "GET",
        "/connections?tenant=acme",
        None,
        200,
        NOBODY,
    ),
    "check_connections": (
        Scope.TENANTS_WRITE,
        "POST",
        "/tenants/acme/connections/check",
        None,
        200,
        NOBODY,
    ),
    "list_people": (Scope.SESSIONS_READ, "GET", "/tenants/acme/users", None, 200, NOBODY),
    "get_person": (Scope.SESSIONS_READ, "GET", "/tenants/acme/users/u1", None, 200, NOBODY),
    "list_pool_users": (Scope.USERS_READ, "GET", f"{POOL_USERS}", None, 200, NOBODY),
    "get_pool_settings": (
        Scope.USERS_READ,
        "GET",
        "/tenants/acme/pool-user-settings",
        None,
        200,
        NOBODY,
    ),
    "get_pool_user": (Scope.USERS_READ, "GET", f"{POOL_USERS}/u1", None, 200, NOBODY),
    "create_pool_user": (
        Scope.USERS_WRITE,
        "POST",
        f"{POOL_USERS}",
        {"email": "new@acme.test"},
        201,
        NOBODY,
    ),
    "invite_pool_user": (Scope.USERS_WRITE, "POST", f"{POOL_USERS}/u1/invite", {}, 200, NOBODY),
    "disable_pool_user": (Scope.USERS_WRITE, "POST", f"{POOL_USERS}/u1/disable", {}, 200, NOBODY),
    "enable_pool_user": (Scope.USERS_WRITE, "POST", f"{POOL_USERS}/u1/enable", None, 200, NOBODY),
    "reset_pool_user": (Scope.USERS_WRITE, "POST", f"{POOL_USERS}/u1/reset", None, 200, NOBODY),
    "put_pool_user_groups": (
        Scope.USERS_WRITE,
        "PUT",
        f"{POOL_USERS}/u1/groups",
        {"groups": []},
        200,
        NOBODY,
    ),
    "remove_pool_user": (Scope.USERS_WRITE, "POST", f"{POOL_USERS}/u1/remove", None, 200, NOBODY),
    "delete_pool_user": (Scope.USERS_WRITE, "DELETE", f"{POOL_USERS}/u1", None, 200, NOBODY),
    "list_app_passwords": (
        Scope.SESSIONS_READ,
        "GET",
        "/app-passwords?tenant=acme",
        None,
        200,
        NOBODY,
    ),
    "revoke_app_password": (
        Scope.SESSIONS_REVOKE,
        "DELETE",
        "/app-passwords/acme-9",
        None,
        200,
        HIDDEN,
    ),
    "revoke": (
        Scope.SESSIONS_REVOKE,
        "POST",
        "/revocations",
        {**WHO, "kind": "end_sessions"},
        201,
        NOBODY,
    ),
    "get_revocation": (Scope.SESSIONS_READ, "GET", "/revocations/r0001", None, 200, HIDDEN),
    "stream_revocations": (Scope.SESSIONS_READ, "GET", "/revocations/stream", None, 200, FILTERED),
    "list_blocks": (Scope.SESSIONS_READ, "GET", "/blocks?tenant=acme", None, 200, NOBODY),
    "add_block": (Scope.SESSIONS_REVOKE, "POST", "/blocks", WHO, 201, NOBODY),
    "remove_block": (Scope.SESSIONS_REVOKE, "DELETE", "/blocks/acme:1", None, 200, HIDDEN),
    "explain": (Scope.TENANTS_READ, "POST", "/explain", {"host": "acme.example.com"}, 200, HIDDEN),
    "get_audit": (Scope.AUDIT_READ, "GET", "/audit/1", None, 200, HIDDEN),
    "list_audit": (Scope.AUDIT_READ, "GET", "/audit?tenant=acme", None, 200, NOBODY),
    "get_deprovisioning": (
        Scope.HOOKS,
        "GET",
        "/tenants/acme/deprovisioning",
        None,
        200,
        NOBODY,
    ),
    "list_hooks": (Scope.HOOKS, "GET", "/tenants/acme/hooks", None, 200, NOBODY),
    "get_hook": (Scope.HOOKS, "GET", "/tenants/acme/hooks/acme-okta", None, 200, NOBODY),
    "add_hook_secret": (
        Scope.HOOKS,
        "POST",
        "/tenants/acme/hooks/acme-okta/secrets",
        None,
        201,
        NOBODY,
    ),
    "end_hook_rotation": (
        Scope.HOOKS,
        "DELETE",
        "/tenants/acme/hooks/acme-okta/secrets/previous",
        None,
        200,
        NOBODY,
    ),
    "test_hook": (Scope.HOOKS, "GET", "/tenants/acme/hooks/acme-okta/test", None, 200, NOBODY),
    "list_deliveries": (Scope.HOOKS, "GET", "/hooks/deliveries?tenant=acme", None, 200, NOBODY),
    "get_delivery": (Scope.HOOKS, "GET", "/hooks/deliveries/d1", None, 200, HIDDEN),
    "decide_held": (
        Scope.HOOKS,
        "POST",
        "/hooks/held",
        {"tenant": "globex", "decision": "release"},
        200,
        NOBODY,
    ),
    "replay_delivery": (Scope.HOOKS, "POST", "/hooks/deliveries/d1/replay", None, 200, HIDDEN),
    "list_webhook_events": (Scope.HOOKS, "GET", "/webhook-events", None, 200, FILTERED),
    "list_messages": (Scope.HOOKS, "GET", "/hooks/webhooks?tenant=acme", None, 200, NOBODY),
    "get_message": (Scope.HOOKS, "GET", "/hooks/webhooks/msg_1", None, 200, HIDDEN),
    "replay_message": (Scope.HOOKS, "POST", "/hooks/webhooks/msg_1/replay", None, 200, HIDDEN),
    "create_setup_link": (Scope.SETUP_WRITE, "POST", SETUP_LINKS, OFFBOARDING, 201, NOBODY),
    "list_setup_links": (Scope.SETUP_WRITE, "GET", SETUP_LINKS, None, 200, NOBODY),
    "get_setup_link": (Scope.SETUP_WRITE, "GET", SETUP_LINK, None, 200, NOBODY),
    "revoke_setup_link": (Scope.SETUP_WRITE, "DELETE", SETUP_LINK, None, 200, NOBODY),
    "replace_setup_link": (Scope.SETUP_WRITE, "POST", REPLACE_LINK, None, 201, NOBODY),
    "approve_setup_link": (
        Scope.SETUP_APPROVE,
        "POST",
        f"{SETUP_LINK}/approve",
        None,
        200,
        NOBODY,
    ),
    "return_setup_link": (
        Scope.SETUP_APPROVE,
        "POST",
        f"{SETUP_LINK}/return",
        {"note": "another group"},
        200,
        NOBODY,
    ),
    "list_all_setup_links": (
        Scope.SETUP_WRITE,
        "GET",
        "/setup-links?tenant=acme",
        None,
        200,
        NOBODY,
    ),
    "get_activity": (Scope.TENANTS_READ, "GET", "/activity", None, 200, NOBODY),
    "list_attention": (Scope.TENANTS_READ, "GET", "/attention?tenant=acme", None, 200, NOBODY),
    "get_health": (Scope.DOCTOR, "GET", "/health", None, 200, NOBODY),
    "list_admin_keys": (Scope.KEYS, "GET", "/keys?tenant=acme", None, 200, NOBODY),
    "create_admin_key": (
        Scope.KEYS,
        "POST",
        "/keys",
        {"name": "another", "scopes": ["keys"], "tenant": "acme"},
        201,
        NOBODY,
    ),
    "revoke_admin_key": (Scope.KEYS, "DELETE", "/keys/000000000001", None, 204, HIDDEN),
    "create_probes": (
        Scope.DOCTOR,
        "POST",
        "/doctor/probes",
        {"host": "acme.example.com", "count": 2},
        201,
        NOBODY,
    ),
    "get_probes": (
        Scope.DOCTOR,
        "GET",
        f"/doctor/probes?nonces={issue(PROBE_KEY, chance=bytes(12), expires_at=2_000_000_000)}",
        None,
        200,
        NOBODY,
    ),
}
SUBMITTED = Work(
    phase=Phase.SUBMITTED,
    provider="okta",
    protocol="oidc",
    name="acme-okta",
    tested_at=1.0,
    everyone=True,
)
HANDED_ON = {
    "create_setup_link": (Scope.TENANTS_READ, Scope.HOOKS),
    "replace_setup_link": (Scope.TENANTS_READ, Scope.HOOKS),
    "approve_setup_link": (Scope.TENANTS_READ, Scope.TENANTS_WRITE, Scope.PROVISION),
}
"""What the link in the table reaches; whoever hands it on needs these too."""
NEVER = ("no key", "wrong scope", "other tenant", "expired")
PERHAPS = ("own tenant", "right", "operator")
NOT_FOR_A_BOUND_KEY = {
    name for name, (_, binding) in PERMISSIONS.items() if binding is Binding.UNBOUND
} | {"remove_block", "rollback_run"}
"""Of the tenant's own, too. The block and the run in the rooms are an operator's."""


def test_the_table_has_every_route(api: Api) -> None:
    served = {route.operation for route in admin_routes(api.services, closing=asyncio.Event())}
    assert served == set(TABLE)


async def arrange(api: Api, *, links: bool = True) -> None:
    """What is there in acme; ``links``: also two setup links, which take as long as all else."""
    await api.keys.create(
        name="acme's", scopes=[Scope.KEYS], tenant="acme", lifetime_s=None, made_by="test"
    )
    await api.call("PUT", "/tenants/acme", json=TENANT)
    await api.call("POST", "/revocations", json={**WHO, "kind": "end_sessions"})
    if links:
        await submit_link(api)
        await submit_link(api, parts=frozenset({Part.OFFBOARDING}))


async def submit_link(api: Api, *, parts: frozenset[Part] = frozenset({Part.SIGN_IN})) -> None:
    """A link of acme that somebody worked with and submitted."""
    assert api.services.setup is not None
    links = api.services.setup.links
    request = Request(
        parts=parts,
        recipients=("it@acme.test",),
        providers=(),
        language="en",
        approval=Approval.REQUIRED,
        note="",
        lifetime_s=3600.0,
    )
    made = await links.create("acme", request, by="key:0")
    assert await links.decide(made.link, await submitted(api)) is not None


async def submitted(api: Api) -> Work:
    """As it is when acme's provider was not changed since."""
    tenants = api.services.tenants
    assert tenants is not None
    record = await tenants.get("acme")
    assert record is not None
    return replace(SUBMITTED, entry=entry_digest(record.document, SUBMITTED.name))


def may(operation: str) -> list[str]:
    """Whom it does something for."""
    if TABLE[operation][4] == NOBODY:
        return []
    return [who for who in PERHAPS if who != "own tenant" or operation not in NOT_FOR_A_BOUND_KEY]


async def test_who_may_not(api: Api, clock: Clock) -> None:
    """They change nothing, so all of them find what was arranged."""
    await arrange(api)
    for operation in TABLE:
        for caller in (*NEVER, *PERHAPS):
            if caller not in may(operation):
                await ask(api, clock, operation, caller)


async def test_who_may_read(api: Api, clock: Clock) -> None:
    """Who reads changes nothing either."""
    await arrange(api)
    for operation, (_, method, *_) in TABLE.items():
        for caller in may(operation) if method == "GET" else ():
            await ask(api, clock, operation, caller)


def writes() -> Iterator[Any]:
    for operation, (_, method, *_) in TABLE.items():
        for caller in may(operation) if method != "GET" else ():
            yield pytest.param(operation, caller, id=f"{operation}-{caller}")


@pytest.mark.parametrize(("operation", "caller"), list(writes()))
async def test_who_may(api: Api, clock: Clock, operation: str, caller: str) -> None:
    await arrange(api, links="setup_link" in operation)
    await ask(api, clock, operation, caller)


async def no_key() -> str:
    return ""


async def ask(api: Api, clock: Clock, operation: str, caller: str) -> None:
    scope, method, path, body, right, other = TABLE[operation]
    assert PERMISSIONS[operation][0] is scope
    everything_else = [s for s in Scope if s not in {scope, Scope.OPERATOR}]
    also = HANDED_ON.get(operation, ())
    own_is_refused = operation in NOT_FOR_A_BOUND_KEY
    expected, code = {
        "no key": (401, "no_key"),
        "wrong scope": (403, "scope_missing"),
        "other tenant": (other, None),
        "own tenant": (403, "tenant_bound") if own_is_refused else (right, None),
        "expired": (401, "key_expired"),
        "right": (right, None),
        "operator": (right, None),
    }[caller]
    key = {
        "no key": no_key,
        "wrong scope": lambda: api.key(*everything_else),
        "other tenant": lambda: api.key(scope, *also, tenant="globex"),
        "own tenant": lambda: api.key(scope, *also, tenant="acme"),
        "expired": lambda: api.key(scope, *also, lifetime_s=10),
        "right": lambda: api.key(scope, *also),
        "operator": api.operator,
    }[caller]
    presented = await key()
    if caller == "expired":
        clock.now += 11
    headers = {"If-Match": '"1"'} if operation == "put_tenant" else {}
    if caller == "no key":
        headers["Authorization"] = ""
    async with await api.call(method, path, key=presented, json=body, headers=headers) as response:
        assert response.status == expected, (operation, caller)
        if code is not None:
            assert (await problem(response))["code"] == code, (operation, caller)
        if operation == "list_tenants" and caller == "other tenant":
            assert (await response.json())["items"] == []
