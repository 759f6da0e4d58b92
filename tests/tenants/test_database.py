from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from gateway.core.model import AppClient, Secret
from gateway.database.schema import (
    audit,
    client_credentials,
    directory_members,
    metadata,
    revocations,
    tenant_names,
    tenants,
)
from gateway.database.tenant_deletion import FORGOTTEN_WITH_A_TENANT, KEPT_OF_A_TENANT
from gateway.tenants.api import Rejected
from gateway.tenants.database import TenantDatabase
from gateway.tenants.document import TenantDocument
from gateway.tenants.secrets import show
from gateway.tenants.snapshot_record import Credentials, document_of, record_of
from gateway.tenants.stored import Actor, StoredTenant
from tests.database.fixtures import config_with
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from gateway.database.engine import Database

pytestmark = pytest.mark.every_database

ALICE = Actor("cli:alice")


def doc(tenant: str = "acme", **more: Any) -> TenantDocument:
    return TenantDocument.model_validate(sample(tenant, **more))


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> TenantDatabase:
    return TenantDatabase(
        database,
        config_with(tmp_path, login_host="login.example.com", shared_hosts=["app.example.com"]),
        clock=lambda: 1_000.0,
    )


async def created(registry: TenantDatabase, document: TenantDocument) -> StoredTenant:
    stored = await registry.put(document, version=None, by=ALICE)
    assert isinstance(stored, StoredTenant), stored
    return stored


async def refused(
    registry: TenantDatabase,
    document: TenantDocument,
    *,
    version: int | None = None,
    files: tuple[TenantDocument, ...] = (),
) -> str:
    answer = await registry.put(
        document, version=version, by=ALICE, files=[record_of(file, None) for file in files]
    )
    assert isinstance(answer, Rejected)
    return f"{answer.code}: {answer.message}"


async def test_what_was_put_comes_back(registry: TenantDatabase) -> None:
    document = doc(
        rules=[{"path": "/admin/**", "groups": ["admins"]}],
        webhook={
            "url": "https://app.example.com/",
            "secret": "whisper-0123456789abcdef0123456789abcdef",
        },
    )
    stored = await created(registry, document)
    assert stored == await registry.get("acme")
    assert (stored.document, stored.version) == (document, 1)
    assert await registry.get("globex") is None


async def test_a_change_names_the_version_it_was_made_from(registry: TenantDatabase) -> None:
    await created(registry, doc())
    assert await refused(registry, doc(name="Two")) == "exists: tenant acme exists (version 1)"
    changed = await registry.put(doc(name="Two"), version=1, by=ALICE)
    assert isinstance(changed, StoredTenant)
    assert changed.version == 2
    assert (
        await refused(registry, doc(name="Three"), version=1)
        == "precondition_failed: tenant acme is at version 2 now"
    )
    assert (
        await refused(registry, doc("globex"), version=1)
        == "precondition_failed: tenant globex does not exist any more"
    )
    gone = await registry.delete("acme", version=1, by=ALICE)
    assert gone == Rejected("precondition_failed", "tenant acme is at version 2 now")
    assert await registry.delete("acme", version=2, by=ALICE) is None
    assert await registry.delete("acme", version=None, by=ALICE) == Rejected(
        "not_found", "there is no tenant acme in SQL"
    )


async def test_of_parallel_changes_one_wins(registry: TenantDatabase) -> None:
    await created(registry, doc())
    answers = await asyncio.gather(
        *(registry.put(doc(name=f"Name {number}"), version=1, by=ALICE) for number in range(5))
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Rejected"] * 4 + [
        "StoredTenant"
    ]


async def test_of_parallel_claims_of_one_host_one_wins(registry: TenantDatabase) -> None:
    answers = await asyncio.gather(
        *(
            registry.put(doc(f"t{number}", hosts=["same.example.org"]), version=None, by=ALICE)
            for number in range(5)
        )
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Rejected"] * 4 + [
        "StoredTenant"
    ]


async def test_an_unchanged_document_writes_nothing(
    registry: TenantDatabase, database: Database
) -> None:
    await created(registry, doc())
    before = await registry.revision()
    again = await registry.put(doc(), version=1, by=ALICE)
    assert isinstance(again, StoredTenant)
    assert again.version == 1
    assert await registry.revision() == before
    async with database.read() as connection:
        assert len((await connection.execute(select(audit))).all()) == 1


