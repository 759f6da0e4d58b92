"""``scripts/demo`` as a new user runs it: it says when it is ready, tells a script all it needs,
and leaves nothing behind.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from demo.processes import free_port

ROOT = Path(__file__).parents[2]
START_S, STOP_S, POLL_S = 120.0, 30.0, 0.05


def processes_of(session: int) -> list[str]:
    """Command lines of all processes in a session (field 6 of /proc/PID/stat)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    found.append(
                        (entry / "cmdline")
                        .read_bytes()
                        .replace(b"\0", b" ")
                        .decode(errors="replace")
                    )
            except (OSError, ValueError, IndexError):
                continue
    return found


def wait_for(condition, seconds: float, what: str) -> None:  # type: ignore[no-untyped-def]  # any callable
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(POLL_S)


@pytest.mark.parametrize(
    ("ingress", "signum"),
    [
        # nginx is in front in tests/browser/test_quickstart.py.
        ("traefik", signal.SIGINT),
        ("caddy", signal.SIGTERM),
        ("envoy", signal.SIGINT),
    ],
)
def test_the_demo_gets_ready_and_leaves_no_process(
    tmp_path: Path, ingress: str, signum: int
) -> None:
    port, description, log = free_port(), tmp_path / "demo.json", tmp_path / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(ROOT / "scripts" / "demo"),
                "--ingress",
                ingress,
                "--port",
                str(port),
                "--describe",
                str(description),
                "--replicas",
                "2" if ingress == "traefik" else "1",
            ],
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=tmp_path,
        )
    try:
        wait_for(
            lambda: b"\nready: " in log.read_bytes() or process.poll() is not None,
            START_S,
            log.read_text(),
        )
        assert process.poll() is None, log.read_text()
        assert f"ready: http://acme.localhost:{port}/" in log.read_text()
        told = json.loads(description.read_text())
        assert told["ingress"] == ingress
        assert set(told) >= {
            "hosts",
            "replicas",
            "ingress_key",
            "admin",
            "cognito",
            "idps",
            "users",
            "hooks",
            "console",
            "setup",
            "config",
            "pids",
        }
        assert told["console"]["link"].startswith(told["console"]["url"])
        assert f"  console  {told['console']['link']}" in log.read_text()
        assert f"  setup    {told['setup']['address']}" in log.read_text()
        assert Path(told["config"]).is_file()
        assert description.stat().st_mode & 0o077 == 0, "it holds keys"
        command = [
            str(ROOT / ".venv" / "bin" / "gateway"),
            "tenants",
            "list",
            "--json",
            "-c",
            told["config"],
        ]
        beside = subprocess.run(
            command,
            cwd="/",
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert beside.returncode == 0, beside.stderr
        assert {"acme", "globex", "hooli", "inactive"} <= {
            row["tenant"]["id"] for row in json.loads(beside.stdout)["items"]
        }
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request(
            "GET", "/", headers={"Host": f"acme.localhost:{port}", "Accept": "text/html"}
        )
        answer = connection.getresponse()
        assert (
            answer.status,
            answer.getheader("Location", "").startswith(
                f"http://acme.localhost:{port}/_auth/login?rd="
            ),
        ) == (302, True)
        connection.close()
        assert told["admin"]["key"] not in " ".join(processes_of(process.pid)), (
            "secrets never in process lists"
        )
        assert told["ingress_key"] not in " ".join(processes_of(process.pid))
    finally:
        process.send_signal(signum)
        try:
            code = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert code == 0
    wait_for(lambda: not processes_of(process.pid), 10, f"left behind: {processes_of(process.pid)}")
