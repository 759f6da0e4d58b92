"""Documentation that lags behind the code is wrong in the worst way: believed. Both directions,
table by table.
"""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path
from unittest.mock import create_autospec

import click
import pytest
import yaml
from aiohttp import web
from prometheus_client import Counter, Gauge, Histogram

from gateway import __version__, login, metrics
from gateway.cli import COMMANDS, cli
from gateway.cognito.error_diagnosis import SYMPTOMS, UNKNOWN
from gateway.config.model import Config, load_config
from gateway.core.reason import Reason
from gateway.hooks import receive
from gateway.hooks.receive.services import HookServices
from gateway.pages.texts import REASONS
from gateway.runtime import health
from gateway.tenants.document import TenantDocument
from tests.apps.applications import APPLICATIONS
from tests.apps.more import LARGE, Large
from tests.docs import api_reference, cli_reference, reference, rooms
from tests.runtime.test_scaling import patterns

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OPERATOR = DOCS / "operator"
PROSE = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])
every_page = pytest.mark.parametrize("path", PROSE, ids=lambda p: str(p.relative_to(ROOT)))


def rows(name: str) -> list[list[str]]:
    """Cells of every table row of a page, code marks taken off."""
    lines = (OPERATOR / name).read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
        if line.startswith("| ")
    ]


def code(cell: str) -> str:
    return cell.strip("`")


def test_the_reference_of_the_commands_is_the_one_that_the_commands_write() -> None:
    assert cli_reference.TARGET.read_text(encoding="utf-8") == cli_reference.render(), (
        "run scripts/reference"
    )


def test_the_reference_of_the_api_is_the_one_that_its_description_writes() -> None:
    assert api_reference.TARGET.read_text(encoding="utf-8") == api_reference.render(), (
        "run scripts/reference"
    )


def test_the_configuration_reference_is_the_one_that_the_code_writes() -> None:
    assert reference.TARGET.read_text(encoding="utf-8") == reference.render(), (
        "run scripts/reference"
    )


@pytest.mark.parametrize(("section", "model"), [("gateway", Config), ("tenant", TenantDocument)])
def test_every_key_is_described_and_every_description_has_its_key(
    section: str, model: type
) -> None:
    words = yaml.safe_load(reference.WORDS.read_text(encoding="utf-8"))[section]
    assert list(words) == [key.path for key in reference.keys(model)]


def test_every_release_has_a_row_of_what_an_upgrade_to_it_asks_for() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+)\b", changelog, re.MULTILINE)
    listed = [row[0] for row in rows("upgrade.md") if re.fullmatch(r"\d+\.\d+\.\d+", row[0])]
    assert listed == list(dict.fromkeys([__version__, *released]))


@pytest.mark.parametrize("page", sorted(path.name for path in OPERATOR.glob("migrate-from-*.md")))
def test_what_a_migration_says_to_configure_is_valid(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (OPERATOR / page).read_text("utf-8"), re.DOTALL)
    for number, block in enumerate(blocks):
        document = yaml.safe_load(block)
        if not document.keys() <= Config.model_fields.keys():
            continue
        path = tmp_path / f"{number}.yaml"
        needed = yaml.safe_load((ROOT / "config" / "gateway.yaml").read_text("utf-8"))
        needed["ingress"] = {"keys": ["k" * 32]}
        path.write_text(yaml.safe_dump(needed | document))
        assert load_config(path).headers.keys() == document["headers"].keys()
    assert blocks or page == "migrate-from-oauth2-proxy.md"


def test_every_reason_is_documented_with_the_words_of_its_page() -> None:
    documented = {code(row[0]): row[3] for row in rows("reasons.md")[1:]}
    assert documented == {reason.value: REASONS[reason].title for reason in Reason}


