"""``gateway connections``: of a gateway that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACME = {
    "id": "acme",
    "name": "Acme",
    "hosts": ["acme.example.com"],
    "email_domains": ["acme.com"],
    "allowed_groups": "any",
    "client_id": "client1acme",
    "client_secret": "a-client-secret-of-cognito-0123456789",
    "providers": [
        {
            "name": "acme-okta",
            "kind": "oidc",
            "issuer": "https://127.0.0.1",
            "secret_expires": "2999-01-02",
            "hooks": {"secrets_expire": "2020-01-02"},
        }
    ],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("connections")
    with Served(folder, ACME) as running:
        yield running


def test_a_look_says_what_fails_and_what_ends(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = served(capsys, "connections", "check", "acme")
    assert code == 0, err
    assert out.startswith("acme-okta  unchecked  looked at ")
    assert "  client_secret  2999-01-02 00:00  in " in out
    assert "  hook_secret  2020-01-02 00:00  has ended" in out
    listed = served.json(capsys, "connections", "list", "acme")
    (row,) = listed["items"]
    assert (row["provider"], row["failing_since"] is not None) == ("acme-okta", True)
    assert "https://127.0.0.1" in row["detail"]
    code, out, err = served(capsys, "connections", "list")
    assert code == 0, err
    assert out.startswith("acme  acme-okta  unchecked  looked at ")
    assert served.json(capsys, "connections", "list", "acme", "--state", "active")["items"] == []


def test_a_tenant_that_is_unknown_has_no_connections(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = served(capsys, "connections", "list", "nobody")
    assert (code == 1 and "not_found" in err) or "no tenant" in err.lower()
