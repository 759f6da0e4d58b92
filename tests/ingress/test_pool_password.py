"""``curl --user`` through a proxy to an application: name and password of a user of the pool."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from demo.cognito.control import faults
from tests.support.passwords import PASSWORD, PasswordWorld
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "acme.localhost"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    world = PasswordWorld(tmp_path_factory.mktemp("pool-password"), ingress="nginx", central=False)
    with RunningWorld(world) as started:
        yield started


def curl(running: RunningWorld, path: str, *, user: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers in lower case, and the body."""
    said = subprocess.run(
        [
            "curl",
            "--silent",
            "--show-error",
            "--include",
            "--user",
            user,
            "--basic",
            running.world.url(HOST) + path,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    head, _, body = said.replace("\r", "").partition("\n\n")
    status, *lines = head.splitlines()
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers, body


def test_curl_signs_in_a_user_of_the_pool_and_the_application_gets_no_password(
    running: RunningWorld,
) -> None:
    world = running.world
    assert isinstance(world, PasswordWorld)
    user = world.add_member(f"bob-{secrets.token_hex(4)}", "staff")
    status, _, body = curl(running, "/echo", user=f"{user.username}:{PASSWORD}")
    assert status == 200
    received = json.dumps(json.loads(body)).lower()
    assert user.attributes["email"] in received
    assert user.sub in received
    assert PASSWORD.lower() not in received
    assert '"authorization"' not in received
    status, headers, _ = curl(running, "/echo", user=f"{user.username}:wrong")
    assert status == 401
    assert headers["www-authenticate"].startswith(f'Basic realm="{HOST}"')
    user.second_factor = "SOFTWARE_TOKEN_MFA"
    world.cloud.cognito.pool.settings["MfaConfiguration"] = "OPTIONAL"
    user.password = "Another-Passw0rd"
    assert curl(running, "/echo", user=f"{user.username}:Another-Passw0rd")[0] == 403
    world.cloud.cognito.control.faults.plan("InitiateAuth", faults.throttle)
    user.password = "Third-Passw0rd"
    status, headers, _ = curl(running, "/echo", user=f"{user.username}:Third-Passw0rd")
    assert (status, headers["retry-after"]) == (503, "2")