def test_the_pages_that_users_may_see_have_the_titles_of_the_pages() -> None:
    page = (DOCS / "user" / "signing-in.md").read_text(encoding="utf-8")
    _, _, table = page.partition("## Error pages")
    titles = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    catalog = (ROOT / "gateway/pages/locale/de/LC_MESSAGES/gateway.po").read_text(encoding="utf-8")
    texts = [
        re.sub(r"%\\\(\w+\\\)s|\\\{\w+\\\}", ".+", re.escape(text))
        for text in re.findall(r'^msgid "(.+)"$', catalog, re.MULTILINE)
    ]
    assert len(titles) > 10
    assert [title for title in titles[1:] if not any(re.fullmatch(t, title) for t in texts)] == []


def test_every_metric_is_documented_with_its_labels() -> None:
    kinds = {Counter: "_total", Gauge: "", Histogram: ""}
    known = {
        metric._name + kinds[type(metric)]: ", ".join(metric._labelnames) or "–"  # type: ignore[index, attr-defined, unused-ignore]  # the library names no public way
        for metric in vars(metrics).values()
        if isinstance(metric, Counter | Gauge | Histogram)
    }
    documented = {
        code(row[0]): row[1] for row in rows("metrics.md") if row[0].startswith("`gateway_")
    }
    assert documented == known | {"gateway_build_info": "version, python, role"}
    scraped = metrics.scrape()[0].decode()
    assert 'gateway_build_info{python="' in scraped
    page = (DOCS / "operator" / "metrics.md").read_text(encoding="utf-8")
    of_the_process = set(re.findall(r"^process_\w+", scraped, re.MULTILINE))
    assert of_the_process == set(re.findall(r"`(process_\w+)`", page))


def documented_routes(prefix: str) -> set[tuple[str, str]]:
    cells = " ".join(row[0] for row in rows("endpoints.md"))
    found = set()
    for chunk in re.findall(r"`([^`]+)`", cells):
        match = re.fullmatch(r"(GET|POST|PUT|PATCH|DELETE) (\S+)", chunk)
        if match and match[2].startswith(prefix):
            found.add((match[1], match[2].partition("?")[0]))
    return found


def test_every_route_for_browsers_is_documented() -> None:
    documented = documented_routes("/_auth") | documented_routes("/oauth2")
    assert documented == {(method, path) for method, path, _ in login.ROUTES}


