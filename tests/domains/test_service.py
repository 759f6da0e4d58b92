"""Claims in SQL: one holder, a watch, letters; documents that may not name what is not proven."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import delete, select

from gateway.config.model import Config, Mail, Product
from gateway.core.model import Secret
from gateway.database.group_commit import GroupCommitter
from gateway.database.schema import audit, domains, mail_outbox
from gateway.domains.lookup import Look, Lookup, Outcome
from gateway.domains.name import DomainError
from gateway.domains.records import (
    MAX_OF_TENANT,
    DomainRecords,
    FullError,
    InUseError,
    Places,
    TakenError,
)
from gateway.domains.service import AGAIN_S, Domains
from gateway.domains.state import DAY_S, DomainState
from gateway.mail.mailer import Mailer
from gateway.mail.outbox import MailOutbox
from gateway.mail.smtp import SmtpServer
from gateway.metrics import DOMAINS
from gateway.tenants.api import Rejected
from gateway.tenants.database import TenantDatabase
from gateway.tenants.document import TenantDocument
from gateway.tenants.folder_plan import Change
from gateway.tenants.snapshot_record import Credentials, Record, record_of
from gateway.tenants.stored import Actor
from tests.database.fixtures import config_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.database.engine import Database
    from gateway.hooks.webhooks.outbox import News, Outbox

BY = Actor("admin:ops")


def document(tenant: str, *domains: str, **more: Any) -> TenantDocument:
    return TenantDocument.model_validate(
        {
            "id": tenant,
            "name": tenant.title(),
            "hosts": [f"{tenant}.example.com"],
            "email_domains": list(domains),
            "allowed_groups": "any",
            "client_id": f"client{tenant}",
            "client_secret": "Zq3vX8n0Lw5tB1yKd7mRfGh2JcUs9PeA",
            "providers": [{"name": f"{tenant}-okta", "kind": "okta", "issuer": "https://o.test"}],
            **more,
        }
    )


@dataclass
class Answers:
    """DNS, as a test says it is."""

    here: set[str] = field(default_factory=set)
    away: bool = False
    asked: int = 0

    async def look(self, domain: str, value: str) -> Look:
        self.asked += 1
        if self.away:
            return Look(Outcome.UNKNOWN)
        return Look(Outcome.FOUND if value in self.here else Outcome.ABSENT)


@dataclass
class Told:
    """What tenants' apps were sent."""

    types: list[tuple[str, str]] = field(default_factory=list)

    async def add(self, _connection: object, news: News) -> None:
        self.types.append((news.notice.type, news.notice.domain))

    def wake(self) -> None: ...


@dataclass
class World:
    database: Database
    committer: GroupCommitter
    folder: Path
    dns: Answers = field(default_factory=Answers)
    told: Told = field(default_factory=Told)
    now: float = 1_800_000_000.0
    served: dict[str, Record] = field(default_factory=dict)
    files: dict[str, Record] = field(default_factory=dict)
    led: bool = True

    def __post_init__(self) -> None:
        for tenant in ("acme", "globex"):
            self.served[tenant] = record_of(
                document(tenant, contacts=[f"it@{tenant}.com"]), Credentials("c", Secret("x"))
            )
        settings = Mail(host="127.0.0.1", sender="gw@example.com", operators=("ops@example.com",))
        config = SimpleNamespace(mail=settings, product=Product())
        outbox = MailOutbox(
            self.database,
            self.committer,
            SmtpServer(settings),
            sender="gw@example.com",
            timeout_s=5,
            clock=lambda: self.now,
        )
        mailer = Mailer(
            cast("Config", config), self.committer, outbox, None, clock=lambda: self.now
        )
        self.domains = Domains(
            DomainRecords(self.database, clock=lambda: self.now),
            cast("Lookup", self.dns),
            mailer,
            cast("Outbox", self.told),
            records=lambda: self.served,
            file_records=lambda: self.files,
            keys=lambda: (bytes(32),),
            leads=self.leads,
            clock=lambda: self.now,
        )

    async def leads(self) -> bool:
        return self.led

    def tenants(self, proof: str = "optional") -> TenantDatabase:
        config = config_with(self.folder, domains={"proof": proof})
        return TenantDatabase(self.database, config, clock=lambda: self.now)

    async def prove(self, tenant: str, name: str = "acme.com") -> DomainState:
        domain, _ = await self.domains.add(tenant, name)
        self.dns.here.add(domain.value)
        self.now += AGAIN_S
        checked = await self.domains.check(tenant, name)
        assert checked is not None
        return checked.standing.state

    async def days(self, count: int) -> list[str]:
        states = []
        for _ in range(count):
            self.now += DAY_S
            assert await self.domains.round() == 1
            (domain,) = await self.domains.of("acme")
            states.append(str(domain.standing.state))
        return states

    async def letters(self) -> list[tuple[str, str, str]]:
        found = []
        async with self.database.read() as connection:
            for row in await connection.execute(select(mail_outbox).order_by(mail_outbox.c.number)):
                opened = self.database.crypt.open(
                    row.content, table="mail_outbox", row=row.id, column="content"
                )
                to, _, text, _ = json.loads(opened.reveal())
                found.append((row.template, to, text))
        return found


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    committer = GroupCommitter(database)
    async with committer.running():
        yield World(database, committer, tmp_path / "state")


