"""The steps, in the sandbox. Prints a table of steps with seconds and failed requests; the exit
code is 1 where a step failed or cost a request that the pages promise to keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.rehearsal.pages import blocks
from tests.rehearsal.visitors import (
    Visitor,
    ask,
    browse_in,
    log_in,
    serve_app,
    trust_in_chromium,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = "/usr/bin/python3"
CLOUD: Final = {
    "example.auth.eu-north-1.amazoncognito.com": "10.0.2.1",
    "cognito-idp.eu-north-1.amazonaws.com": "10.0.2.1",
    "acme.okta.com": "10.0.2.2",
    "login.globex.example": "10.0.2.3",
}
HERE: Final = (
    "redis.internal",
    "postgres.internal",
    "acme.example.com",
    "globex.example.com",
    "login.example.com",
    "hooks.example.com",
    "rehearsal",
)
ANY_UID: Final = """
listen: {check: "127.0.0.1:7081", public: "127.0.0.1:7080", hooks: "127.0.0.1:7083", admin: "127.0.0.1:7082"}
cognito: {region: eu-north-1, user_pool_id: eu-north-1_AbCdEf123, domain: "https://x.auth.example"}
ingress: {trusted_proxies: ["127.0.0.0/8"]}
state_dir: /srv/state
key_ring: {file: /srv/state/keys.json}
"""  # noqa: E501 - one text, as it is


class StepError(Exception):
    """A step did not do what the pages say."""


@dataclass(slots=True)
class Done:
    """One row of the table."""

    name: str
    seconds: float
    asked: int = 0
    failed: list[str] = field(default_factory=list)
    promised: bool = True
    """That no request fails."""
    error: str = ""

    @property
    def bad(self) -> bool:
        return bool(self.error) or (self.promised and bool(self.failed))


class Play:
    """Steps and what they leave behind."""

    def __init__(self) -> None:
        self.scripts, self.files = blocks()
        self.rows: list[Done] = []
        self.visitor: Visitor | None = None
        self.cookie = ""
        self.cloud: dict[str, Any] = {}
        self.keys: dict[str, str] = {}
        self.used: set[str] = set()
        self._cloud_process: subprocess.Popen[bytes] | None = None

    # --- the table -------------------------------------------------------------------------------

    def step(self, name: str, act: Callable[[], None], *, promised: bool = True) -> None:
        """Raises ``StepError`` where it fails: what follows builds on it."""
        began = time.monotonic()
        row = Done(name, 0.0, promised=promised)
        try:
            if self.visitor is None:
                act()
            else:
                with self.visitor.counting() as visits:
                    act()
                row.asked, row.failed = visits.asked, visits.failed
        except (StepError, AssertionError, OSError, subprocess.SubprocessError, KeyError) as error:
            row.error = f"{type(error).__name__}: {error}"
        row.seconds = time.monotonic() - began
        self.rows.append(row)
        failed = f"{len(row.failed)} of {row.asked}" if row.asked else ""
        mark = "FAIL" if row.bad else "ok  "
        print(f"{mark} {row.seconds:6.1f} s  {failed:>12}  {name}", flush=True)
        if row.failed:
            print(f"       failed: {', '.join(row.failed[:6])}", flush=True)
        if row.error:
            print(row.error, flush=True)
            raise StepError(name)

    # --- doing what pages say --------------------------------------------------------------------

    def run(
        self, name: str, *, replaced: Mapping[str, str] | None = None, cwd: str = "/root"
    ) -> str:
        """The script of a page; ``replaced``: what a reader puts in the place of an example."""
        self.used.add(name)
        return shell(_replaced(self.scripts[name], replaced), cwd=cwd)

    def write(self, path: str, *, replaced: Mapping[str, str] | None = None) -> None:
        self.used.add(path)
        file = Path(path)
        file.write_text(_replaced(self.files[path], replaced))
        file.chmod(0o640)

    # --- the machine -----------------------------------------------------------------------------

    def machine(self) -> None:
        """What an empty Debian with these packages has, names that lead here, and the app."""
        lines = [f"{address} {name}" for name, address in CLOUD.items()]
        lines.append("127.0.0.1 localhost " + " ".join(HERE))
        Path("/etc/hosts").write_text("\n".join(lines) + "\n")
        command = Path("/usr/local/sbin/systemctl")
        command.write_text(f'#!/bin/sh\nexec {PYTHON} {ROOT}/tests/rehearsal/units.py "$@"\n')
        command.chmod(0o755)
        Path("/run/systemd/system").mkdir(parents=True)
        shell(
            "rm -rf /var/lib/postgresql/* /etc/postgresql/* /var/lib/redis/*\n"
            "rm -rf /etc/gateway /var/lib/gateway\n"
            "mkdir -p /run/postgresql && chown postgres:postgres /run/postgresql\n"
            "pg_createcluster 15 main >/dev/null\nmkdir -p /var/log/nginx"
        )
        serve_app(9100)

    def certificates(self) -> None:
        for name in ("ca", "ca-server", "ca-trust"):
            self.run(name)
        sites = {
            "redis.internal,DNS:postgres.internal": "example.com,DNS:*.example.com",
            "stores": "proxy",
        }
        cloud = {"redis.internal,DNS:postgres.internal": ",DNS:".join(CLOUD), "stores": "cloud"}
        for names in (sites, cloud):
            shell(_replaced(self.scripts["ca-server"], names))
        shell(
            "install -d -m 0755 /etc/ssl/example\n"
            "install -m 0600 /root/ca/proxy.key /etc/ssl/example/key.pem\n"
            "install -m 0644 /root/ca/proxy.pem /etc/ssl/example/chain.pem"
        )
        trust_in_chromium(Path("/root/ca/ca.pem"))

    def start_cloud(self) -> None:
        described = Path("/root/cloud.json")
        issuer = "https://cognito-idp.eu-north-1.amazonaws.com/eu-north-1_AbCdEf123"
        with Path("/var/log/cloud.log").open("wb") as log:
            self._cloud_process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "demo.cloud", "--issuer", issuer),
                    *("--cognito", "https://example.auth.eu-north-1.amazoncognito.com"),
                    *("--okta", "https://acme.okta.com", "--entra", "https://login.globex.example"),
                    *("--certificate", "/root/ca/cloud.pem", "/root/ca/cloud.key"),
                    *("--describe", str(described)),
                ],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        until(described.exists, seconds=30, what=lambda: Path("/var/log/cloud.log").read_text())
        self.cloud = json.loads(described.read_text())["customers"]

    def redis(self) -> None:
        self.run("redis-install", replaced={"apt install": "dpkg -s"})
        self.run("redis-acl")
        self.write("/etc/redis/gateway.conf")
        said = self.run("redis-start")
        if "PONG" not in said:
            raise StepError(said)

    def postgresql(self) -> None:
        self.run("postgresql-install", replaced={"apt install": "dpkg -s"})
        shell("systemctl enable --now postgresql@15-main")
        self.run("postgresql-database")
        self.run("postgresql-tls")

    def install(self) -> None:
        self.run("install", cwd=str(ROOT))

    def configure(self) -> None:
        self.run("secrets")
        # The customers' identity providers are in a private network here.
        self.write(
            "/etc/gateway/gateway.yaml",
            replaced={
                '"https://hooks.example.com"}': '"https://hooks.example.com", '
                "private_networks: [10.0.2.0/24]}"
            },
        )
        self.write("/etc/gateway/environment")
        Path("/etc/gateway/admin.environment").write_text(
            "AWS_ACCESS_KEY_ID=AKIAREHEARSAL\nAWS_SECRET_ACCESS_KEY=rehearsal\n"
        )
        self.write("/etc/gateway/auth.environment")
        self.write("/etc/gateway/auth-2.environment")
        shell("chgrp -R gateway /etc/gateway")
        said = self.run("keys")
        if "FAIL" in said or "error" in said.lower():
            raise StepError(said)
        print(said if "-v" in sys.argv else "", end="")

    def start(self) -> None:
        self.run("start")
        said = self.run("admin-keys")
        onboarding, doctor = re.findall(r"gwk_\S+", said)
        self.keys = {"onboarding": onboarding, "doctor": doctor}

    def first_customer(self) -> None:
        customer = self.cloud["acme-okta"]["provider"]
        Path("/root/acme_client_secret").write_text(customer["client_secret"])
        Path("/root/acme_client_secret").chmod(0o600)
        self.write(
            "/root/acme.yaml",
            replaced={"0oa1b2c3d4e5f6g7h8i9": customer["client_id"], "acme.com": "acme.test"},
        )
        self.run("first-customer")

    def proxy(self) -> None:
        # The stand-in cloud has port 443 of other addresses of this machine.
        self.write(
            "/etc/nginx/sites-available/gateway", replaced={"listen 443": "listen 127.0.0.1:443"}
        )
        shell("systemctl enable nginx")
        self.run("nginx")

    def login(self) -> None:
        if ask("acme.example.com")[0] not in {302, 401, 403}:
            raise StepError("somebody without a session got in")
        self.cookie = browse_in("acme.example.com", "alice@acme.test")
        status, body = ask(
            "acme.example.com", self.cookie, {"X-Auth-Request-Email": "mallory@acme.test"}
        )
        if status != 200 or json.loads(body)["x-auth-request-email"] != "alice@acme.test":
            raise StepError(f"{status} {body!r}")
        self.visitor = Visitor("acme.example.com", self.cookie)

    def doctor(self) -> None:
        said = shell(
            "gateway ingress doctor https://acme.example.com/ --admin http://127.0.0.1:8082 "
            "--key env:DOCTOR_KEY",
            environment={"DOCTOR_KEY": self.keys["doctor"]},
        )
        print(said if "-v" in sys.argv else "", end="")

    def api(self, method: str, path: str, body: object, *, etag: str = "") -> None:
        script = (
            f'curl -sS --fail-with-body -X {method} -H "Authorization: Bearer $KEY" '
            + (f"-H 'If-Match: \"{etag}\"' " if etag else "")
            + f"-H 'Content-Type: application/json' http://127.0.0.1:8082/admin/v1{path} -d @-"
        )
        shell(script, environment={"KEY": self.keys["onboarding"]}, given=json.dumps(body))

    def second_customer(self) -> None:
        """One call; the proxy is not touched."""
        customer = self.cloud["globex-entra"]
        self.api(
            "POST",
            "/tenants/globex/provision",
            {
                "provider": {**customer["provider"], "name": "globex-entra", "kind": "entra"},
                "group": customer["groups"]["app-users"],
                "allowed_domain": "globex.test",
                "hosts": ["globex.example.com"],
            },
        )
        cookie = asyncio.run(log_in("globex.example.com", "carol@globex.test"))
        status, body = ask("globex.example.com", cookie)
        if status != 200 or json.loads(body)["x-auth-request-tenant"] != "globex":
            raise StepError(f"{status} {body!r}")

    def header_by_api(self) -> None:
        """A declared name gets its source; what a client sends under it never reaches the app."""
        shown = json.loads(shell("gateway tenants show acme --json"))
        document = {**shown["tenant"], "headers": {"X-Department": "email"}}
        self.api("PUT", "/tenants/acme", document, etag=shown["etag"])
        for cookie, expected in ((self.cookie, "alice@acme.test"),):
            status, body = ask("acme.example.com", cookie, {"X-Department": "forged"})
            if status != 200 or json.loads(body).get("x-department") != expected:
                raise StepError(f"{status} {body!r}")

    # --- its life --------------------------------------------------------------------------------

    def pages(self, *names: str, **options: Any) -> Callable[[], None]:
        def act() -> None:
            for name in names:
                self.run(name, **options)

        return act

    def restart_redis(self) -> None:
        shell("systemctl restart redis-server")
        self.still_in()

    def restart_postgresql(self) -> None:
        shell("systemctl restart postgresql@15-main")
        self.ready(8082)

    def still_in(self) -> None:
        """Who was signed in is; within ten seconds."""
        status: list[object] = []

        def served() -> bool:
            status[:] = [ask("acme.example.com", self.cookie)[0]]
            return status == [200]

        until(served, seconds=10, what=lambda: f"signed out: {status}")

    def ready(self, port: int) -> None:
        until(
            lambda: (
                shell(f"gateway health --ready http://127.0.0.1:{port} || echo no").strip()[-2:]
                != "no"
            ),
            seconds=15,
            what=lambda: f"not ready: {port}",
        )

    def restore(self) -> None:
        before = shell("gateway tenants export --json")
        self.run("empty-database")
        self.run("stop-admin")
        self.run("restore")
        self.run("after-restore")
        after = shell("gateway tenants export --json")
        if before != after:
            raise StepError(f"the tenants differ:\n{before}\n{after}")
        self.still_in()

    def upgrade(self) -> None:
        """The next release: this one under another version."""
        shell(
            f"mkdir -p /srv/next && cd {ROOT} && "
            "cp -R gateway requirements deploy pyproject.toml README.md LICENSE /srv/next && "
            "sed -i -E 's/^__version__ = .*/__version__ = \"99.0.0\"/' "
            "/srv/next/gateway/__init__.py"
        )
        self.run("install", cwd="/srv/next")
        self.run("upgrade-status")
        self.run("rolling-restart")
        self.run("upgrade-check")
        if "99.0.0" not in str(Path("/opt/gateway/current").readlink()):
            raise StepError("the old release is in use")

    def reboot(self) -> None:
        """Every process ends at once, what is in memory is gone, and enabled units start."""
        keep = {os.getpid(), 1, self._cloud_process.pid if self._cloud_process else 0}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) not in keep:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)
        time.sleep(0.3)
        shell("umount -l /run\nmount -t tmpfs -o mode=0755 tmpfs /run")
        shell(
            "mkdir -p /run/lock /run/systemd/system /run/postgresql\n"
            "chown postgres:postgres /run/postgresql"
        )
        for unit in ("gateway-admin", "gateway-auth", "gateway-auth@2"):  # before their stores
            subprocess.Popen(["/usr/local/sbin/systemctl", "start", unit])
        time.sleep(0.5)
        shell(
            "systemctl start redis-server\nsystemctl start postgresql@15-main\n"
            "systemctl start nginx"
        )
        for port in (8082, 8092, 8192):
            self.ready(port)
        self.still_in()

    def any_uid(self) -> None:
        """As OpenShift runs the image: a uid without a name, group 0, and the volume's folder."""
        state = Path("/srv/state")
        state.mkdir()
        state.chmod(0o770)  # whatever the umask
        (state / "gateway.yaml").write_text(ANY_UID)
        shell(
            "cd /srv/state\nenv -i PATH=$PATH HOME=/srv/state "
            "setpriv --reuid 1000680000 --regid 0 --clear-groups "
            "/opt/gateway/current/bin/gateway serve -c gateway.yaml > log 2>&1 & pid=$!\n"
            "for _ in $(seq 100); do sleep 0.2\n"
            "if gateway health --ready http://127.0.0.1:7082 2>/dev/null\n"
            "then kill $pid; exit 0; fi\n"
            "done; kill $pid; cat log; exit 1"
        )

    def uninstall(self) -> None:
        shell(f"{ROOT}/deploy/install --uninstall --purge")
        left = [
            path
            for path in (
                "/opt/gateway",
                "/etc/gateway",
                "/var/lib/gateway",
                "/usr/local/bin/gateway",
            )
            if Path(path).exists()
        ]
        if left:
            raise StepError(f"left behind: {left}")


