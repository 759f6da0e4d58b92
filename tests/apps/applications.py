"""The applications of the suite: small, unmodified, each with the configuration that its page in
``docs/apps`` shows.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.apps.application import ROOT, Application, Command, Place, Tab

if TYPE_CHECKING:
    from collections.abc import Mapping

BIN = ROOT / ".venv-apps" / "bin"
"""Of the applications' own environment: ``scripts/venv apps``."""
PYTHON = str(BIN / "python")
APACHE = shutil.which("apache2", path="/usr/sbin:/usr/bin")
GIT = Path("/usr/lib/git-core")


def _between(text: str, before: str, after: str) -> str:
    """What stands between two marks of a page; the page itself where they are not there, for the
    message of the test.
    """
    _, found, rest = text.partition(before)
    return rest.partition(after)[0] if found else text


class Jupyter(Application):
    name = "jupyter"
    package = "jupyter-server"
    log_out = "/logout"

    def start(self, place: Place) -> Command:
        (place.folder / "files").mkdir()
        config = self.pages / "jupyter_server_config.py"
        home = str(place.folder)
        return Command(
            (
                PYTHON,
                "-m",
                "jupyter_server",
                "--config",
                str(config),
                f"--ServerApp.port={place.port}",
                f"--ServerApp.root_dir={place.folder / 'files'}",
                "--allow-root",
            ),
            {
                "HOME": home,
                "JUPYTER_CONFIG_DIR": home,
                "JUPYTER_DATA_DIR": home,
                "JUPYTER_RUNTIME_DIR": home,
                "SHELL": "/bin/sh",
            },
        )

    def _identity(self, tab: Tab) -> Mapping[str, str]:
        found: Mapping[str, str] = json.loads(tab.fetch("/api/me").text)["identity"]
        return found

    def person(self, tab: Tab) -> str:
        return self._identity(tab)["username"]

    def shown_name(self, tab: Tab) -> str | None:
        return self._identity(tab)["display_name"]

    def _headers(self, tab: Tab) -> Mapping[str, str]:
        return {"X-XSRFToken": tab.cookie("_xsrf"), "Content-Type": "application/json"}

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        """Made under another name and renamed, as JupyterLab's file browser does it, then saved
        again.
        """
        headers, path = self._headers(tab), f"/api/contents/{quote(name)}"
        model = json.dumps({"type": "file", "format": "text", "content": "before"})
        assert (
            tab.fetch("/api/contents/Untitled.txt", "PUT", body=model, headers=headers).status
            == 201
        )
        renamed = tab.fetch(
            "/api/contents/Untitled.txt", "PATCH", body=json.dumps({"path": name}), headers=headers
        )
        assert renamed.status == 200, renamed
        saved = tab.fetch(
            path,
            "PUT",
            body=json.dumps({"type": "file", "format": "text", "content": text}),
            headers=headers,
        )
        assert saved.status == 200, saved
        return f"/files/{quote(name)}"

    def talks(self, tab: Tab) -> str | None:
        made = tab.fetch("/api/terminals", "POST", body="{}", headers=self._headers(tab))
        assert made.status == 200, made
        terminal = json.loads(made.text)["name"]
        heard = tab.talk(
            f"/terminals/websocket/{terminal}",
            [json.dumps(["stdin", "echo $((40+2))-$USERNAME\r"])],
            "42-",
        )
        tab.fetch(f"/api/terminals/{terminal}", "DELETE", headers=self._headers(tab))
        return heard


