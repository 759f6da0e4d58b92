"""Larger applications, which ``scripts/soak apps`` runs: each installed into a folder of its own,
at the version that is named here.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, unquote

from playwright.sync_api import expect

from tests.apps.application import ROOT, Application, Command, Place, Tab
from tests.apps.walk import ZOE

if TYPE_CHECKING:
    from collections.abc import Mapping

SOAK = ROOT / ".apps-soak"
"""A folder of this for each application."""


class Large(Application):
    """What differs is how it is installed. ``pinned`` are names for pip, with the version first
    that its page names.
    """

    pinned: ClassVar[tuple[str, ...]] = ()

    @property
    def home(self) -> Path:
        return SOAK / self.name

    @property
    def version(self) -> str:
        return self.pinned[0].rpartition("==")[2].rpartition("@")[2].rpartition(":")[2]

    def program(self, name: str) -> str:
        return str(self.home / "bin" / name)

    def install(self) -> None:
        """Raises ``subprocess.CalledProcessError`` where a registry does not have it."""
        if (self.home / "installed").exists():
            return
        uv = str(ROOT / ".venv" / "bin" / "uv")
        shutil.rmtree(self.home, ignore_errors=True)
        subprocess.run(
            [
                uv,
                "venv",
                "--quiet",
                "--python",
                str(ROOT / ".venv" / "bin" / "python"),
                str(self.home),
            ],
            check=True,
        )
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", self.program("python"), *self.pinned],
            check=True,
        )
        (self.home / "installed").touch()


class FromNpm(Large):
    def install(self) -> None:
        if (self.home / "installed").exists():
            return
        self.home.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *self.pinned],
            cwd=self.home,
            check=True,
        )
        (self.home / "installed").touch()


def _words(tab: Tab, pattern: str) -> str:
    """What a page that is drawn by scripts says, once it says it."""
    body = tab.page.locator("body")
    expect(body).to_contain_text(re.compile(pattern), timeout=60_000)
    found = re.search(pattern, body.inner_text())
    return found[1] if found else body.inner_text()


class JupyterHub(Large):
    name = "jupyterhub"
    opens = "/hub/home"
    pinned = ("jupyterhub==6.1.1", "jupyterlab==4.6.6")
    odd_paths = ("/hub//icon.svg", "/hub/caf%E9", "/hub/page;jsessionid=1", "/hub/a%5Cb")

    def install(self) -> None:
        super().install()
        if not (self.home / "node_modules").exists():
            subprocess.run(
                [
                    "npm",
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--loglevel=error",
                    "configurable-http-proxy@5.3.0",
                ],
                cwd=self.home,
                check=True,
            )

    def start(self, place: Place) -> Command:
        config = place.folder / "jupyterhub_config.py"
        text = (
            (self.pages / config.name)
            .read_text("utf-8")
            .replace("127.0.0.1:8000", f"127.0.0.1:{place.port}")
            .replace("/etc/jupyterhub", str(self.pages))
        )
        config.write_text(text, "utf-8")
        with config.open("a", encoding="utf-8") as more:
            more.write(
                "c.JupyterHub.spawner_class = 'simple'\nc.ConfigurableHTTPProxy.command = "
                f"{str(self.home / 'node_modules' / '.bin' / 'configurable-http-proxy')!r}"
                "\n"
                "c.ConfigurableHTTPProxy.api_url = "
                f"'http://127.0.0.1:{place.port + 1}'\nc.JupyterHub.hub_port = "
                f"{place.port + 2}\n"
                "c.Spawner.args += ['--allow-root']\nc.Spawner.cmd = ["
                + repr(self.program("jupyterhub-singleuser"))
                + "]\n"
            )
        return Command((self.program("python"), "-m", "jupyterhub", "--config", str(config)))

    def person(self, tab: Tab) -> str:
        """At the hub, unless the first person's own server still takes who is there for somebody
        else.
        """
        tab.page.goto(tab.origin + "/hub/home")
        name = tab.page.locator("#login_widget span").first.inner_text().strip()
        answer = tab.page.goto(f"{tab.origin}/user/{ZOE}/api/me")
        below = (
            answer.json()["identity"]["username"]
            if answer is not None
            and answer.status == 200
            and "json" in answer.headers["content-type"]
            else name
        )
        return name if below == name else f"{name}, but {below} below /user/{ZOE}/"

    def talks(self, tab: Tab) -> str | None:
        """A server of the person's own, and a terminal in it."""
        tab.page.goto(tab.origin + "/hub/spawn")
        expect(tab.page).to_have_url(re.compile(r"/user/"), timeout=90_000)
        base = re.search(r"/user/[^/]+", tab.page.url)
        assert base is not None
        headers = {
            "Content-Type": "application/json",
            "X-XSRFToken": tab.page.evaluate(
                "document.cookie.split('; ').find(it => it.startsWith('_xsrf='))?.slice(6) || ''"
            ),
        }
        made = tab.fetch(f"{base[0]}/api/terminals", "POST", body="{}", headers=headers)
        assert made.status == 200, made
        return tab.talk(
            f"{base[0]}/terminals/websocket/{json.loads(made.text)['name']}",
            [json.dumps(["stdin", "echo $((40+2))-\r"])],
            "42-",
        )


