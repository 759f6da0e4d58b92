"""Programs that know HTTP Basic only, with an app password that a person made on the gateway's
page; and the person is removed at the identity provider.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from playwright.sync_api import expect

from tests.apps.applications import Apache
from tests.apps.more import Radicale
from tests.apps.running import Running
from tests.apps.walk import HELD, ZOE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from playwright.sync_api import Browser

REMOVAL_S = 30.0
REFUSED = re.compile(r"\b40[13]\b|Authentication failed|Unauthorized|Forbidden")
"""In the words of these programs."""
EVENT = """BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//tests//EN\r
BEGIN:VEVENT\r
UID:one\r
DTSTAMP:20260101T000000Z\r
DTSTART:20260102T100000Z\r
DTEND:20260102T110000Z\r
SUMMARY:Zoë's meeting\r
END:VEVENT\r
END:VCALENDAR\r
"""
RESOLVER = """import socket
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **named: resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *more, **named)
"""  # noqa: E501 - one text, as it is
"""For a program in Python, as ``sitecustomize``."""
VDIRSYNCER = """[general]
status_path = "{folder}/status/"
[pair calendar]
a = "local"
b = "remote"
collections = [["one", "calendar", "calendar"]]
[storage local]
type = "filesystem"
path = "{folder}/local/"
fileext = ".ics"
[storage remote]
type = "caldav"
url = "{origin}/{person}/"
username = "zoe"
password.fetch = ["command", "printenv", "APP_PASSWORD"]
auth = "basic"
"""


class Programs:
    """What each does once; it raises ``subprocess.CalledProcessError`` when the program is
    refused.
    """

    def __init__(self, running: Running, folder: Path, password: str) -> None:
        self._origins = {name: place.origin for name, place in running.places.items()}
        self._proxy = f"http://127.0.0.1:{running.running.world.port}"
        self._folder = folder
        self._password = password
        (folder / "ask").write_text("#!/bin/sh\nprintenv APP_PASSWORD\n")
        (folder / "ask").chmod(0o700)
        (folder / "sitecustomize.py").write_text(RESOLVER)

    def _run(self, *arguments: str, more: Mapping[str, str] | None = None) -> str:
        """The password is in the environment alone. Not every resolver knows ``*.localhost``: the
        ingress is named as the proxy.
        """
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "APP_PASSWORD": self._password,
            "http_proxy": self._proxy,
            "PYTHONPATH": str(self._folder),
            "GIT_ASKPASS": str(self._folder / "ask"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            **(more or {}),
        }
        return subprocess.run(
            arguments,
            cwd=self._folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    def git(self) -> None:
        """Clone, commit, push; and a second clone has the commit."""
        for number, name in enumerate(
            (f"first-{time.monotonic_ns()}", f"second-{time.monotonic_ns()}")
        ):
            self._run(
                "git",
                "clone",
                "--quiet",
                self._origins["apache"].replace("://", "://zoe@") + "/git/repository",
                name,
            )
            git = ("git", "-C", name, "-c", "user.name=Zoe", "-c", f"user.email={ZOE}")
            if number == 0:
                self._run(*git, "commit", "--quiet", "--allow-empty", "-m", "one more")
                self._run(*git, "push", "--quiet", "origin", "HEAD:master")
            else:
                assert "one more" in self._run(*git, "log", "--oneline", "origin/master")

    def rclone(self) -> None:
        """A file goes up, is listed and comes back."""
        name, text = "C# notes; 50%, Zoë's.txt", f"{time.monotonic_ns()}"
        (self._folder / name).write_text(text)
        obscured = self._run("rclone", "obscure", self._password).strip()
        webdav = {
            "RCLONE_CONFIG_DAV_TYPE": "webdav",
            "RCLONE_CONFIG_DAV_URL": self._origins["apache"] + "/files",
            "RCLONE_CONFIG_DAV_VENDOR": "other",
            "RCLONE_CONFIG_DAV_USER": "zoe",
        }
        more = {
            **webdav,
            "RCLONE_CONFIG_DAV_PASS": obscured,
            "RCLONE_RETRIES": "1",
            "RCLONE_LOW_LEVEL_RETRIES": "1",
            "HTTP_PROXY": self._proxy,
        }
        self._run("rclone", "copyto", name, f"dav:{name}", more=more)
        assert name in self._run("rclone", "lsf", "dav:", more=more)
        self._run("rclone", "copyto", f"dav:{name}", "back", more=more)
        assert (self._folder / "back").read_text() == text

    def vdirsyncer(self) -> None:
        """A calendar is made and filled; an empty folder then gets the event."""
        for number in range(2):
            folder = self._folder / f"calendar-{number}-{time.monotonic_ns()}"
            (folder / "local" / "calendar").mkdir(parents=True)
            if number == 0:
                (folder / "local" / "calendar" / "one.ics").write_text(EVENT, newline="")
            config = folder / "config"
            config.write_text(
                VDIRSYNCER.format(
                    folder=folder, origin=self._origins["radicale"], person=quote(ZOE)
                )
            )
            self._run("sh", "-c", 'yes | vdirsyncer -c "$0" discover calendar', str(config))
            self._run("vdirsyncer", "-c", str(config), "sync")
            assert [it.read_text() for it in (folder / "local" / "calendar").iterdir()], (
                "the event did not arrive"
            )


PROGRAMS: Mapping[str, Callable[[Programs], None]] = {
    "git": Programs.git,
    "rclone": Programs.rclone,
    "vdirsyncer": Programs.vdirsyncer,
}


def walk(names: list[str], *, ingress: str, browser: Browser, folder: Path) -> dict[str, str]:
    """Program → ``HELD`` or what it said; and the same after the person has been removed from the
    application's group in Okta.
    """
    radicale = Radicale()
    radicale.install()
    results = {}
    with Running([Apache(), radicale], ingress=ingress) as running:
        for application in (Apache(), radicale):
            running.wait_for(application)
        programs = Programs(running, folder, app_password(running, browser))
        for name in names:
            results[name] = _said(programs, name)
        world = running.running.world
        directory = world.cloud.customers["acme-okta"].server.directory
        person = next(found for found in directory.people.values() if found.email == ZOE)
        group = next(found for found in directory.groups.values() if found.name == "app-users")
        running.running.run(directory.remove_from_group(person, group))
        for name in names:
            began = time.monotonic()
            while (said := _said(programs, name)) == HELD and time.monotonic() < began + REMOVAL_S:
                pass
            results[f"{name}, person removed"] = (
                HELD if REFUSED.search(said) else "still let in" if said == HELD else said
            )
    return results


def _said(programs: Programs, name: str) -> str:
    try:
        PROGRAMS[name](programs)
    except subprocess.CalledProcessError as error:
        return f"{error.cmd[0]}: {error.stderr.strip()[-400:]}"
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"[:400]
    return HELD


def app_password(running: Running, browser: Browser) -> str:
    """As the person makes it: sign in, open the page, fill in the form."""
    profile = browser.new_context(locale="en-GB")
    page = profile.new_page()
    origin = running.places["apache"].origin
    page.goto(origin + Apache.opens)
    page.locator("input[name=email]").fill(ZOE)
    page.locator("input[name=password]").fill("demo")
    page.locator("button, input[type=submit]").first.click()
    expect(page).to_have_url(re.compile(re.escape(origin)))
    # The page of an application's host makes none for the others.
    page.goto(running.running.world.url("login.localhost") + "/_auth/sessions")
    page.get_by_role("link", name="Sign in again").click()
    page.locator("#name").fill("programs")
    page.locator("#host").select_option("")
    page.locator("button[value=new]").click()
    password = page.locator("#text").input_value()
    profile.close()
    return password