class Datasette(Application):
    name = "datasette"
    package = "datasette"

    def start(self, place: Place) -> Command:
        database = place.folder / "notes.db"
        with sqlite3.connect(database) as connection:
            connection.execute("create table notes (name text primary key, text text, author text)")
        connection.close()
        return Command(
            (
                str(BIN / "datasette"),
                "serve",
                str(database),
                "--port",
                str(place.port),
                "--plugins-dir",
                str(self.pages / "plugins"),
                "--metadata",
                str(self.pages / "metadata.yaml"),
            )
        )

    def person(self, tab: Tab) -> str:
        return str(json.loads(tab.fetch("/-/actor.json").text)["actor"]["id"])

    def shown_name(self, tab: Tab) -> str | None:
        return str(json.loads(tab.fetch("/-/actor.json").text)["actor"]["name"])

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        kept = tab.fetch(
            "/notes/add_note",
            "POST",
            body=json.dumps({"name": name, "text": text}),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        assert kept.status == 200, kept
        return f"/notes/notes.json?_shape=array&name={quote(name, safe='')}"

    def read(self, tab: Tab, path: str) -> str:
        ((row),) = json.loads(tab.fetch(path).text)
        return str(row["text"])


class WsgiDav(Application):
    name = "wsgidav"
    package = "wsgidav"

    def start(self, place: Place) -> Command:
        (place.folder / "files").mkdir()  # ./files of its configuration, whose own folder counts
        config = shutil.copy(self.pages / "wsgidav.yaml", place.folder)
        return Command(
            (
                PYTHON,
                "-m",
                "wsgidav.server.server_cli",
                "--config",
                str(config),
                "--host",
                "127.0.0.1",
                "--port",
                str(place.port),
            )
        )

    def person(self, tab: Tab) -> str:
        return _between(tab.fetch("/").text, 'Authenticated user: "', '"')

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        cut = ";" in name or "?" in name  # by its MOVE
        first = tab.fetch(f"/{quote(name)}" if cut else "/before.txt", "PUT", body=text)
        assert first.status in (201, 204), first
        if cut:
            return f"/{quote(name)}"
        moved = tab.fetch(
            "/before.txt",
            "MOVE",
            headers={"Destination": f"{tab.origin}/{quote(name)}", "Overwrite": "T"},
        )
        assert moved.status in (201, 204), moved
        return f"/{quote(name)}"


class DjangoAdmin(Application):
    name = "django"
    package = "django"
    folder = "django_admin"
    opens = "/admin/"
    log_out = "/admin/logout/"
    odd_paths = ("//icon.svg", "/media/caf%E9.txt", "/page;jsessionid=1", "/a%5Cb")

    def start(self, place: Place) -> Command:
        return Command(
            (
                PYTHON,
                str(ROOT / "tests" / "apps" / "serve.py"),
                str(place.port),
                str(self.pages / "project.py"),
                "application",
            )
        )

    def person(self, tab: Tab) -> str:
        return tab.fetch("/me").text

    def shown_name(self, tab: Tab) -> str | None:
        return (
            _between(tab.fetch("/admin/").text, "Welcome,", "</strong>").rpartition(">")[2].strip()
        )

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        made = tab.send_form(
            "/admin/documents/document/add/",
            {"csrfmiddlewaretoken": tab.cookie("csrftoken")},
            file=("file", name, text),
        )
        change = re.search(r"/admin/documents/document/\d+/change/", made.text)
        assert change is not None
        return _between(tab.fetch(change[0]).text, 'Currently: <a href="', '"')


class FlaskAppBuilder(Application):
    name = "flask_appbuilder"
    package = "flask-appbuilder"
    opens = "/login/"
    log_out = "/logout/"

    def start(self, place: Place) -> Command:
        environment = {
            "SECRET_KEY": secrets.token_hex(32),
            "DATABASE_URL": f"sqlite:///{place.folder / 'people.db'}",
        }
        return Command(
            (
                PYTHON,
                str(ROOT / "tests" / "apps" / "serve.py"),
                str(place.port),
                str(self.pages / "app.py"),
                "app",
            ),
            environment,
        )

    def person(self, tab: Tab) -> str:
        row = _between(tab.fetch("/users/userinfo/").text, "User Name", "</td>")
        return re.sub(r"<[^>]*>", "", row).strip()

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        made = tab.fetch(
            "/api/v1/note/",
            "POST",
            body=json.dumps({"name": name, "text": text}),
            headers={"Content-Type": "application/json"},
        )
        assert made.status == 201, made
        return f"/api/v1/note/{json.loads(made.text)['id']}"

    def read(self, tab: Tab, path: str) -> str:
        return str(json.loads(tab.fetch(path).text)["result"]["text"])


WHOAMI = """#!/bin/sh
printf 'Content-Type: text/plain; charset=utf-8\\r\\n\\r\\n%s\\n' "$REMOTE_USER"
"""


class Apache(Application):
    name = "apache"
    opens = "/cgi-bin/whoami"
    log_out = "/logout"

    def start(self, place: Place) -> Command:
        home = place.folder
        for name in ("files", "cgi-bin", "git"):
            (home / name).mkdir()
        script = home / "cgi-bin" / "whoami"
        script.write_text(WHOAMI, encoding="utf-8")
        script.chmod(0o755)
        subprocess.run(
            ["git", "init", "--quiet", "--bare", str(home / "git" / "repository")], check=True
        )
        if os.geteuid() == 0:  # whom Apache then runs as
            for path in (home, home / "files", home / "git", *(home / "git").rglob("*")):
                shutil.chown(path, "nobody")
        values = {
            "HOME": home,
            "HOST": place.host,
            "PORT": place.port,
            "MODULES": "/usr/lib/apache2/modules",
            "GIT": GIT,
        }
        user = ("-C", "User nobody", "-C", "Group nogroup") if os.geteuid() == 0 else ()
        return Command(
            (
                APACHE or "apache2",
                "-D",
                "FOREGROUND",
                *(
                    word
                    for name, value in values.items()
                    for word in ("-C", f"Define {name} {value}")
                ),
                *user,
                "-f",
                str(self.pages / "httpd.conf"),
            )
        )

    def person(self, tab: Tab) -> str:
        return tab.fetch("/cgi-bin/whoami").text.strip()

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        first = tab.fetch("/files/before.txt", "PUT", body=text)
        assert first.status in (201, 204), first
        moved = tab.fetch(
            "/files/before.txt",
            "MOVE",
            headers={"Destination": f"{tab.origin}/files/{quote(name)}", "Overwrite": "T"},
        )
        assert moved.status in (201, 204), moved
        return f"/files/{quote(name)}"


APPLICATIONS: tuple[Application, ...] = (
    Jupyter(),
    Datasette(),
    WsgiDav(),
    DjangoAdmin(),
    FlaskAppBuilder(),
    Apache(),
)