async def test_a_record_that_is_there_proves_the_domain_and_is_told(world: World) -> None:
    assert await world.prove("acme") is DomainState.VERIFIED
    assert await world.domains.proven("acme") == {"acme.com"}
    told = [(template, to) for template, to, _ in await world.letters()]
    assert told == [("domain_verified", "it@acme.com"), ("domain_verified", "ops@example.com")]
    async with world.database.read() as connection:
        rows = (await connection.execute(select(audit))).all()
    assert [(row.action, row.tenant, row.target) for row in rows] == [
        ("domain.verified", "acme", "acme.com")
    ]


async def test_the_first_proof_wins_and_whose_it_is_is_not_said(world: World) -> None:
    await world.domains.add("globex", "acme.com")  # waiting keeps nobody else out
    assert await world.prove("acme") is DomainState.VERIFIED
    assert await world.prove("globex") is DomainState.PENDING
    (late,) = await world.domains.of("globex")
    assert late.taken and "acme" not in repr(late).replace("acme.com", "")
    with pytest.raises(TakenError) as raised:
        await world.domains.add("initech", "acme.com")
    assert str(raised.value) == ""
    with pytest.raises(TakenError):
        await world.domains.vouch("globex", "acme.com", by="ops", reason="because")


async def test_two_proofs_at_once_have_one_winner(world: World) -> None:
    for tenant in ("acme", "globex"):
        domain, _ = await world.domains.add(tenant, "acme.com")
        world.dns.here.add(domain.value)
    await asyncio.gather(*(world.domains.check(t, "acme.com") for t in ("acme", "globex")))
    held = [await world.domains.proven(tenant) for tenant in ("acme", "globex")]
    assert sorted(map(len, held)) == [0, 1]


async def test_a_domain_of_a_document_of_another_tenant_is_taken(world: World) -> None:
    stored = await world.tenants().put(document("globex", "globex.com"), version=None, by=BY)
    assert not isinstance(stored, Rejected)
    world.files["hooli"] = record_of(document("hooli", "hooli.com"), Credentials("h", Secret("x")))
    for name in ("globex.com", "hooli.com"):
        with pytest.raises(TakenError):
            await world.domains.add("acme", name)
    await world.domains.add("globex", "globex.com")
    await world.domains.add("acme", "eu.globex.com")  # a subdomain proves itself


