"""A provider that is not ours: the npm ``oidc-provider``, certified by the OpenID Foundation,
installed from a hashed lock.

It signs people in with any password on a page of its own, then asks for consent. Needs npm; without
it the test is skipped, and ``scripts/test`` says so at the end.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from tests.support.browserless import Page, Person

HERE = Path(__file__).parent
START_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class CertifiedProvider:
    """A running provider."""

    issuer: str

    async def log_in(self, person: Person, page: Page, account: str) -> Page:
        """From its login form over its consent page to wherever that leads."""
        consent = await person.submit(page, {"login": account, "password": "any"})
        return await person.submit(consent) if consent.forms else consent


async def _install() -> None:
    """``npm ci`` once per checkout; parallel test processes wait for each other."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is not installed")
    with (HERE / ".install.lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if (HERE / "node_modules" / ".package-lock.json").exists():
            return
        process = await asyncio.create_subprocess_exec(
            "npm",
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            cwd=HERE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()


@asynccontextmanager
async def certified_provider(
    *,
    clients: Iterable[Mapping[str, Any]],
    accounts: Mapping[str, Mapping[str, Any]],
    host: str = "op.localhost",
    cognito: bool = False,
) -> AsyncIterator[CertifiedProvider]:
    """``cognito`` puts its endpoints where Cognito has them. Start it with clients in the
    provider's own words (``client_id``, ``redirect_uris``, …) and accounts by subject.
    """
    await _install()
    process = await asyncio.create_subprocess_exec(
        "node",
        "provider.mjs",
        cwd=HERE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "NODE_ENV": "test"},
        preexec_fn=die_with_parent,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(
            json.dumps(
                {"host": host, "clients": list(clients), "accounts": accounts, "cognito": cognito}
            ).encode()
        )
        process.stdin.write_eof()
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await process.stdout.readline()
        assert line, "the provider did not start"
        yield CertifiedProvider(f"http://{host}:{json.loads(line)['port']}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