class Streamlit(Large):
    name = "streamlit"
    pinned = ("streamlit==1.67.0",)

    def start(self, place: Place) -> Command:
        folder = place.folder / ".streamlit"
        folder.mkdir()
        (folder / "config.toml").write_text(
            (self.pages / "config.toml")
            .read_text("utf-8")
            .replace("streamlit.acme.example.com", place.host),
            "utf-8",
        )
        return Command(
            (
                self.program("python"),
                "-m",
                "streamlit",
                "run",
                str(self.pages / "app.py"),
                "--server.port",
                str(place.port),
            )
        )

    def person(self, tab: Tab) -> str:
        tab.page.goto(tab.origin)
        return _words(tab, r"Signed in as: (\S+)")

    def shown_name(self, tab: Tab) -> str | None:
        return _words(tab, r"Name: (.+)")

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        tab.page.locator("input[type=file]").set_input_files(
            {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
        )
        return name

    def read(self, tab: Tab, path: str) -> str:
        return _words(tab, re.escape(f"{path}: ") + f"({re.escape(path)}: text)")

    def talks(self, tab: Tab) -> str | None:
        return "heard"  # everything that its page shows came by WebSocket


class Gradio(Large):
    name = "gradio"
    pinned = ("gradio==6.31.0",)

    def start(self, place: Place) -> Command:
        return Command(
            (self.program("python"), str(self.pages / "app.py")),
            {
                "PORT": str(place.port),
                "GRADIO_ANALYTICS_ENABLED": "False",
                "GRADIO_TEMP_DIR": str(place.folder),
            },
        )

    def _call(self, tab: Tab, name: str, data: list[object]) -> str:
        begun = tab.fetch(
            f"/gradio_api/call/{name}",
            "POST",
            body=json.dumps({"data": data}),
            headers={"Content-Type": "application/json"},
        )
        assert begun.status == 200, begun
        stream = tab.fetch(f"/gradio_api/call/{name}/{json.loads(begun.text)['event_id']}").text
        return str(json.loads(stream.partition("data: ")[2].partition("\n")[0])[0])

    def person(self, tab: Tab) -> str:
        return self._call(tab, "person", [])

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        kept = tab.send_form("/gradio_api/upload", {}, file=("files", name, text))
        assert kept.status == 200, kept
        return f"/gradio_api/file={quote(json.loads(kept.text)[0])}"


class Marimo(Large):
    name = "marimo"
    pinned = ("marimo==0.25.2",)

    def start(self, place: Place) -> Command:
        app = shutil.copy(self.pages / "app.py", place.folder)
        return Command(
            (
                self.program("marimo"),
                "run",
                str(app),
                "--headless",
                "--host",
                "127.0.0.1",
                "--port",
                str(place.port),
                "--no-token",
            )
        )

    def person(self, tab: Tab) -> str:
        tab.page.goto(tab.origin)
        return _words(tab, r"Signed in as: (\S+)")

    def shown_name(self, tab: Tab) -> str | None:
        return _words(tab, r"Signed in as: \S+ \((.*)\)")

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        tab.page.locator("input[type=file]").first.set_input_files(
            {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
        )
        return name

    def read(self, tab: Tab, path: str) -> str:
        return _words(tab, re.escape(f"{path}: ") + f"({re.escape(path)}: text)")

    def talks(self, tab: Tab) -> str | None:
        return "heard"  # everything that its page shows came by WebSocket


class NodeRed(FromNpm):
    name = "node_red"
    pinned = ("node-red@4.1.15",)

    def start(self, place: Place) -> Command:
        settings = shutil.copy(self.pages / "settings.js", place.folder)
        return Command(
            (
                "node",
                str(self.home / "node_modules" / "node-red" / "red.js"),
                "--settings",
                str(settings),
                "--userDir",
                str(place.folder),
            ),
            {"PORT": str(place.port)},
        )

    def person(self, tab: Tab) -> str:
        return str(json.loads(tab.fetch("/settings").text)["user"]["username"])

    def keep(self, tab: Tab, name: str, text: str) -> str | None:
        kept = tab.fetch(
            f"/library/local/functions/{quote(name)}",
            "POST",
            body=json.dumps({"text": text}),
            headers={"Content-Type": "application/json"},
        )
        assert kept.status in (200, 204), kept
        return f"/library/local/functions/{quote(name)}"

    def read(self, tab: Tab, path: str) -> str:
        """Node-RED says that it has kept a file before it has."""
        for _ in range(100):
            if (answer := tab.fetch(path)).status == 200:
                break
        return answer.text

    def talks(self, tab: Tab) -> str | None:
        return tab.talk(
            "/comms", [json.dumps({"subscribe": "notification/#"})], "notification/runtime-state"
        )


class OctoPrint(Large):
    name = "octoprint"
    pinned = ("octoprint==1.11.8", "setuptools<81")
    odd_names = ("C# part.gcode", "50% more.gcode", "Zoë.gcode")

    def start(self, place: Place) -> Command:
        shutil.copy(self.pages / "config.yaml", place.folder)
        return Command(
            (
                self.program("octoprint"),
                "serve",
                "--iknowwhatimdoing",
                "--host",
                "127.0.0.1",
                "--port",
                str(place.port),
                "--basedir",
                str(place.folder),
            )
        )

    def _token(self, tab: Tab) -> Mapping[str, str]:
        return {
            "X-CSRF-Token": next(
                (
                    it["value"]
                    for it in tab.page.context.cookies(tab.origin)
                    if it.get("name", "").startswith("csrf_token")
                ),
                "",
            )
        }

    def person(self, tab: Tab) -> str:
        return str(json.loads(tab.fetch("/api/currentuser").text)["name"])


class CalibreWeb(Large):
    name = "calibre_web"
    pinned = ("calibreweb==0.6.27",)

    def start(self, place: Place) -> Command:
        library = place.folder / "library"
        library.mkdir()
        prepare = (
            "import sys, sqlalchemy\nfrom calibreweb.cps import db\n"
            "with sqlalchemy.create_engine('sqlite:///' + "
            "sys.argv[1]).connect().execution_options(schema_translate_map={'calibre': "
            "None}) as library:\n"
            " db.Base.metadata.create_all(library)\n"
            ' library.exec_driver_sql("insert into library_id (uuid) values '
            "('11111111-2222-4333-8444-555555555555')\")\n library.commit()"
        )
        subprocess.run(
            [self.program("python"), "-c", prepare, str(library / "metadata.db")],
            check=True,
            cwd=place.folder,
            capture_output=True,
        )
        base = (
            self.program("cps"),
            "-p",
            str(place.folder / "app.db"),
            "-g",
            str(place.folder / "g.db"),
            "-i",
            "127.0.0.1",
        )
        # Its settings live in its database, which the first start makes.
        first = subprocess.run([*base, "-d"], cwd=place.folder, capture_output=True, check=False)
        with sqlite3.connect(place.folder / "app.db") as settings:
            settings.execute(
                (
                    "update settings set config_allow_reverse_proxy_header_login=1, "
                    "config_reverse_proxy_login_header_name='Remote-User', "
                    "config_calibre_dir=?, config_port=?"
                ),
                (str(library), place.port),
            )
            assert settings.total_changes == 1, first.stderr[-500:]
            for email in ("zoe@acme.test", "bob@acme.test"):
                settings.execute(
                    "insert into user (name, email, role, password) values (?, ?, 1, '')",
                    (email, email),
                )
        settings.close()
        return Command(base)

    def person(self, tab: Tab) -> str:
        page = tab.fetch("/me").text
        found = re.search(r'href="/me"><span[^>]*></span>\s*<span[^>]*>([^<]+)', page)
        return found[1].strip() if found else re.sub(r"<[^>]*>|\s+", " ", page)[:300]


class Buildbot(Large):
    name = "buildbot"
    pinned = ("buildbot[bundle]==4.3.0", "setuptools<81")

    def start(self, place: Place) -> Command:
        subprocess.run(
            [self.program("buildbot"), "create-master", str(place.folder)],
            check=True,
            capture_output=True,
        )
        shutil.copy(self.pages / "master.cfg", place.folder)
        return Command(
            (self.program("buildbot"), "start", "--nodaemon", str(place.folder)),
            {"PORT": str(place.port), "ORIGIN": place.origin},
        )

    def person(self, tab: Tab) -> str:
        return str(json.loads(tab.fetch("/config").text)["user"]["email"])

    def talks(self, tab: Tab) -> str | None:
        return tab.talk("/ws", [json.dumps({"cmd": "ping", "_id": 1})], "pong")


class Tomcat(Large):
    name = "tomcat"
    opens = "/examples/servlets/servlet/RequestHeaderExample"
    pinned = ("org.apache.tomcat:tomcat:10.1.39",)
    odd_paths = (
        "//icon.svg",
        "/examples/caf%E9.txt",
        "/examples/servlets/servlet/SessionExample;jsessionid=1",
    )

    def install(self) -> None:
        if (self.home / "bin").exists():
            return
        group, name, version = self.pinned[0].split(":")
        subprocess.run(
            ["mvn", "--quiet", "dependency:get", f"-Dartifact={group}:{name}:{version}:zip"],
            check=True,
        )
        found = (
            Path.home()
            / ".m2"
            / "repository"
            / group.replace(".", "/")
            / name
            / version
            / f"{name}-{version}.zip"
        )
        self.home.parent.mkdir(exist_ok=True)
        shutil.unpack_archive(found, self.home.parent)
        (self.home.parent / f"apache-tomcat-{version}").rename(self.home)

    def start(self, place: Place) -> Command:
        for name in ("conf", "webapps"):
            shutil.copytree(self.home / name, place.folder / name)
        for name in ("logs", "temp", "work"):
            (place.folder / name).mkdir()
        server = place.folder / "conf" / "server.xml"
        server.write_text(
            server.read_text("utf-8")
            .replace('port="8080"', f'port="{place.port}" address="127.0.0.1"')
            .replace('port="8005"', 'port="-1"'),
            "utf-8",
        )
        paths = f"{self.home / 'bin' / 'bootstrap.jar'}:{self.home / 'bin' / 'tomcat-juli.jar'}"
        return Command(
            (
                "java",
                "-Xmx256m",
                "-cp",
                paths,
                f"-Dcatalina.home={self.home}",
                f"-Dcatalina.base={place.folder}",
                "org.apache.catalina.startup.Bootstrap",
                "start",
            )
        )

    def person(self, tab: Tab) -> str:
        page = tab.fetch("/examples/servlets/servlet/RequestHeaderExample").text
        found = re.search(
            r"remote-user.*?</td><td[^>]*>\s*([^<]+)", page, re.DOTALL | re.IGNORECASE
        )
        return found[1].strip().replace("&#64;", "@") if found else page[:300]

    def talks(self, tab: Tab) -> str | None:
        return tab.talk("/examples/websocket/echoProgrammatic", ["hello"], "hello")


class Radicale(Large):
    name = "radicale"
    pinned = ("radicale==3.9.0",)

    def start(self, place: Place) -> Command:
        return Command(
            (
                self.program("python"),
                "-m",
                "radicale",
                "--config",
                "",
                "--server-hosts",
                f"127.0.0.1:{place.port}",
                "--auth-type",
                "http_x_remote_user",
                "--storage-filesystem-folder",
                str(place.folder / "collections"),
            )
        )

    def person(self, tab: Tab) -> str:
        asked = '<propfind xmlns="DAV:"><prop><current-user-principal/></prop></propfind>'
        found = re.search(
            r"current-user-principal>\s*<href>/([^<]+)/<",
            tab.fetch("/", "PROPFIND", body=asked, headers={"Depth": "0"}).text,
        )
        return unquote(found[1]) if found else ""


LARGE: tuple[Large, ...] = (
    JupyterHub(),
    Streamlit(),
    Gradio(),
    Marimo(),
    NodeRed(),
    OctoPrint(),
    CalibreWeb(),
    Buildbot(),
    Tomcat(),
    Radicale(),
)
