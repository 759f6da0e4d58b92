from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.served import Served
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES: list[dict[str, Any]] = [
    {"path": "/public/**", "allow": "public"},
    {"path": "/admin/**", "groups": ["admins"]},
    {"path": "/api/**", "bearer": {"clients": ["machine"], "scopes": ["api/read"]}},
    {"path": "/dav/**", "app_passwords": True},
]


class Cli:
    """``gateway`` with a tenant of a file and one of SQL."""

    def __init__(self, served: Served, capsys: pytest.CaptureFixture[str]) -> None:
        self._served, self._capsys = served, capsys

    def __call__(self, group: str, name: str, *rest: str) -> tuple[int, str, str]:
        return self._served(self._capsys, group, name, *rest)

    def explain(self, *rest: str) -> Any:
        return self._served.json(self._capsys, "policy", "explain", *rest)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("gateway")
    filed = sample(
        "filed",
        rules=RULES,
        shadow_rules=[{"path": "/public/**", "allow": "deny"}, *RULES[1:]],
        branding={"support": "it@filed.test"},
    )
    write(root / "folder", sample("acme", allowed_groups="any"))
    with Served(root / "g", filed, shared_hosts=["app.example.com"]) as running:
        assert running.run("tenants", "apply", root / "folder") == 0
        yield running


@pytest.fixture
def cli(served: Served, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(served, capsys)


def test_who_is_missing_what_is_told_in_words_and_in_json(cli: Cli) -> None:
    asked = (
        "--host",
        "filed.example.com",
        "--path",
        "/admin/x",
        "--email",
        "bob@filed.test",
        "--group",
        "app-users",
    )
    code, out, _ = cli("policy", "explain", *asked)
    assert code == 0
    assert out.splitlines() == [
        "deny (group_missing)",
        "  ✓ login: taken to be through filed-okta",
        "  ✓ tenant: filed",
        "  ✓ rule: rules[1] path /admin/**",
        "  ✓ session: valid",
        "  ✓ e-mail domain: filed.test",
        "  ✓ tenant's groups: any of: app-users",
        "  ✗ rule's groups: any of: admins",
        "  any of these groups would do: admins",
        "  who can help: it@filed.test",
    ]
    found = cli.explain(*asked)
    assert (found["decision"], found["reason"], found["rule"], found["would_do"]) == (
        "deny",
        "group_missing",
        {"index": 1, "path": "/admin/**"},
        {"groups": ["admins"], "roles": []},
    )
    assert cli.explain(*asked, "--group", "admins")["decision"] == "allow"


def test_a_webdav_request_is_explained_for_all_that_it_acts_on(cli: Cli) -> None:
    asked = ("--host", "filed.example.com", "--email", "bob@filed.test", "--group", "app-users")
    assert (
        cli.explain(
            *asked, "--method", "copy", "--path", "/x", "--destination", "/admin/x", "--depth", "0"
        )["reason"]
        == "group_missing"
    )
    assert cli.explain(*asked, "--method", "PROPFIND", "--depth", "1")["reason"] == "ok"
    assert cli.explain(*asked, "--method", "PROPFIND")["reason"] == "group_missing"


def test_tenants_of_sql_are_explained_too(cli: Cli) -> None:
    assert (
        cli.explain("--host", "acme.example.com", "--email", "a@acme.test")["decision"] == "allow"
    )
    assert cli.explain("--host", "app.example.com", "--email", "a@acme.test")["tenant"] == "acme"


def test_an_unknown_host_is_told_as_unknown(cli: Cli) -> None:
    found = cli.explain("--host", "nobody.example.org")
    assert (found["decision"], found["reason"], found["tenant"]) == ("deny", "unknown_host", None)
    assert "nobody.example.org is no tenant's" in found["steps"][0]["detail"]


def test_what_the_next_rules_would_say_is_told(cli: Cli) -> None:
    asked = ("--host", "filed.example.com", "--path", "/public/x")
    assert cli.explain(*asked)["shadow_rules"] == {"decision": "deny", "reason": "rule_denied"}
    assert "shadow_rules would say: deny (rule_denied)" in cli("policy", "explain", *asked)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "x", "--group", "g"), "name one with --email"),
        (("--host", "x", "--path", "admin"), "--path begins with /"),
        (("--host", "x", "--app-password-path", "/"), "name them with --email"),
        (
            ("--host", "x", "--email", "a@x.test", "--app-password-path", "gwap_x"),
            "begins with /",
        ),
        (
            ("--host", "x", "--email", "a@x.test", "--app-password-path", "/", "--client", "m"),
            "an access token or an app password",
        ),
        ((), "--host"),
    ],
)
def test_a_question_that_means_nothing_is_refused_with_2(
    cli: Cli, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = cli("policy", "explain", *arguments)
    assert code == 2
    assert message in err


def test_an_explanation_holds_no_secret(cli: Cli) -> None:
    code, out, err = cli(
        "policy", "explain", "--host", "filed.example.com", "--email", "a@filed.test"
    )
    assert code == 0
    assert "secret of" not in out + err


def test_a_machines_token_is_explained(cli: Cli) -> None:
    asked = ("--host", "filed.example.com", "--path", "/api/x")
    assert cli.explain(*asked, "--client", "machine", "--scope", "api/read")["reason"] == "bearer"
    assert cli.explain(*asked, "--client", "machine")["reason"] == "bearer_invalid"


def test_an_app_password_is_explained(cli: Cli) -> None:
    asked = ("--host", "filed.example.com", "--email", "bob@filed.test", "--group", "app-users")
    at = (*asked, "--path", "/dav/x")
    assert cli.explain(*at, "--app-password-path", "/")["reason"] == "app_password"
    code, out, _ = cli("policy", "explain", *at, "--app-password-path", "/other")
    assert code == 0
    assert out.splitlines() == [
        "deny (app_password_scope)",
        "  ✓ login: taken to be through filed-okta",
        "  ✓ tenant: filed",
        "  ✓ rule: rules[3] path /dav/**",
        "  ✓ app password: valid",
        "  ✗ scope: hosts: all; paths: /other",
        "  ✓ last login: not longer ago than 604800 s",
        "  who can help: it@filed.test",
    ]
    assert cli.explain(*asked, "--app-password-path", "/")["steps"][-1] == {
        "step": "app password",
        "passed": False,
        "detail": "no rule takes app passwords here",
    }
