"""The served description: complete, self-consistent, and the same as the copy in docs/."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.web.admin.problem import Code
from tests.web.admin.test_authorization import TABLE

if TYPE_CHECKING:
    from tests.web.admin.conftest import Api

COPY = Path(__file__).parents[3] / "docs/operator/openapi.json"


async def _served(api: Api) -> dict[str, Any]:
    document: dict[str, Any] = await (await api.client.get("/admin/v1/openapi.json")).json()
    return document


async def test_it_is_served_without_a_key_and_names_every_operation_with_its_scope(api: Api) -> None:
    document = await _served(api)
    operations = {o["operationId"]: o["x-scope"] for methods in document["paths"].values() for o in methods.values()}
    assert operations == {name: str(row[0]) for name, row in TABLE.items()}


async def test_every_reference_leads_somewhere(api: Api) -> None:
    document = await _served(api)
    for reference in set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))):
        assert reference in document["components"]["schemas"]


async def test_the_copy_in_docs_is_what_is_served(api: Api) -> None:
    """Written anew with ``UPDATE_DOCS=1``."""
    text = json.dumps(await _served(api), indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_DOCS"):
        COPY.write_text(text, encoding="utf-8")
    assert COPY.read_text(encoding="utf-8") == text


def test_every_problem_code_is_documented() -> None:
    page = (COPY.parent / "admin-api.md").read_text(encoding="utf-8")
    assert {str(code) for code in Code} <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