def _replaced(text: str, replaced: Mapping[str, str] | None) -> str:
    for example, own in (replaced or {}).items():
        if example not in text:
            raise StepError(f"the page does not say {example!r} any more")
        text = text.replace(example, own)
    return text


def shell(
    script: str,
    *,
    cwd: str = "/root",
    environment: Mapping[str, str] | None = None,
    given: str = "",
) -> str:
    """Both streams of a script, which has to succeed. Raises ``StepError`` with them."""
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=200,
    )
    if done.returncode:
        raise StepError(f"exit code {done.returncode} of\n{script}\n{done.stdout[-3000:]}")
    return done.stdout


def until(condition: Callable[[], object], *, seconds: float, what: Callable[[], str]) -> None:
    ends = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        if time.monotonic() > ends:
            raise StepError(what())
        time.sleep(0.05)


def steps(play: Play, *, short: bool) -> None:
    play.step("an empty Debian with nginx, Redis, PostgreSQL", play.machine)
    play.step("a CA and certificates", play.certificates)
    play.step("the stand-in cloud, over https", play.start_cloud)
    play.step("Redis: TLS, users, append-only file", play.redis)
    play.step("PostgreSQL: TLS, database", play.postgresql)
    play.step("install", play.install)
    play.step("configuration, key ring, config check", play.configure)
    play.step("start, admin keys", play.start)
    play.step("first customer", play.first_customer)
    play.step("reverse proxy", play.proxy)
    play.step("login over TLS, in Chromium", play.login)
    play.step("second customer by one call", play.second_customer)
    play.step("header by API", play.header_by_api)
    if not short:
        play.step("doctor: no finding", play.doctor)
        play.step("rotate the key ring", play.pages("rotate-keys", "rotate-database-keys"))
        play.step("rotate the ingress key", play.pages("rotate-ingress-key", "retire-ingress-key"))
        play.step("rotate a client secret", play.pages("rotate-client-secret"))
        play.step("rotate the password of Redis", play.pages("rotate-redis-password"))
        play.step("rotate the password of PostgreSQL", play.pages("rotate-database-password"))
    play.step("rolling restart", play.pages("rolling-restart"))
    play.step("restart PostgreSQL", play.restart_postgresql)
    play.step("restart Redis: nobody is signed out", play.restart_redis, promised=False)
    play.step("back up", play.pages("backup"))
    play.step("restore into an empty database", play.restore)
    if not short:
        play.step("upgrade", play.upgrade)
        play.step("any uid of group 0", play.any_uid)
    play.step("reboot", play.reboot, promised=False)
    play.visitor = None
    play.step("uninstall", play.uninstall)
    if not short and (unused := {*play.scripts, *play.files} - play.used):
        raise StepError(f"marked in the pages, and not rehearsed: {sorted(unused)}")


def main() -> int:
    if not Path("/.rehearsal").exists():
        print("only within tests/rehearsal/sandbox.sh", file=sys.stderr)
        return 2
    play, began = Play(), time.monotonic()
    try:
        steps(play, short="--short" in sys.argv)
    except StepError as error:
        print(f"failed: {error}")
        for log in [*Path("/var/log").glob("*/*.log"), Path("/var/log/cloud.log")]:
            if log.exists() and time.time() - log.stat().st_mtime < 60:
                print(f"== {log}\n{log.read_text(errors='replace')[-1500:]}")
    bad = [row for row in play.rows if row.bad]
    asked = sum(row.asked for row in play.rows)
    lost = sum(len(row.failed) for row in play.rows if row.promised)
    print(
        f"{len(play.rows)} steps in {time.monotonic() - began:.0f} s; "
        f"{lost} of {asked} requests failed where none may"
    )
    return 1 if bad or not play.rows or play.rows[-1].name != "uninstall" else 0


if __name__ == "__main__":
    sys.exit(main())