async def test_a_removed_record_is_noticed_and_the_domain_is_lost(world: World) -> None:
    await world.prove("acme")
    world.dns.here.clear()
    states = await world.days(11)
    assert states == ["verified"] * 3 + ["missing"] * 7 + ["lost"]
    letters = await world.letters()
    templates = [template for template, to, _ in letters if to == "it@acme.com"]
    assert templates == ["domain_verified", "domain_missing", "domain_lost"]
    assert world.told.types == [("domain.proven", "acme.com"), ("domain.lost", "acme.com")]
    assert DOMAINS.labels("lost")._value.get() == 0
    world.now += 60
    await world.domains.round()
    assert DOMAINS.labels("lost")._value.get() == 1
    (domain,) = await world.domains.of("acme")
    assert domain.standing.is_lost
    missing = next(text for template, _, text in letters if template == "domain_missing")
    assert "_gateway-verify.acme.com" in missing and domain.value in missing
    assert await world.domains.proven("acme") == frozenset()
    assert await world.prove("globex") is DomainState.VERIFIED  # whoever proves it next has it
    world.dns.here.add(domain.value)
    world.now += DAY_S
    await world.domains.round()
    (late,) = await world.domains.of("acme")
    assert late.standing.state is DomainState.LOST and late.taken


async def test_dns_that_is_away_takes_nothing_away(world: World) -> None:
    await world.prove("acme")
    world.dns.away = True
    assert set(await world.days(40)) == {"verified"}


async def test_only_the_leader_looks_and_a_look_on_request_is_bounded(world: World) -> None:
    await world.domains.add("acme", "acme.com")
    world.now += DAY_S
    world.led = False
    assert await world.domains.round() == 0
    for _ in range(5):
        await world.domains.check("acme", "acme.com")
    assert world.dns.asked == 1
    assert await world.domains.check("globex", "acme.com") is None


async def test_a_fault_of_one_look_keeps_no_other_from_being_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one.com", "two.com"):
        domain, _ = await world.domains.add("acme", name)
        world.dns.here.add(domain.value)
    look = world.dns.look

    async def fails(domain: str, value: str) -> Look:
        if domain == "one.com":
            raise RuntimeError
        return await look(domain, value)

    monkeypatch.setattr(world.dns, "look", fails)
    world.now += DAY_S
    await world.domains.round()
    assert await world.domains.proven("acme") == {"two.com"}


async def test_silent_name_servers_delay_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.domains.service.PLACES", Places(quick=4, slow=1, tenant=2))
    silent = [f"silent{number}.com" for number in range(6)]
    looked: list[str] = []

    async def look(domain: str, value: str) -> Look:
        looked.append(domain)
        slow = domain in silent
        return Look(Outcome.UNKNOWN if slow else Outcome.FOUND, slow=slow)

    monkeypatch.setattr(world.dns, "look", look)
    for tenant, names in (("acme", silent), ("globex", ["quick1.com", "quick2.com"])):
        for name in names:
            await world.domains.add(tenant, name)
            world.now += 1
    world.now += 60
    await world.domains.round()
    assert looked == ["silent0.com", "silent1.com", "quick1.com", "quick2.com"], "two of each"
    for _ in range(4):
        world.now += DAY_S
        looked.clear()
        await world.domains.round()
        assert sum(name in silent for name in looked) <= 3
        assert "quick1.com" in looked and "quick2.com" in looked
    looked.clear()
    world.now += DAY_S
    await world.domains.round()
    assert len([name for name in looked if name in silent]) == 1, "those that were slow take turns"


async def test_an_operator_vouches_and_nobody_looks(world: World) -> None:
    assert await world.domains.vouch("acme", "acme.com", by="ops", reason="contract") is None
    await world.domains.add("acme", "acme.com")
    vouched = await world.domains.vouch("acme", "acme.com", by="ops", reason="contract")
    assert vouched is not None and vouched.standing.state is DomainState.VOUCHED
    world.now += 100 * DAY_S
    assert await world.domains.round() == 0
    checked = await world.domains.check("acme", "acme.com")
    assert checked == vouched and world.dns.asked == 0
    with pytest.raises(TakenError):
        await world.domains.add("globex", "acme.com")
    assert await world.domains.remove("acme", "acme.com", bound=False)
    assert not await world.domains.remove("acme", "acme.com", bound=False)
    await world.domains.add("globex", "acme.com")


