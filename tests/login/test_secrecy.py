"""One login, and everything around it, with a mark in each field: no log, no metric, no health
check and no process's command line shows one afterwards.
"""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from tests.login.test_start import start_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.support.browserless import Page, Person
    from tests.support.world import RunningWorld

MARK = "mark0f5ecret"
"""In whatever a browser or a stranger chooses."""
EMAIL = "alice@acme.test"
ONE_TIME = {"code", "state", "nonce", "ticket", "code_challenge", "login_hint"}
"""Parameters, of our own redirects and of Cognito's."""


def sent(
    port: int, method: str, path: str, headers: Mapping[str, str] | None = None, body: str = ""
) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body or None, headers=dict(headers or {}))
        return connection.getresponse().status
    finally:
        connection.close()


async def signed_in(running: RunningWorld, person: Person, learned: set[str]) -> Page:
    """Step by step, learning what each address and each cookie holds."""

    def learn(page: Page) -> str | None:
        location = page.headers.header("Location")
        for url in (page.url, location or ""):
            query = parse_qsl(urlsplit(url).query)
            learned.update(value for name, value in query if name in ONE_TIME)
        for host in ("acme.localhost", urlsplit(page.url).hostname or ""):
            learned.update(value for value in person.cookies(host).values() if len(value) > 15)
        return location

    marked = {"User-Agent": MARK, "Referer": f"http://{MARK}.test/{MARK}", "X-Strange": MARK}
    page = await person.open(
        start_url(running, rd=f"/there?{MARK}=1#{MARK}"), headers=marked, follow=False
    )
    while (location := learn(page)) is not None:
        page = await person.open(location, headers=marked, follow=False)
    page = await person.submit(page, {"email": EMAIL, "password": "demo"}, follow=False)
    while (location := learn(page)) is not None:
        page = await person.open(location, headers=marked, follow=False)
    assert MARK in page.url
    return page


def shown(running: RunningWorld, since: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Everything that whoever operates it may read, by line; ``since``: lines of each log before
    that.
    """
    for number, gateway in enumerate(running.world.gateways):
        for line in running.log(number).splitlines()[since[number] :]:
            yield f"log {number}", line
        for path in ("/metrics", "/readyz"):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.ports["admin"], timeout=10)
            connection.request("GET", path)
            yield path, connection.getresponse().read().decode()
            connection.close()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield str(process), process.read_bytes().decode(errors="replace")
        except OSError:
            continue


async def test_nothing_that_is_secret_or_names_a_person_is_shown_to_whoever_reads_the_log(
    world: RunningWorld, visitor: Person
) -> None:
    secrets = {MARK, *world.world.secrets.values(), world.world.ingress_key, world.world.admin_key}
    learned = set[str]()
    since = [len(world.log(number).splitlines()) for number in range(len(world.world.gateways))]
    await signed_in(world, visitor, learned)
    cookies = visitor.cookies("acme.localhost")
    cookie = cookies["__Host-gw"]
    learned.add(world.check("acme.localhost", cookie=cookie).header("X-Auth-Request-Jwt") or "")
    marked = {"User-Agent": MARK, "Referer": f"http://x.test/?{MARK}", "X-Amzn-Trace": MARK}
    for replica in range(len(world.world.gateways)):
        ports = world.world.gateways[replica].ports
        for headers in (marked, {"Authorization": f"Bearer {MARK}"}, {"X-Request-Id": f"a {MARK}"}):
            world.check(
                "acme.localhost", f"/x?{MARK}", cookie=cookie, replica=replica, headers=headers
            )
        world.check("acme.localhost", f"/x?{MARK}", cookie=MARK, replica=replica)
        world.check("acme.localhost", "/", replica=replica, key=MARK)
        host = {"Host": f"acme.localhost:{ports['public']}"}
        for path in (
            f"/_auth/callback?code={MARK}&state={MARK}",
            f"/_auth/callback?error=access_denied&error_description={MARK}&state={MARK}",
            f"/_auth/login?rd=/{MARK}&login_hint={MARK}@acme.test",
            f"/_auth/userinfo?{MARK}",
            f"/_auth/resume?ticket={MARK}",
            f"/_auth/sessions?{MARK}",
            f"/_auth/denied?{MARK}",
        ):
            sent(ports["public"], "GET", path, {**host, **marked, "Cookie": f"__Host-gw={MARK}"})
        sent(ports["public"], "POST", "/_auth/logout", host, f"again={MARK}&csrf={MARK}")
        sent(ports["public"], "GET", "/_auth/login", {**host, "Cookie": f"a={MARK}\x01"})
        sent(ports["check"], "GET", f"/auth/nginx?{MARK}", {"X-Gateway-Key": f"{MARK}\x01"})
        sent(
            ports["admin"],
            "GET",
            f"/admin/v1/tenants?cursor={MARK}",
            {"Authorization": f"Bearer {MARK}"},
        )
        if "hooks" in ports and replica == 0:
            for path in ("/hooks/okta/acme/acme-okta", "/scim/v2/acme/acme-okta/Users"):
                for body in ("{", json.dumps({"userName": MARK, "token": MARK})):
                    sent(
                        ports["hooks"],
                        "POST",
                        f"{path}?{MARK}",
                        {"Authorization": f"Bearer {MARK}", "Content-Type": "application/json"},
                        body,
                    )
    seen = list(shown(world, since))
    told = {json.loads(line)["event"] for where, line in seen if where.startswith("log ")}
    assert told >= {"login_succeeded", "login_failed", "check", "http_request", "hook", "admin"}
    names = {EMAIL, EMAIL.partition("@")[0] + " adams"}
    assert [
        (where, secret, line[:300])
        for where, line in seen
        for secret in (secrets | learned) - {""}
        if secret in line
    ] == []
    assert [
        line
        for where, line in seen
        for name in names
        if where.startswith("log ") and name in line.lower()
    ] == []
