"""Browser endpoints while tenants change: what was read before a store or Cognito was waited for is
not used after it.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.cognito.relying_party import Tokens
from gateway.core.model import PendingLogin, Secret
from gateway.core.tenants import TenantTable
from gateway.login import application
from gateway.sessions.api import AppPasswordRefusal, LoginConsumed, SessionCreated, SessionEnded
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.document import TenantDocument
from tests.ingress.stand import (
    ACME,
    COOKIE,
    LOGIN,
    NOW,
    PROGRAMS,
    SHARED,
    TENANTS,
    Stand,
    identity,
    session,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.check.services import Services
    from gateway.cognito.relying_party import RelyingParty
    from gateway.core.model import Session, Tenant
    from gateway.sessions.api import NewAppPassword, NewSession, TenantSource

STATE, CODE, TICKET = "state", "code", "ticket"
NARROWINGS: dict[str, dict[str, Any]] = {
    "suspended": {"active": False},
    "host": {
        "hosts": ["elsewhere.localhost"],
        "rules": [rule for rule in TENANTS[0]["rules"] if "hosts" not in rule],
    },
    "provider": {"providers": [{**TENANTS[0]["providers"][0], "name": "another"}]},
}


class Rooms(Stand):
    """What browser endpoints ask; while they wait, the tenants are replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.newer = self.table
        self.made: list[NewSession] = []
        self.wanted: list[NewAppPassword] = []
        self.behind: list[tuple[str, str]] = []
        """What is left to be done behind the answer: a replaced cookie, a token to revoke."""
        self.pending = PendingLogin(
            tenant="acme",
            provider="acme-okta",
            host=ACME,
            return_to=f"http://{ACME}/",
            nonce="n",
            code_verifier="v",
            redirect_uri=f"http://{ACME}/_auth/callback",
            client_id=self.tenants[0].client_id,
        )

    def services(self) -> Services:
        made = self._services()
        return replace(
            made,
            tenants=cast("TenantSource", self),
            relying_party=cast("RelyingParty", self),
            attempts=cast("Any", self),
            token_revocation=cast("Any", self),
        )

    def narrow(self, changes: dict[str, Any]) -> None:
        documents = [
            TenantDocument.model_validate(
                {**document, **(changes if document["id"] == "acme" else {})}
            )
            for document in TENANTS
        ]
        tenants = tuple(
            compile_tenant(d, self.config, client_id=d.client_id or "", client_secret=Secret("s"))
            for d in documents
        )
        self.newer = TenantTable.of(
            tenants, shared_hosts=self.config.shared_hosts, login_host=self.config.login_host
        )

    async def _meanwhile(self) -> None:
        await asyncio.sleep(0)
        self.table = self.newer

    # the session store

    async def find(self, cookie: str, *, host: str) -> Session | None:
        found = await super().find(cookie, host=host)
        if found is not None:
            await self._meanwhile()
        return found

    def binding_id(self, binding: str) -> str | None:
        return None

    async def list_user(self, *_: Any, **__: Any) -> list[Any]:
        return []

    async def list_app_passwords(self, _: Session) -> list[Any]:
        return []

    async def hit(self, *_: Any, **__: Any) -> bool:
        return True

    async def make_app_password(
        self, _: Session, *, new: NewAppPassword, **__: Any
    ) -> AppPasswordRefusal:
        self.wanted.append(new)
        return AppPasswordRefusal.TOO_MANY

    async def consume_login(self, state: str, *, bindings: Sequence[str]) -> LoginConsumed:
        return LoginConsumed(self.pending, 1)

    async def code_spent(self, code: str) -> bool:
        return False

    async def finish_login(self, new: NewSession) -> SessionCreated:
        self.made.append(new)
        return SessionCreated(Secret("made"), session("made", new.identity))

    async def end_earlier(self, *_: Any, **__: Any) -> int:
        return 0

    def end_replaced_soon(self, _: Session, cookie: str) -> None:
        self.behind.append(("replaced", cookie))

    def revoke_soon(self, _: str, token: Secret | None, *, client_id: str) -> None:
        self.behind.append(("revoke", "" if token is None else token.reveal()))

    async def end_family(self, session: Session, *, cookie: str) -> SessionEnded:
        return SessionEnded(session, Secret(f"refresh of {cookie}"))

    async def redeem_ticket(
        self, ticket: str, *, host: str, bindings: Sequence[str], served: Callable[[str], bool]
    ) -> tuple[SessionCreated, str] | None:
        await self._meanwhile()
        return (
            (
                SessionCreated(
                    Secret("made"), session("made", identity("alice@acme.test"), host=host)
                ),
                f"http://{host}/",
            )
            if served("acme")
            else None
        )

    async def issue_ticket(self, *_: Any, **__: Any) -> Secret:
        await self._meanwhile()
        return Secret(TICKET)

    # Cognito

    async def exchange(self, tenant: Tenant, pending: PendingLogin, *, code: str) -> Tokens:
        await self._meanwhile()
        claims: dict[str, object] = {
            "sub": "s",
            "cognito:username": "acme-okta_x",
            "email": "alice@acme.test",
            "auth_time": int(NOW),
            "identities": [{"providerName": "acme-okta", "userId": "x"}],
        }
        return Tokens(claims, None)


