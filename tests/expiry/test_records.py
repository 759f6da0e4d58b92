"""What is told of a connection, and that it is told once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, select

from gateway.config.model import Mail, Product
from gateway.core.expiry import DAY_S, ConnectionState, Credential
from gateway.core.hook_target import WebhookTarget
from gateway.core.model import Secret
from gateway.database.group_commit import GroupCommitter
from gateway.database.schema import (
    connections,
    credential_expiries,
    mail_outbox,
    webhooks_outbox,
)
from gateway.errors import UnavailableError
from gateway.expiry.letters import ExpiryLetters
from gateway.expiry.look import Look
from gateway.expiry.records import FAILURES_TOLD, ConnectionRecords
from gateway.expiry.watch import LOOK_AGAIN_S, LOOK_EVERY_S, ROUND_S, ConnectionWatch
from gateway.hooks.webhooks.outbox import Outbox
from gateway.mail.mailer import Mailer
from gateway.mail.outbox import MailOutbox
from gateway.mail.smtp import SmtpServer
from gateway.metrics import CONNECTION_FAILING, CREDENTIAL_EXPIRES
from gateway.tenants.document import TenantDocument
from gateway.tenants.snapshot_record import Credentials, Record, record_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import aiohttp

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.expiry.look import Certificates
    from gateway.tenants.document import ProviderDocument

pytestmark = pytest.mark.every_database

NOW = 1_800_000_000.0
GOOD = Look()
BAD = Look("the metadata at https://idp.acme.test/m answered 404")


@dataclass
class Targets:
    """Every app hears of everything."""

    def webhook(self, tenant: str) -> WebhookTarget | None:
        return WebhookTarget(tenant, "https://app.test", (Secret("s" * 32),), None)


def record(tenant: str, *providers: str, **more: Any) -> Record:
    document = {
        "id": tenant,
        "name": tenant,
        "hosts": [f"{tenant}.example.com"],
        "email_domains": [f"{tenant}.com"],
        "allowed_groups": "any",
        "client": "managed",
        "providers": [
            {"name": name, "kind": "oidc", "issuer": "https://idp.test"} for name in providers
        ],
        **more,
    }
    return record_of(
        TenantDocument.model_validate(document), Credentials(f"client{tenant}", Secret("x"))
    )


@dataclass
class Looks:
    """A looker that finds what a test says."""

    found: dict[tuple[str, str], Look] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    away: set[str] = field(default_factory=set)

    async def look(
        self,
        provider: ProviderDocument,
        target: HookTarget,
        known: Certificates | None,
        *,
        pool: str,
    ) -> Look:
        self.asked.append(f"{target.tenant}/{provider.name}")
        if target.tenant in self.away:
            msg = "the pool does not answer"
            raise UnavailableError(msg)
        return self.found.get((target.tenant, provider.name), GOOD)


@dataclass
class World:
    database: Database
    committer: GroupCommitter
    outbox: Outbox
    looks: Looks = field(default_factory=Looks)
    served: dict[str, Record] = field(
        default_factory=lambda: {"acme": record("acme", "acme-one", "acme-two")}
    )
    now: float = NOW
    led: bool = True

    def store(self) -> ConnectionRecords:
        return ConnectionRecords(self.database, self.committer, self.outbox, clock=lambda: self.now)

    def watch(self) -> ConnectionWatch:
        async def leads() -> bool:
            return self.led

        return ConnectionWatch(
            self.looks,  # type: ignore[arg-type]  # the one method that is used
            self.store(),
            records=lambda: self.served,
            leads=leads,
            clock=lambda: self.now,
        )

    async def record(self, look: Look, *, tenant: str = "acme", provider: str = "acme-one") -> None:
        await self.store().record(tenant, {provider: look})

    async def told(self) -> list[tuple[str, Mapping[str, Any]]]:
        async with self.database.read() as connection:
            rows = (
                await connection.execute(select(webhooks_outbox).order_by(webhooks_outbox.c.number))
            ).all()
        bodies = [
            json.loads(
                self.database.crypt.open(
                    row.payload, table="webhooks_outbox", row=row.id, column="payload"
                ).reveal()
            )
            for row in rows
        ]
        return [(body["type"], body["data"]) for body in bodies]

    async def types(self) -> list[str]:
        return [type_.removeprefix("connection.") for type_, _ in await self.told()]

    async def rows(self) -> set[str]:
        async with self.database.read() as connection:
            found: set[str] = set()
            for table in (connections, credential_expiries):
                found |= {
                    f"{row.tenant}/{row.provider}"
                    for row in await connection.execute(select(table))
                }
        return found


@pytest.fixture
async def world(database: Database, http: aiohttp.ClientSession) -> AsyncIterator[World]:
    committer = GroupCommitter(database)
    async with committer.running():
        outbox = Outbox(
            database,
            committer,
            targets=Targets(),  # type: ignore[arg-type]  # the one method that is used
            http=http,
            clock=lambda: NOW,
        )
        yield World(database, committer, outbox)


# --- what is told


async def test_a_connection_is_active_failing_and_active_again_once_each(world: World) -> None:
    for look in (GOOD, GOOD, *[BAD] * (FAILURES_TOLD + 2), GOOD, GOOD):
        world.now += 600
        await world.record(look)
    assert await world.types() == ["activated", "failing", "activated"]
    failing = (await world.told())[1][1]
    assert (failing["provider"], failing["cause"], failing["users"]) == (
        "acme-one",
        "connection",
        [],
    )
    assert failing["connection"] == {
        "state": "failing",
        "detail": BAD.problem,
        "credential": "",
        "expires_at": None,
        "days": None,
    }


async def test_a_provider_that_is_away_for_a_moment_alarms_nobody(world: World) -> None:
    for look in (GOOD, *[BAD] * (FAILURES_TOLD - 1), GOOD):
        await world.record(look)
    assert await world.types() == ["activated"]


async def test_a_connection_that_never_worked_is_failing_too(world: World) -> None:
    await world.record(BAD)
    (view,) = await world.store().of("acme")
    assert (view.state, view.failing_since, view.detail) == ("unchecked", NOW, BAD.problem)
    world.now += 1200
    for _ in range(FAILURES_TOLD - 1):
        await world.record(BAD)
    (view,) = await world.store().of("acme")
    assert (view.state, view.failing_since) == ("failing", NOW)
    assert await world.types() == ["failing"]


async def test_of_whom_nobody_can_ask_nothing_is_told(world: World) -> None:
    await world.record(Look(asked=False))
    assert await world.types() == []
    (view,) = await world.store().of("acme")
    assert view.state == "unchecked"


@pytest.mark.parametrize("credential", Credential)
async def test_the_end_of_a_credential_is_told_30_7_and_1_days_before_and_at_it(
    world: World, credential: Credential
) -> None:
    look = Look(expiries={credential: NOW + 40 * DAY_S})
    for _ in range(45 * 4):
        await world.record(look)
        world.now += DAY_S / 4
    told = [data["connection"] for type_, data in await world.told() if "expiring" in type_]
    assert [(one["days"], one["credential"], one["expires_at"]) for one in told] == [
        (days, str(credential), NOW + 40 * DAY_S) for days in (30, 7, 1, 0)
    ]
    (view,) = await world.store().of("acme")
    assert [(one.credential, one.days_left) for one in view.credentials] == [(credential, -5)]


async def test_a_restart_and_two_processes_tell_nothing_twice(world: World) -> None:
    look = Look(expiries={Credential.CLIENT_SECRET: NOW + 5 * DAY_S})
    await asyncio.gather(*(world.record(look) for _ in range(4)))
    await world.record(look)
    assert await world.types() == ["activated", "expiring"]
    # Messages that were sent are forgotten after a while; that they were is not.
    async with world.database.write() as connection:
        await connection.execute(delete(webhooks_outbox))
    await world.record(look)
    assert await world.types() == []


async def test_what_was_exchanged_counts_anew(world: World) -> None:
    for ends in (NOW + 5 * DAY_S, NOW + 400 * DAY_S, NOW + 6 * DAY_S):
        await world.record(Look(expiries={Credential.SAML_CERTIFICATE: ends}))
    told = [
        data["connection"]["expires_at"] for type_, data in await world.told() if "exp" in type_
    ]
    assert told == [NOW + 5 * DAY_S, NOW + 6 * DAY_S]


async def test_what_could_not_be_found_out_stays_and_is_told_when_it_is_time(world: World) -> None:
    certificate = frozenset({Credential.SAML_CERTIFICATE})
    await world.record(Look(expiries={Credential.SAML_CERTIFICATE: NOW + 20 * DAY_S}))
    world.now += 14 * DAY_S
    await world.record(Look(BAD.problem, unknown=certificate))
    told = [data["connection"]["days"] for type_, data in await world.told() if "exp" in type_]
    assert told == [30, 7]
    # The document's word does not replace what was known.
    said = {Credential.SAML_CERTIFICATE: NOW + 400 * DAY_S}
    await world.record(Look(expiries=said, unknown=certificate))
    assert (await world.store().of("acme"))[0].credentials[0].days_left == 6
    # And what has no end any more is forgotten.
    await world.record(GOOD)
    (view,) = await world.store().of("acme")
    assert view.credentials == ()


async def test_all_tenants_connections_are_read_in_pages_and_by_state(world: World) -> None:
    ends = Look(expiries={Credential.CLIENT_SECRET: NOW + 3 * DAY_S})
    for tenant, names in {"beta": ("b-one",), "acme": ("a-two", "a-one"), "a": ("one",)}.items():
        await world.store().record(tenant, dict.fromkeys(names, ends))
    for _ in range(FAILURES_TOLD):
        await world.store().record("acme", {"a-one": BAD, "a-two": ends})
    store = world.store()
    everything = [("a", "one"), ("acme", "a-one"), ("acme", "a-two"), ("beta", "b-one")]
    seen, position = [], None
    for _ in range(2):
        page = await store.page(None, None, position=position, limit=2)
        seen += [(tenant, view.provider) for tenant, view in page.items]
        position = page.position
    assert (seen, position) == (everything, None)
    by_name = await store.page("acme", None, position=None, limit=9)
    assert [view for _, view in by_name.items] == list(await store.of("acme"))
    assert [[one.days_left for one in view.credentials] for _, view in by_name.items] == [[], [3]]
    failing = await store.page(None, ConnectionState.FAILING, position=None, limit=9)
    assert [(tenant, view.provider) for tenant, view in failing.items] == [("acme", "a-one")]
    assert (await world.watch().page("x", None, position=None, limit=9)).items == []


async def test_a_provider_that_was_taken_out_leaves_nothing(world: World) -> None:
    ends = Look(expiries={Credential.CLIENT_SECRET: NOW})
    await world.store().record("acme", {"acme-one": ends, "acme-two": ends})
    await world.store().record("globex", {"globex-one": ends})
    await world.store().record("acme", {"acme-two": ends})
    assert await world.rows() == {"acme/acme-two", "globex/globex-one"}
    await world.store().forget({"acme"})
    assert await world.rows() == {"acme/acme-two"}


# --- when


async def test_every_provider_is_looked_at_each_hour_and_a_failing_one_sooner(world: World) -> None:
    watch = world.watch()
    world.looks.found["acme", "acme-two"] = BAD
    assert await watch.round() == 1
    assert world.looks.asked == ["acme/acme-one", "acme/acme-two"]
    world.now += LOOK_AGAIN_S - ROUND_S
    assert await watch.round() == 0
    world.now += ROUND_S
    assert await watch.round() == 1
    world.looks.found.clear()
    world.now += LOOK_AGAIN_S
    assert await watch.round() == 1
    world.now += LOOK_EVERY_S - ROUND_S
    assert await watch.round() == 0
    world.now += ROUND_S
    assert await watch.round() == 1


async def test_a_tenant_that_changed_is_looked_at_at_once(world: World) -> None:
    watch = world.watch()
    await watch.round()
    assert await watch.round() == 0
    world.served["acme"] = record("acme", "acme-two")
    assert await watch.round() == 1
    assert await world.rows() == {"acme/acme-two"}


async def test_a_restart_does_not_ask_everybody_at_once(world: World) -> None:
    await world.watch().round()
    assert await world.watch().round() == 0


async def test_only_the_leader_looks(world: World) -> None:
    world.led = False
    assert await world.watch().round() == 0
    assert world.looks.asked == []


async def test_inactive_tenants_and_providers_are_left_alone(world: World) -> None:
    world.served = {
        "acme": record("acme", "acme-one", active=False),
        "globex": record("globex", "globex-one"),
    }
    await world.watch().round()
    assert world.looks.asked == ["globex/globex-one"]


async def test_one_tenant_that_cannot_be_looked_at_holds_up_no_other(world: World) -> None:
    """A first tenant whose pool does not answer would be the first again in each round."""
    world.looks.away = {f"away{n}" for n in range(6)}
    world.served |= {tenant: record(tenant, f"{tenant}-one") for tenant in world.looks.away}
    world.served["zeta"] = record("zeta", "zeta-one")
    watch = world.watch()
    await watch.round()
    assert {"acme/acme-one", "zeta/zeta-one"} <= set(world.looks.asked)
    world.looks.asked.clear()
    await watch.round()
    assert world.looks.asked == []
    world.now += LOOK_AGAIN_S
    await watch.round()
    assert {one.partition("/")[0] for one in world.looks.asked} == world.looks.away


async def test_a_mistake_of_ours_is_logged_and_the_others_are_looked_at(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.looks.found["acme", "acme-one"] = Look(expiries={"nonsense": "x"})  # type: ignore[dict-item]
    world.served["globex"] = record("globex", "globex-one")
    await world.watch().round()
    assert "globex/globex-one" in await world.rows()
    assert "connection_fault" in caplog.text


async def test_every_admin_process_shows_what_is_known(world: World) -> None:
    ends = NOW + 3 * DAY_S
    world.looks.found["acme", "acme-one"] = Look(expiries={Credential.CLIENT_SECRET: ends})
    await world.watch().round()
    world.led = False
    other = world.watch()
    CREDENTIAL_EXPIRES.labels("acme", "acme-one", "client_secret").set(0)
    await other.round()
    shown = CREDENTIAL_EXPIRES.labels("acme", "acme-one", "client_secret")
    assert shown._value.get() == ends
    assert CONNECTION_FAILING.labels("acme", "acme-one")._value.get() == 0
    world.led = True
    world.looks.found["acme", "acme-one"] = GOOD
    world.now += LOOK_EVERY_S
    await other.round()
    assert str(shown._value.get()) == "nan"


async def test_a_look_now_answers_what_it_found(world: World) -> None:
    watch = world.watch()
    assert await watch.check("nobody") == ()
    found = await watch.check("acme")
    assert [(one.provider, one.state) for one in found] == [
        ("acme-one", "active"),
        ("acme-two", "active"),
    ]
    assert await watch.known("acme") == found


async def test_people_are_written_to_before_a_secret_ends_once_each(world: World) -> None:
    world.served["acme"] = record("acme", "acme-one", contacts=["it@acme.com", "ops@example.com"])
    settings = Mail(host="127.0.0.1", sender="gw@example.com", operators=("ops@example.com",))
    config = SimpleNamespace(mail=settings, product=Product(name="Cloud", support="help@x.test"))
    outbox = MailOutbox(
        world.database,
        world.committer,
        SmtpServer(settings),
        sender="gw@example.com",
        timeout_s=5,
        clock=lambda: world.now,
    )
    mailer = Mailer(config, world.committer, outbox, None, clock=lambda: world.now)  # type: ignore[arg-type]  # the sections that are read
    store = ConnectionRecords(
        world.database,
        world.committer,
        world.outbox,
        letters=ExpiryLetters(mailer, lambda: world.served),
        clock=lambda: world.now,
    )
    ends = NOW + 40 * DAY_S
    look = Look(expiries={Credential.CLIENT_SECRET: ends})
    sent: list[tuple[str, str, str]] = []
    for left_days in (40, 30, 29, 7, 1, 0):
        world.now = ends - left_days * DAY_S
        for _ in range(2):
            await store.record("acme", {"acme-one": look})
    async with world.database.read() as connection:
        for row in await connection.execute(select(mail_outbox).order_by(mail_outbox.c.number)):
            content = world.database.crypt.open(
                row.content, table="mail_outbox", row=row.id, column="content"
            )
            to, subject, text, _ = json.loads(content.reveal())
            assert "acme-one" in text and "help@x.test" in text
            sent.append((row.template, to, subject))
    told = [(template, to) for template, to, _ in sent]
    both = ["it@acme.com", "ops@example.com"]
    assert told == [("expiring", to) for _ in (30, 7, 1) for to in both] + [
        ("expired", to) for to in both
    ]
    assert sent[0][2] == "acme: The client secret expires 24 Feb 2027"