async def test_a_claim_on_a_domain_in_use_is_not_given_up(world: World) -> None:
    assert await world.prove("acme") is DomainState.VERIFIED
    tenants = world.tenants()
    named = await tenants.put(document("acme", "acme.com"), version=None, by=BY)
    assert not isinstance(named, Rejected)
    world.dns.here.clear()
    for days, state in ((0, "verified"), (4, "missing"), (7, "lost")):
        assert [state] == (await world.days(days) or [state])[-1:]
        with pytest.raises(InUseError):
            await world.domains.remove("acme", "acme.com", bound=True)
    without = await tenants.put(document("acme"), version=named.version, by=BY)
    assert not isinstance(without, Rejected)
    world.files["acme"] = record_of(document("acme", "acme.com"), Credentials("c", Secret("x")))
    with pytest.raises(InUseError):
        await world.domains.remove("acme", "acme.com", bound=True)
    world.files.clear()
    assert await world.domains.remove("acme", "acme.com", bound=True)
    assert not await world.domains.remove("acme", "acme.com", bound=True)


async def test_claims_are_bounded_and_what_cannot_be_proven_is_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.domains.records.MAX_OF_TENANT", 2)
    assert MAX_OF_TENANT == 100
    for name in ("one.com", "two.com", "two.com"):
        await world.domains.add("acme", name)
    with pytest.raises(FullError):
        await world.domains.add("acme", "three.com")
    with pytest.raises(DomainError):
        await world.domains.add("globex", "gmail.com")


async def test_a_document_names_no_domain_that_another_tenant_has_proven(world: World) -> None:
    await world.prove("acme")
    tenants = world.tenants()
    refused = await tenants.put(document("globex", "acme.com"), version=None, by=BY)
    assert isinstance(refused, Rejected) and refused.code == "taken"
    assert "acme" not in refused.message.replace("acme.com", "")
    change = Change("create", "globex", None, document("globex", "acme.com"), ())
    for answer in (await tenants.rehearse([change]), await tenants.apply([change], by=BY)):
        assert isinstance(answer, Rejected) and answer.code == "taken"
    own = await tenants.put(document("acme", "acme.com"), version=None, by=BY)
    assert not isinstance(own, Rejected)


async def test_where_proof_is_required_only_what_is_proven_is_named(world: World) -> None:
    assert not isinstance(
        await world.tenants().put(document("acme", "old.com"), version=None, by=BY), Rejected
    )
    tenants = world.tenants("required")
    refused = await tenants.put(document("acme", "old.com", "acme.com"), version=1, by=BY)
    assert isinstance(refused, Rejected) and refused.code == "conflict"
    change = Change("update", "acme", 1, document("acme", "old.com", "acme.com"), ())
    for answer in (await tenants.rehearse([change]), await tenants.apply([change], by=BY)):
        assert (
            isinstance(answer, Rejected) and "gateway domains add acme acme.com" in answer.message
        )
    # What was there before stays, whatever else is changed.
    kept = await tenants.put(document("acme", "old.com", name="Acme Inc."), version=1, by=BY)
    assert not isinstance(kept, Rejected)
    await world.prove("acme")
    proven = await tenants.put(document("acme", "old.com", "acme.com"), version=2, by=BY)
    assert not isinstance(proven, Rejected)


async def test_what_only_a_holder_may_write_is_not_written_after_the_proof_is_gone(
    world: World,
) -> None:
    await world.prove("acme")
    tenants = world.tenants()
    assert not isinstance(await tenants.put(document("acme"), version=None, by=BY), Rejected)
    wanted = document("acme", "acme.com")
    async with world.database.write("domains", "tenants") as connection:
        # Asked while the proof stood; its transaction comes after the one that ends it.
        putting = asyncio.create_task(tenants.put(wanted, version=1, by=BY, if_held={"acme.com"}))
        await asyncio.sleep(0)
        await connection.execute(delete(domains).where(domains.c.domain == "acme.com"))
    refused = await putting
    assert isinstance(refused, Rejected) and refused.code == "conflict"
    assert "acme.com: not proven any more" in refused.message
    stored = await tenants.get("acme")
    assert stored is not None and stored.document.email_domains == frozenset()
    await world.prove("acme")
    kept = await tenants.put(wanted, version=1, by=BY, if_held={"acme.com"})
    assert not isinstance(kept, Rejected)