CLAIMS = {
    "host": (
        {"hosts": ["acme.example.com"]},
        "host acme.example.com: claimed by acme and by globex",
    ),
    "host within a wildcard": (
        {"hosts": ["x.y.wild.example.org"]},
        "host x.y.wild.example.org (beside *.wild.example.org): claimed by acme and by globex",
    ),
    "wildcard": (
        {"hosts": ["*.wild.example.org"]},
        "host *.wild.example.org: claimed by acme and by globex",
    ),
    "wildcard around a host": ({"hosts": ["*.com"]}, None),
    "wildcard around acme's host": (
        {"hosts": ["*.b.example.net"]},
        "host *.b.example.net (beside a.b.example.net): claimed by acme and by globex",
    ),
    "wildcard around a wildcard": (
        {"hosts": ["*.example.org"]},
        "host *.example.org (beside *.wild.example.org): claimed by acme and by globex",
    ),
    "wildcard within a wildcard": (
        {"hosts": ["*.x.wild.example.org"]},
        "host *.x.wild.example.org (beside *.wild.example.org): claimed by acme and by globex",
    ),
    "e-mail domain": (
        {"email_domains": ["acme.test"]},
        "e-mail domain acme.test: claimed by acme and by globex",
    ),
    "client": ({"client_id": "clientacme"}, "client clientacme: claimed by acme and by globex"),
    "provisioned client": (
        {"client_id": "madeforinitech"},
        "client madeforinitech: claimed by initech and by globex",
    ),
    "login host": (
        {"hosts": ["login.example.com"]},
        "host login.example.com: claimed by login_host and by globex",
    ),
    "wildcard around a shared host": (
        {"hosts": ["*.example.com"]},
        "host app.example.com (within *.example.com): claimed by globex and by shared_hosts",
    ),
    "a name that looks like a pattern": ({"hosts": ["a_b.example.net"]}, ""),
}


@pytest.mark.parametrize(("change", "message"), CLAIMS.values(), ids=CLAIMS.keys())
async def test_a_claimed_name_is_refused_with_the_name_of_the_other(
    registry: TenantDatabase, change: dict[str, Any], message: str | None
) -> None:
    await created(
        registry,
        doc(
            "acme",
            hosts=["acme.example.com", "*.wild.example.org", "a.b.example.net", "axb.example.net"],
        ),
    )
    await registry.put_credentials("initech", Credentials("madeforinitech", Secret("s")), by=ALICE)
    if message is None:
        with pytest.raises(ValueError, match="host name"):
            doc("globex", **change)
    elif message:
        answer = await refused(registry, doc("globex", **change))
        assert answer.startswith("taken: ")
        assert message in answer.removeprefix("taken: ").splitlines()
    else:
        await created(registry, doc("globex", **change))


async def test_a_freed_name_can_be_claimed(registry: TenantDatabase) -> None:
    await created(registry, doc("acme", hosts=["one.example.org", "*.two.example.org"]))
    moved = await registry.put(doc("acme", hosts=["one.example.org"]), version=1, by=ALICE)
    assert isinstance(moved, StoredTenant)
    await created(registry, doc("globex", hosts=["a.two.example.org"]))
    await registry.delete("acme", version=None, by=ALICE)
    await created(registry, doc("initech", hosts=["one.example.org"]))


async def test_the_database_itself_refuses_a_second_claim(
    registry: TenantDatabase, database: Database
) -> None:
    await created(registry, doc("acme"))
    await created(registry, doc("globex"))

    async def steal() -> None:
        async with database.write() as connection:
            await connection.execute(
                insert(tenant_names).values(kind="host", name="acme.example.com", tenant="globex")
            )

    with pytest.raises(IntegrityError):
        await steal()


async def test_a_tenant_of_the_folder_is_not_changed_here_and_keeps_its_names(
    registry: TenantDatabase,
) -> None:
    file = doc("acme")
    assert (
        await refused(registry, doc("acme", name="Other"), files=(file,))
        == "read_only: tenant acme is a file of tenants.directory; change it there"
    )
    assert "host acme.example.com: claimed by acme and by globex" in await refused(
        registry, doc("globex", hosts=["acme.example.com"]), files=(file,)
    )


async def test_what_the_gateway_cannot_serve_is_refused(registry: TenantDatabase) -> None:
    document = doc(
        providers=[{"name": "acme-okta", "kind": "okta", "issuer": "http://idp.example.com"}]
    )
    assert (await refused(registry, document)).startswith(
        "invalid_body: tenant acme: providers.acme-okta.issuer (is 'http://idp.example.com'): "
        "an https:// URL"
    )