async def ask(
    rooms: Rooms,
    path: str,
    *,
    host: str = ACME,
    cookie: str = COOKIE,
    form: dict[str, str] | None = None,
) -> Any:
    """``form``: posted from the page of the same host."""
    async with TestClient(TestServer(application(rooms.services()))) as client:
        headers = {
            "Host": host,
            "Cookie": f"{cookie}=one",
            **({} if form is None else {"Sec-Fetch-Site": "same-origin"}),
        }
        answer = await client.request(
            "GET" if form is None else "POST",
            path,
            headers=headers,
            data=form,
            allow_redirects=False,
        )
        await answer.read()
        return answer


@pytest.fixture
def rooms() -> Rooms:
    made = Rooms()
    made.sign_in("one", identity("alice@acme.test"))
    return made


@pytest.mark.parametrize("changes", NARROWINGS.values(), ids=NARROWINGS)
async def test_a_login_that_was_narrowed_while_cognito_answered_makes_no_session(
    rooms: Rooms, changes: dict[str, Any]
) -> None:
    path = f"/_auth/callback?{urlencode({'state': STATE, 'code': CODE})}"
    assert (await ask(rooms, path, cookie="none")).status == 303
    assert len(rooms.made) == 1
    rooms = Rooms()
    rooms.narrow(changes)
    answer = await ask(rooms, path, cookie="none")
    assert (answer.status, rooms.made) == (400, [])
    assert not any(
        value.startswith(f"{COOKIE}=") for value in answer.headers.getall("Set-Cookie", ())
    )


@pytest.mark.parametrize(
    "path",
    [
        f"/_auth/callback?{urlencode({'state': STATE, 'code': CODE})}",
        f"/_auth/complete?ticket={TICKET}",
    ],
    ids=["login", "ticket"],
)
async def test_the_cookie_that_an_answer_replaces_ends_with_its_session(
    rooms: Rooms, path: str
) -> None:
    """The same person's a little later, for other tabs' sake; another person's at once. Its refresh
    token is revoked behind the answer either way.
    """
    sub = "s" if "callback" in path else identity("alice@acme.test").sub
    rooms.sign_in("one", replace(identity("alice@acme.test"), sub=sub))
    assert (await ask(rooms, path)).status == 303
    assert rooms.behind == [("replaced", "one")]
    if "callback" in path:
        rooms = Rooms()
        rooms.sign_in("one", replace(identity("alice.b@acme.test"), sub=sub))
        assert (await ask(rooms, path)).status == 303
        assert rooms.behind == [("revoke", "refresh of one")], "the login contradicts it: at once"
    rooms = Rooms()
    rooms.sign_in("one", replace(identity("bob@acme.test"), sub="b"))
    assert (await ask(rooms, path)).status == 303
    assert rooms.behind == [("revoke", "refresh of one")]
    rooms = Rooms()
    assert (await ask(rooms, path, cookie="none")).status == 303
    assert rooms.behind == []


@pytest.mark.parametrize("host", [ACME, SHARED])
@pytest.mark.parametrize(
    "changes", [NARROWINGS["suspended"], NARROWINGS["host"]], ids=["suspended", "host"]
)
async def test_a_ticket_of_a_tenant_that_was_narrowed_while_it_was_read_is_refused(
    rooms: Rooms, host: str, changes: dict[str, Any]
) -> None:
    assert (
        await ask(rooms, f"/_auth/complete?ticket={TICKET}", host=host, cookie="none")
    ).status == 303
    rooms = Rooms()
    rooms.narrow(changes)
    answer = await ask(rooms, f"/_auth/complete?ticket={TICKET}", host=host, cookie="none")
    signed_in = any(
        value.startswith(f"{COOKIE}=") for value in answer.headers.getall("Set-Cookie", ())
    )
    assert signed_in is (host == SHARED and "hosts" in changes)
    if not signed_in:
        assert (answer.status, answer.headers.get("Location")) == (
            (303, "/_auth/login") if host == SHARED else (400, None)
        ), "a login begins again where one can"


