"""The served description against the served API, by code that is not ours: Schemathesis makes
requests from it and judges the answers.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.admin.application import PREFIX, admin_application
from tests.admin.test_dispatch import TENANT

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_aiohttp.plugin import AiohttpClient

    from tests.admin.conftest import Api

EXAMPLES = 4
"""Per operation and phase, the same ones at each run: with those that the coverage phase derives
from the description, some four thousand requests.
"""

HOLDS_A_TENANT = ("/tenants/{tenant}/provision", "/explain")
"""Their bodies hold a tenant's document, as that of ``PUT /tenants/{tenant}`` does: what can be
derived from it is sent to that one only, two thirds less. ``scripts/soak description`` sends all.
"""

CONFIGURATION = "".join(
    f'[[operations]]\ninclude-path = "{PREFIX}{path}"\nphases.coverage.enabled = false\n'
    for path in HOLDS_A_TENANT
)


async def test_schemathesis_finds_nothing(
    api: Api, aiohttp_client: AiohttpClient, tmp_path: Path
) -> None:
    ticks = itertools.count()
    services = replace(api.services, monotonic=lambda: float(next(ticks)))
    application = web.Application()
    application.add_subapp(PREFIX, admin_application(services))
    client = await aiohttp_client(application)
    await api.call("PUT", "/tenants/acme", json=TENANT)
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text("" if os.environ.get("SOAK_DESCRIPTION") else CONFIGURATION)
    arguments = [
        "--config-file",
        str(configuration),
        "run",
        str(client.make_url(f"{PREFIX}/openapi.json")),
        "--header",
        f"Authorization: Bearer {await api.operator()}",
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        "1",
        "--exclude-path",
        f"{PREFIX}/revocations/stream",
        "--checks",
        "all",
        # A schema cannot say "at most one of these", "a cursor that this list gave out", or what a
        # host name is: those are refused with 400.
        "--exclude-checks",
        "positive_data_acceptance",
        "--no-color",
        "--generation-database",
        "none",
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        *arguments,
        # It looks through the whole environment twice for each request.
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text[-6000:]
    cases = re.search(r"(\d+) generated", text)
    assert cases is not None, text[-2000:]
    assert int(cases[1]) > 500