def test_every_route_for_identity_providers_is_documented() -> None:
    # The routes are values; what stands behind them is not asked for their paths.
    application = web.Application()
    application.add_routes(receive.routes(create_autospec(HookServices, instance=True)))
    # SCIM's take a slash at their end, which is nothing to say of each.
    known = {
        (route.method, route.resource.canonical.removesuffix("{slash}"))
        for route in application.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert documented_routes("/hooks") | documented_routes("/scim") == known


def test_every_route_of_the_admin_api_about_hooks_is_named_where_hooks_are_explained() -> None:
    page = (OPERATOR / "hooks.md").read_text(encoding="utf-8")
    served = json.loads((OPERATOR / "openapi.json").read_text(encoding="utf-8"))["paths"]
    about = {
        (method.upper(), path.removeprefix("/admin/v1"))
        for path, methods in served.items()
        if "/hooks" in path
        for method in methods
    }
    assert {(m, p) for m, p in re.findall(r"`(GET|POST|DELETE) (/[^`?\s]+)`", page)} == about


def test_every_system_route_is_documented() -> None:
    known = {
        (route.method, route.resource.canonical)
        for route in health.application({}).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert {
        route
        for prefix in ("/healthz", "/readyz", "/metrics")
        for route in documented_routes(prefix)
    } == known


def test_every_application_that_is_run_has_its_page_and_its_rows() -> None:
    """The version is that of the lock, and what the tenant's file needs at a change of person
    stands in the page's own configuration.
    """
    lock = dict(
        re.findall(
            r"^([\w-]+)(?:\[[^]]*\])?==(\S+)",
            (ROOT / "requirements" / "apps.txt").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    lines = (DOCS / "apps" / "README.md").read_text(encoding="utf-8").splitlines()
    tables = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in lines
        if line.startswith("| [") and "/README.md)" in line
    ]
    folders = [re.findall(r"\((\w+)/README\.md\)", row[0])[0] for row in tables]
    known = {application.pages.name: application for application in (*APPLICATIONS, *LARGE)}
    assert folders == [*known, *known]
    assert {path.parent.name for path in (DOCS / "apps").glob("*/README.md")} == known.keys()
    for application, row in zip(known.values(), tables, strict=False):
        tested = (
            f"soak, {application.version}"
            if isinstance(application, Large)
            else f"suite, {lock[application.package] if application.package else 'Debian'}"
        )
        assert row[1] == tested, application.name
        needed = [
            key
            for key in application.gateway_side().tenant
            if key in {"app_cookies", "clear_domain_cookies"}
        ]
        assert row[6] == (", ".join(f"`{key}`" for key in needed) or "nothing needed"), (
            application.name
        )


def test_the_troubleshooting_table_is_the_one_in_the_code() -> None:
    documented = [
        (code(row[0]), row[2].replace("&lt;", "<"), row[3].replace("&lt;", "<"))
        for row in rows("troubleshooting.md")
        if len(row) == 4
    ][1:]
    known = [(d.code, d.cause, d.setting) for d in (*(s.diagnosis for s in SYMPTOMS), UNKNOWN)]
    assert documented == known


def test_every_regular_expression_stands_on_the_page_about_untrusted_input() -> None:
    page = (DOCS / "developer" / "untrusted-input.md").read_text(encoding="utf-8")
    named = [
        re.findall(r"`([^`]+)`", line.split("|")[1])
        for line in page.splitlines()
        if line.startswith("| `gateway/")
    ]
    assert {(module, name) for module, *names in named for name in names} == {
        (pattern.module, pattern.name) for pattern in patterns()
    }


@every_page
def test_links_within_the_documentation_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            waiting += [
                page.parent / target
                for target in re.findall(
                    r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")
                )
            ]
    assert {str(p.relative_to(ROOT)) for p in PROSE if p.resolve() not in reached} == set()


def test_every_decision_is_in_the_list_with_its_own_title() -> None:
    listed = dict(
        re.findall(
            r"\]\((\d{4}-[\w-]+\.md)\) \| (.*) \|",
            (DOCS / "adr" / "README.md").read_text(encoding="utf-8"),
        )
    )
    files = {
        path.name: path.read_text(encoding="utf-8").splitlines()[0]
        for path in (DOCS / "adr").glob("0*.md")
    }
    assert list(listed) == sorted(files)
    assert {
        name: title.partition(": ")[2]
        for name, title in files.items()
        if not name.startswith("0000")
    } == {n: t for n, t in listed.items() if not n.startswith("0000")}


@every_page
def test_commands_in_the_documentation_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|\n)gateway ([a-z][a-z-]*)\b(?! =)", text))
    assert named <= COMMANDS.keys(), named - COMMANDS.keys()
    for line in re.findall(r"`gateway ([a-z][^`\n]*)`", text):
        command: click.Command = cli
        words = line.split()
        while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z-]+", words[0]):
            found = command.get_command(click.Context(command), words[0])
            assert found is not None, f"gateway {line}"
            command, words = found, words[1:]
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)) <= options, f"gateway {line}"