@pytest.mark.parametrize(
    "changes", [NARROWINGS["suspended"], NARROWINGS["host"]], ids=["suspended", "host"]
)
async def test_no_ticket_is_handed_to_a_host_that_was_taken_away_meanwhile(
    rooms: Rooms, changes: dict[str, Any]
) -> None:
    path = f"/_auth/login?{urlencode({'host': ACME, 'browser': 'a' * 64})}"
    rooms.sign_in("one", identity("alice@acme.test"), host=LOGIN)
    assert (
        TICKET
        in (await ask(rooms, path, host=LOGIN, cookie=f"{COOKIE}-at-acme")).headers["Location"]
    )
    rooms = Rooms()
    rooms.sign_in("one", identity("alice@acme.test"), host=LOGIN)
    rooms.narrow(changes)
    answer = await ask(rooms, path, host=LOGIN, cookie=f"{COOKIE}-at-acme")
    assert (answer.status, "Location" in answer.headers) == (421, False)


@pytest.mark.parametrize("host", [ACME, SHARED])
@pytest.mark.parametrize("changes", NARROWINGS.values(), ids=NARROWINGS)
async def test_userinfo_names_nobody_whom_a_check_would_send_to_the_login(
    rooms: Rooms, host: str, changes: dict[str, Any]
) -> None:
    rooms.sign_in("one", identity("alice@acme.test"), host=host)
    assert (await ask(rooms, "/_auth/userinfo", host=host)).status == 200
    rooms = Rooms()
    rooms.sign_in("one", identity("alice@acme.test"), host=host)
    rooms.narrow(changes)
    assert (await ask(rooms, "/_auth/userinfo", host=host)).status == (
        200 if host == SHARED and "hosts" in changes else 401
    )


async def test_an_application_may_poll_userinfo_without_keeping_anybody_signed_in(
    rooms: Rooms,
) -> None:
    """``session.idle_counts.exclude`` holds for the gateway's own pages, too."""
    assert (await ask(rooms, "/_auth/userinfo")).status == 200
    await ask(rooms, f"/_auth/denied?{urlencode({'rd': f'http://{ACME}/x'})}")
    assert rooms.used_for == [("digest-one", None), ("digest-one", 0.0)]


@pytest.mark.parametrize(
    ("host", "offered"),
    [
        (PROGRAMS, [PROGRAMS]),
        (ACME, []),
        (LOGIN, [PROGRAMS, ""]),
        (SHARED, []),
    ],
)
async def test_the_login_host_alone_offers_app_passwords_for_other_hosts(
    rooms: Rooms, host: str, offered: list[str]
) -> None:
    """There is no application whose script could ask for one. No host is offered where no rule
    takes them.
    """
    rooms.sign_in("one", identity("alice@acme.test"), host=host)
    rooms.sessions["one"] = replace(
        rooms.sessions["one"], began=int(NOW) * 1_000_000, prompted_for=host
    )
    answer = await ask(
        rooms, "/_auth/sessions", host=host, cookie=f"{COOKIE}-at-acme" if host == LOGIN else COOKIE
    )
    text = await answer.text()
    assert (answer.status, re.findall(r'<option value="([^"]*)"', text)) == (200, offered)
    assert ('value="new"' in text) is bool(offered)
    hosts = [*TENANTS[0]["hosts"], PROGRAMS, "", "globex.localhost", SHARED, LOGIN]
    for wanted in hosts:
        form = {"app_password": "new", "name": "laptop", "host": wanted, "path": "/", "days": "1"}
        assert (
            await ask(
                rooms,
                "/_auth/sessions",
                host=host,
                cookie=f"{COOKIE}-at-acme" if host == LOGIN else COOKIE,
                form=form,
            )
        ).status == 400
    assert [new.hosts for new in rooms.wanted] == [
        frozenset({name} if name else ()) for name in hosts if name in offered
    ]


async def test_the_explanation_is_of_the_tenant_as_it_is_now(rooms: Rooms) -> None:
    path = f"/_auth/denied?{urlencode({'rd': f'http://{ACME}/x'})}"
    assert (await ask(rooms, path)).status == 200
    rooms = Rooms()
    rooms.sign_in("one", identity("alice@acme.test"))
    rooms.narrow({"allowed_groups": ["directors"]})
    answer = await ask(rooms, path)
    assert (answer.status, "directors" in await answer.text()) == (403, True)
    rooms = Rooms()
    rooms.sign_in("one", identity("alice@acme.test"))
    rooms.narrow(NARROWINGS["host"])
    assert (await ask(rooms, path)).status == 400