async def test_secrets_are_sealed_kept_and_never_on_record(
    registry: TenantDatabase, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    await created(
        registry,
        doc(
            client_secret="hunter2",
            webhook={
                "url": "https://app.example.com/",
                "secret": "whisper-0123456789abcdef0123456789abcdef",
            },
        ),
    )
    kept = await registry.put(
        doc(
            client_secret="***",
            name="Two",
            webhook={
                "url": "https://app.example.com/",
                "secret": "louder-0123456789abcdef0123456789abcdef",
            },
        ),
        version=1,
        by=Actor("key:ops", "req-1"),
    )
    assert isinstance(kept, StoredTenant)
    assert kept.document.client_secret == Secret("hunter2")
    await registry.put_credentials("acme", Credentials("made", Secret("rattle")), by=ALICE)
    await registry.delete_credentials("acme", by=ALICE)
    await registry.delete("acme", version=None, by=ALICE)
    async with database.read() as connection:
        rows = (await connection.execute(select(audit).order_by(audit.c.id))).mappings().all()
        everything = [
            str(row)
            for table in (tenants, client_credentials, audit)
            for row in (await connection.execute(select(table))).all()
        ]
    assert [(row["action"], row["actor"], row["request_id"]) for row in rows] == [
        ("tenant.create", "cli:alice", ""),
        ("tenant.update", "key:ops", "req-1"),
        ("tenant.credentials", "cli:alice", ""),
        ("tenant.credentials_removed", "cli:alice", ""),
        ("tenant.delete", "cli:alice", ""),
    ]
    assert (
        rows[1]["before"]["name"],
        rows[1]["after"]["name"],
        rows[1]["after"]["client_secret"],
    ) == ("Acme", "Two", "***")
    logged = [
        json.dumps(vars(record)["gateway_fields"], default=str)
        for record in caplog.records
        if record.getMessage() == "audit"
    ]
    assert len(logged) == 5
    for secret in ("hunter2", "whisper", "louder", "rattle"):
        assert not [text for text in (*everything, *logged) if secret in text]


async def test_a_kept_secret_needs_a_stored_one(registry: TenantDatabase) -> None:
    assert (await refused(registry, doc(client_secret="***"))).startswith(
        "invalid_body: tenant acme: client_secret: *** is how a secret is shown"
    )


async def test_a_provisioned_client_belongs_to_one_tenant(registry: TenantDatabase) -> None:
    await registry.put_credentials("acme", Credentials("one", Secret("s")), by=ALICE)
    assert await registry.put_credentials(
        "globex", Credentials("one", Secret("s")), by=ALICE
    ) == Rejected("taken", "client one: claimed by acme and by globex")
    await registry.put_credentials("acme", Credentials("two", Secret("t")), by=ALICE)
    held = await registry.credentials("acme")
    assert held == Credentials("two", Secret("t"))
    soon, later = (
        AppClient("one", Secret("s"), retires_at=100.0),
        AppClient("zero", Secret("z"), retires_at=200.0),
    )
    await registry.put_credentials(
        "acme", Credentials("three", Secret("u"), (later, soon)), by=ALICE
    )
    assert await registry.credentials("acme") == Credentials("three", Secret("u"), (soon, later))
    assert await registry.clients_due_for_deletion(99.0) == {}
    assert await registry.clients_due_for_deletion(200.0) == {"acme": ("one", "zero")}
    assert await registry.put_credentials(
        "globex", Credentials("zero", Secret("s")), by=ALICE
    ) == Rejected("taken", "client zero: claimed by acme and by globex")
    await registry.delete_credentials("acme", by=ALICE)
    await registry.delete_credentials("acme", by=ALICE)
    assert await registry.credentials("acme") is None


async def test_a_provider_of_the_pool_belongs_to_one_tenant(registry: TenantDatabase) -> None:
    await created(registry, doc())
    theirs = [{"name": "acme-okta", "kind": "okta", "issuer": "https://acme.okta.example.com"}]
    assert (
        await refused(registry, doc("globex", providers=theirs))
        == "taken: provider acme-okta: claimed by acme and by globex"
    )
    own = [{"name": "acme-okta", "kind": "cognito"}]
    await created(registry, doc("globex", providers=own))


async def test_pages_go_on_where_the_last_ended(registry: TenantDatabase) -> None:
    for tenant in ("d", "b", "a", "c"):
        await created(
            registry, doc(tenant, providers=[{"name": f"{tenant}-okta", "kind": "cognito"}])
        )
    first = await registry.page(limit=3)
    second = await registry.page(after=first[-1].id, limit=3)
    assert [stored.id for stored in (*first, *second)] == ["a", "b", "c", "d"]
    assert list(await registry.all()) == ["a", "b", "c", "d"]


async def test_only_what_changed_is_handed_to_the_publisher(registry: TenantDatabase) -> None:
    await created(registry, doc("acme"))
    provisioned = sample("globex", client="managed")
    del provisioned["client_id"], provisioned["client_secret"]
    await created(registry, TenantDocument.model_validate(provisioned))
    first = await registry.changed({})
    assert sorted(first.documents) == ["acme", "globex"]
    assert first.records()["globex"].client_ids == ()
    assert (await registry.changed(first.stamps)).documents == {}
    await registry.put_credentials("globex", Credentials("made", Secret("rattle")), by=ALICE)
    second = await registry.changed(first.stamps)
    assert list(second.documents) == ["globex"]
    record = second.records()["globex"]
    assert document_of(record)[1] == (AppClient("made", Secret("rattle")),)
    assert second.revision == first.revision + 1
    await registry.delete("acme", version=None, by=ALICE)
    assert list((await registry.changed(second.stamps)).stamps) == ["globex"]


async def test_a_change_made_from_a_deleted_tenants_version_is_refused_by_who_has_its_id_now(
    registry: TenantDatabase,
) -> None:
    """Else a run or an editor that began before overwrote another customer's document."""
    seen = set[int]()
    for name in ("First", "Second", "Third"):
        made = await created(registry, doc(name=name))
        changed = await registry.put(doc(name=f"{name} again"), version=made.version, by=ALICE)
        assert isinstance(changed, StoredTenant)
        assert not seen & {made.version, changed.version}
        for old in seen:
            assert (await refused(registry, doc(name="Old"), version=old)).startswith(
                "precondition_failed"
            )
            gone = await registry.delete("acme", version=old, by=ALICE)
            assert gone is not None
        seen |= {made.version, changed.version}
        assert await registry.delete("acme", version=changed.version, by=ALICE) is None


async def test_generations_only_go_up(registry: TenantDatabase) -> None:
    numbers = [
        await registry.next_generation(at_least=0),
        await registry.next_generation(at_least=0),
        await registry.next_generation(at_least=1_000),
        await registry.next_generation(at_least=5),
    ]
    assert numbers == [1, 2, 1001, 1002]


async def test_what_was_published_is_remembered_and_never_goes_back(
    registry: TenantDatabase,
) -> None:
    assert await registry.revision() == (0, 0)
    await created(registry, doc())
    await registry.published(1)
    await registry.published(0)
    assert await registry.revision() == (1, 1)


def test_a_document_shown_is_a_document(tmp_path: Path) -> None:
    assert TenantDocument.model_validate(show(doc())).client_secret == Secret("***")


async def test_a_deleted_tenant_leaves_nothing_that_the_next_of_its_id_could_see(
    registry: TenantDatabase, database: Database
) -> None:
    """Whatever table comes: it is forgotten with the tenant unless it says otherwise."""
    with_tenant = {table.name for table in metadata.sorted_tables if "tenant" in table.c}
    assert {table.name for table in FORGOTTEN_WITH_A_TENANT} == with_tenant - KEPT_OF_A_TENANT
    assert with_tenant >= KEPT_OF_A_TENANT
    assert {
        "scim_resources",
        "directory_members",
        "directory_cursors",
        "webhooks_outbox",
        "tenant_names",
        "hook_inbox",
        "hook_deliveries",
        "hook_arrivals",
    } <= {table.name for table in FORGOTTEN_WITH_A_TENANT}
    for tenant in ("acme", "globex"):
        await created(registry, doc(tenant))
    async with database.write() as connection:
        for tenant in ("acme", "globex"):
            await connection.execute(
                insert(directory_members).values(
                    tenant=tenant, provider="p", group_id="g", member="alice"
                )
            )
            by_hand = {
                "id": tenant,
                "kind": "block",
                "source": "admin",
                "request": "",
                "watermark_us": 1,
                "received_at": 1.0,
                "durable_at": 1.0,
                "to_tell": 1,
            }
            await connection.execute(insert(revocations).values(tenant=tenant, **by_hand))
    await registry.delete("acme", version=None, by=ALICE)
    async with database.read() as connection:
        left = {
            table.name: {row.tenant for row in await connection.execute(select(table))}
            for table in FORGOTTEN_WITH_A_TENANT
        }
        to_tell = (
            (
                await connection.execute(
                    select(revocations.c.tenant).where(revocations.c.to_tell == 1)
                )
            )
            .scalars()
            .all()
        )
    assert to_tell == ["globex"], (
        "the next of its id is not told of whom an operator blocked before"
    )
    assert {tenant for found in left.values() for tenant in found} == {"globex"}
    assert left["directory_members"] == {"globex"}