def command_lines() -> list[tuple[str, str]]:
    """Lines of code blocks that are ready to be typed: page and line, comments and optional parts
    taken off.
    """
    found = []
    for path in PROSE:
        for block in re.findall(
            r"^```\w*\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            for line in block.replace("\\\n", " ").splitlines():
                match = re.match(r"(?:\$ )?gateway ((?!\[)[a-z].*)", line)
                if match and "…" not in line:
                    found.append(
                        (
                            str(path.relative_to(ROOT)),
                            re.sub(
                                r"\[[^\]]*\]", "", match[1].partition("  #")[0].partition(" # ")[0]
                            ).strip(),
                        )
                    )
    return found


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_a_command_in_the_documentation_is_one_that_the_parser_takes(page: str, line: str) -> None:
    words = shlex.split(line)
    command: click.Command = cli
    context = click.Context(cli, info_name="gateway")
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{page}: no {name}"
        command = found
        context = click.Context(command, parent=context, info_name=name)
    if not words and line.count(" ") == 0:
        return  # a command by its name alone, in a text about it
    try:
        # Parses and converts, runs nothing; files that an example names need not exist.
        parser = command.make_parser(context)
        _, rest, _ = parser.parse_args(list(words))
    except click.UsageError as error:
        pytest.fail(f"{page}: gateway {line}: {error.format_message()}")
    assert rest == [] or any(isinstance(p, click.Argument) for p in command.params), (
        f"{page}: gateway {line}: {rest} is too much"
    )


def test_the_configuration_in_the_guide_is_valid(tmp_path: Path) -> None:
    block = re.findall(
        r"```yaml\n(.*?)```", (OPERATOR / "production.md").read_text(encoding="utf-8"), re.DOTALL
    )[0]
    for secret, value in (
        ("ingress_key", "k" * 32),
        ("redis_url", "rediss://valkey.internal:6379"),
        ("database_url", "postgresql+asyncpg://gateway:x@sql.internal/gateway"),
    ):
        (tmp_path / secret).write_text(value, encoding="utf-8")
    (tmp_path / "gateway.yaml").write_text(
        block.replace("/etc/gateway/secrets", str(tmp_path)), encoding="utf-8"
    )
    config = load_config(tmp_path / "gateway.yaml")
    assert config.login_host == "login.example.com"


@cache
def variables() -> set[str]:
    return {reference.variable(key.path) for key in reference.keys(Config)}


@pytest.mark.parametrize(
    "path", [*PROSE, ROOT / "Dockerfile"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_environment_variables_in_the_documentation_are_keys(path: Path) -> None:
    known = variables() | {
        "GATEWAY_CONFIG",
        "GATEWAY_INGRESS_KEY",
        "GATEWAY_SERVER",
        "GATEWAY_ADMIN_KEY",
    }
    if path.name == "error-messages.md":
        return  # it shows what happens to others, and its own test that this is so
    # GATEWAY_CONFIG names the file itself; GATEWAY_INGRESS_KEY is what the example configuration
    # reads its key from.
    assert set(re.findall(r"\bGATEWAY_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8"))) <= known


PLACES = "gateway|tests|scripts|deploy|demo|docs|requirements"


@pytest.mark.parametrize(
    "path", [p for p in PROSE if p.parent.name != "adr"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_files_that_the_documentation_names_exist(path: Path) -> None:
    """Decisions are not rewritten, so theirs may be gone."""
    named = re.findall(rf"`((?:{PLACES})/[\w./-]+)(?:::\w+)?`", path.read_text(encoding="utf-8"))
    assert [file for file in named if not (ROOT / file).exists()] == []


@every_page
def test_tests_that_the_documentation_names_exist(path: Path) -> None:
    for file, test in re.findall(
        r"`([\w/]*test_\w+\.py)::(\w+)`", path.read_text(encoding="utf-8")
    ):
        # A page about one room may leave its folder out.
        candidates = (
            [ROOT / file] if file.startswith("tests/") else list((ROOT / "tests").rglob(file))
        )
        assert any(
            found.exists() and re.search(rf"def {test}\b", found.read_text(encoding="utf-8"))
            for found in candidates
        ), f"{file}::{test}"


def test_every_guarantee_and_every_limit_of_the_threat_model_names_a_test() -> None:
    text = (DOCS / "threat-model.md").read_text(encoding="utf-8")
    guarantees, _, limits = text.partition("## What it does not promise")
    sections = [
        *re.split(r"^#### ", guarantees, flags=re.MULTILINE)[1:],
        *re.split(r"^### ", limits, flags=re.MULTILINE)[1:],
    ]
    assert len(sections) > 70
    named = re.compile(r"^- `tests/[\w/]+\.py::test_\w+`$", re.MULTILINE)
    assert [s.splitlines()[0] for s in sections if not named.search(s)] == []


def test_every_rule_of_the_session_protocol_names_a_test_or_a_decision() -> None:
    text = (DOCS / "sessions.md").read_text(encoding="utf-8")
    rules = re.split(r"^- ", text, flags=re.MULTILINE)[1:]
    assert len(rules) > 90
    assert [r for r in rules if not re.search(r"`[\w/]*test_\w+\.py|ADR \d{4}", r)] == []


def test_alerts_and_log_events_that_the_documentation_names_exist() -> None:
    alerts = set(
        re.findall(
            r"alert: (Gateway\w+)",
            (ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"),
        )
    )
    named = {
        name
        for page in DOCS.rglob("*.md")
        for name in re.findall(r"`(Gateway[A-Z]\w+)`", page.read_text(encoding="utf-8"))
    }
    assert named <= alerts
    page = (DOCS / "operator" / "production.md").read_text(encoding="utf-8")
    table = page[page.index("| scenario | log | metric | alert |") :].partition("\n\n")[0]
    events = {
        event
        for line in table.splitlines()[2:]
        for event in re.findall(r"`([a-z_]+)`", line.split(" | ")[1])
    }
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    assert len(events) > 10
    assert [
        event for event in sorted(events - {"outcome", "reason"}) if f'"{event}"' not in source
    ] == []


def test_each_alert_says_what_to_do_where_the_runbook_says_it() -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    page = (DOCS / "operator" / "alerts.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### (Gateway\w+)\n\n(.+)", page, re.MULTILINE)
    assert sorted(name for name, _ in sections) == sorted(rule["alert"] for rule in alerts)
    for rule in alerts:
        assert rule["annotations"]["runbook"] == f"docs/operator/alerts.md#{rule['alert'].lower()}"
    source = (ROOT / "gateway/metrics.py").read_text(encoding="utf-8")
    for name in re.findall(r"`(gateway_[a-z_]+)`", page):
        assert f'"{name.removesuffix("_total")}"' in source, name
    log = (DOCS / "operator" / "logs.md").read_text(encoding="utf-8")
    events = set(re.findall(r"^\| `([a-z_]+)` \|", log, re.MULTILINE))
    for name in re.findall(r"`([a-z]+_[a-z_]+)`", page):
        known = name in events or name.startswith("gateway_") or name in SETTINGS_ON_ALERTS
        assert known or name.startswith("process_"), name


SETTINGS_ON_ALERTS = frozenset({"exit_code"})
"""Fields that the page about alerts names."""


def test_every_fault_that_is_counted_is_counted_from_the_start() -> None:
    """``FAULTS``, or a name that its owner knows when it begins (``begin_at_zero``)."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    named = re.findall(
        r'(?:\bfault\(|TASK_FAILURES\.labels\(|failed=|event=|Unopened\([^)]*?)\s*"(\w+)"', source
    )
    assert set(named) == set(metrics.FAULTS)


def test_the_picture_of_the_rooms_is_drawn_from_the_imports() -> None:
    assert rooms.PICTURE.read_text("utf-8") == rooms.picture(), "run scripts/reference"


def test_a_way_of_arrows_leads_from_each_room_to_all_that_it_imports() -> None:
    imported = rooms.imports()
    drawn: dict[str, set[str]] = {room: set() for room in imported}
    for room, other in rooms.arrows(imported):
        drawn[room].add(other)

    def below(room: str) -> set[str]:
        return set().union(*({other} | below(other) for other in drawn[room]))

    assert all(others <= below(room) for room, others in imported.items())


def test_the_walks_of_the_architecture_name_functions_that_are_there() -> None:
    page = (ROOT / "docs/developer/architecture.md").read_text("utf-8")
    section = page[page.index("## Four more walks") : page.index("## Modules")]
    steps = re.findall(r"^ *(?:→ )?([\w/]+\.py)(?: (\w+))?(?:  |$)", section, re.MULTILINE)
    assert len(steps) > 20
    for file, function in steps:
        source = (ROOT / "gateway" / file).read_text("utf-8")
        assert not function or re.search(rf"def {function}\b", source), (file, function)
