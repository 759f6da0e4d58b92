"""Tenants through the admin API's eyes: SQL and files in one list, changes in force when
answered.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.tenants import index
from gateway.tenants.admin_records import RegistryRecords
from gateway.tenants.api import Rejected, TenantRecord
from gateway.tenants.database import TenantDatabase
from gateway.tenants.document import TenantDocument
from gateway.tenants.index import TenantFilter
from gateway.tenants.snapshot_record import record_of
from tests.database.fixtures import config_with
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from gateway.database.engine import Database
    from gateway.tenants.snapshot_record import Record
    from gateway.tenants.stored import StoredTenant

pytestmark = pytest.mark.every_database


def document(tenant: str, **more: object) -> TenantDocument:
    return TenantDocument.model_validate(sample(tenant, **more))


class Waits:
    def __init__(self) -> None:
        self.times = 0

    async def __call__(self, _tenant: str) -> None:
        self.times += 1


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def records(database: Database, tmp_path: Path, waits: Waits) -> RegistryRecords:
    files = {name: record_of(document(name), None) for name in ("filed", "other")}
    return RegistryRecords(
        TenantDatabase(database, config_with(tmp_path)), files=lambda: files, in_force=waits
    )


async def test_a_tenant_is_there_by_file_or_by_sql(records: RegistryRecords) -> None:
    assert isinstance(await records.put(document("acme"), etag=None), TenantRecord)
    there = {name: await records.has(name) for name in ("acme", "filed", "acme2", "")}
    assert there == {"acme": True, "filed": True, "acme2": False, "": False}


async def test_a_row_of_the_list_is_the_tenant_as_it_is_shown_alone(
    records: RegistryRecords,
) -> None:
    assert isinstance(await records.put(document("acme"), etag=None), TenantRecord)
    page = await records.page(only=None, position=None, limit=1)
    assert page.items == [await records.get("acme")]
    assert "***" in json.dumps(page.items[0].document)


async def test_files_and_sql_are_one_list_in_pages(records: RegistryRecords) -> None:
    for name in ("acme", "globex", "zeta"):
        assert isinstance(await records.put(document(name), etag=None), TenantRecord)
    seen: list[tuple[str, str]] = []
    position: str | None = None
    while True:
        page = await records.page(only=None, position=position, limit=2)
        seen += [(r.id, r.origin) for r in page.items]
        position = page.position
        if position is None:
            break
    assert seen == [
        ("acme", "sql"),
        ("filed", "file"),
        ("globex", "sql"),
        ("other", "file"),
        ("zeta", "sql"),
    ]
    assert [r.id for r in (await records.page(only="globex", position=None, limit=2)).items] == [
        "globex"
    ]


async def test_no_secret_is_in_a_record(records: RegistryRecords) -> None:
    stored = await records.put(document("acme"), etag=None)
    assert "secret of" not in repr(stored)
    assert "secret of" not in repr(await records.get("filed"))


async def test_a_change_names_its_version_and_keeps_secrets_sent_as_stars(
    records: RegistryRecords, waits: Waits
) -> None:
    first = await records.put(document("acme"), etag=None)
    assert isinstance(first, TenantRecord)
    shown = TenantDocument.model_validate({**first.document, "name": "Acme Ltd"})
    second = await records.put(shown, etag=first.etag)
    assert isinstance(second, TenantRecord)
    assert second.document["name"] == "Acme Ltd"
    assert waits.times == 2
    assert await records.put(shown, etag=first.etag) == Rejected(
        "precondition_failed", "tenant acme is at version 2 now"
    )
    assert isinstance(await records.put(shown, etag="nonsense"), Rejected)
    assert waits.times == 2


@pytest.mark.parametrize("etag", [None, "1", "abcdef"])
async def test_a_file_is_read_only(records: RegistryRecords, etag: str | None) -> None:
    refused = await records.put(document("filed"), etag=etag)
    assert isinstance(refused, Rejected)
    assert refused.code == "read_only"
    deleted = await records.delete("filed", etag=etag)
    assert isinstance(deleted, Rejected)
    assert deleted.code == "read_only"


async def test_names_of_files_and_tenants_are_taken(records: RegistryRecords) -> None:
    await records.put(document("acme"), etag=None)
    for host in ("acme.example.com", "filed.example.com"):
        refused = await records.put(document("globex", hosts=[host]), etag=None)
        assert isinstance(refused, Rejected)
        assert refused.code == "taken"
        assert host.split(".", maxsplit=1)[0] in refused.message


async def test_deleting_what_is_gone_is_not_found(records: RegistryRecords) -> None:
    await records.put(document("acme"), etag=None)
    assert await records.delete("acme", etag="1") is None
    refused = await records.delete("acme", etag=None)
    assert isinstance(refused, Rejected)
    assert refused.code == "not_found"


async def test_a_search_finds_files_and_sql_by_id_name_host_and_domain(
    database: Database, tmp_path: Path, waits: Waits
) -> None:
    published = {
        name: record_of(
            document(
                name,
                name=f"The {name} company",
                hosts=[f"{name}.example.com"],
                email_domains=[f"{name}.test"],
                active=name != "zeta",
            ),
            None,
        )
        for name in ("acme", "filed", "globex", "zeta")
    }
    files = {"filed": published["filed"]}
    records = RegistryRecords(
        TenantDatabase(database, config_with(tmp_path)),
        files=lambda: files,
        records=lambda: published,
        in_force=waits,
    )
    for name in ("acme", "globex", "zeta"):
        assert isinstance(await records.put(document(name), etag=None), TenantRecord)

    async def found(text: str = "", **more: Any) -> list[str]:
        page = await records.page(
            only=None, position=None, limit=10, wanted=TenantFilter(text, **more)
        )
        return [record.id for record in page.items]

    assert await found("GLOBEX.example") == ["globex"]
    assert await found("the filed comp") == ["filed"]
    assert await found("zeta.test") == ["zeta"]
    assert await found("company") == ["acme", "filed", "globex", "zeta"]
    assert await found("nobody") == []
    assert await found("company", state="inactive") == ["zeta"]
    assert await found(within=("a*", "filed")) == ["acme", "filed"]
    only = await records.page(
        only="acme", position=None, limit=10, wanted=TenantFilter("company", state="active")
    )
    assert [record.id for record in only.items] == ["acme"]


async def test_of_ten_thousand_tenants_a_search_reads_one_page(
    database: Database, tmp_path: Path, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = record_of(document("t0"), None)
    published = {
        name: replace(one, id=name, digest=name, hosts=(f"{name}.example.com",))
        for name in (f"t{number:05}" for number in range(10_000))
    }
    tenants = TenantDatabase(database, config_with(tmp_path))
    asked: list[int] = []

    async def some(ids: Collection[str]) -> list[StoredTenant]:
        asked.append(len(ids))
        return []

    monkeypatch.setattr(tenants, "some", some)
    read: list[str] = []

    def counted(record: Record) -> dict[str, object]:
        read.append(record.id)
        return {"name": record.id}

    monkeypatch.setattr(index, "shown_of", counted)
    records = RegistryRecords(tenants, files=dict, records=lambda: published, in_force=waits)
    for text in ("example.com", "t000", "t09999.example.com"):
        await records.page(only=None, position=None, limit=50, wanted=TenantFilter(text))
    assert asked == [50, 50, 1]
    assert len(read) == 10_000  # each name once, whatever the number of searches
    published["t00001"] = replace(published["t00001"], digest="changed")
    del published["t00002"]
    await records.page(only=None, position=None, limit=50, wanted=TenantFilter("t0000"))
    assert len(read) == 10_001
    assert asked[-1] == 9
