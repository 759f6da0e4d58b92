"""``gateway hooks``."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from gateway.database.crypt import Crypt
from tests.cli.served import Served
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def with_okta(tenant: str) -> dict[str, Any]:
    okta = {
        "name": f"{tenant}-okta",
        "kind": "okta",
        "issuer": f"https://{tenant}.okta.com",
        "hooks": {"secrets": ["the-hook-secret-0123456789abcdef0123456789"]},
    }
    return sample(tenant, providers=[okta])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    hooks = {"url": "https://hooks.example.com"}
    folder = tmp_path_factory.mktemp("gateway") / "g"
    with Served(folder, with_okta("acme"), hooks=hooks) as running:
        yield running


def test_setup_hands_out_addresses_and_never_the_secret(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = served(capsys, "hooks", "setup", "acme")
    assert code == 0
    assert "https://hooks.example.com/hooks/okta/acme/acme-okta" in text
    assert "group.user_membership.remove" in text
    assert "nothing yet" in text
    assert "the-hook-secret-0123456789abcdef0123456789" not in text
    assert served.json(capsys, "hooks", "setup", "acme")["items"][0]["secrets"] == 1


def test_an_unknown_tenant_is_said(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ((), ("--provider", "x-okta")):
        code, _, err = served(capsys, "hooks", "setup", "globex", *more)
        assert (code, "there is no tenant globex" in err) == (1, True)


def test_a_new_secret_is_long_and_different_each_time_and_needs_no_gateway(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (served(capsys, "hooks", "secret")[1].strip() for _ in range(2))
    assert len(first) >= 43
    assert first != second


def test_a_stored_secret_is_shown_once_and_the_one_before_stays_valid(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "folder", with_okta("initech"))
    assert served.run("tenants", "apply", tmp_path / "folder") == 0
    code, out, err = served(capsys, "hooks", "secret", "initech", "initech-okta")
    assert code == 0, err
    _, text, _ = served(capsys, "hooks", "setup", "initech", "--json")
    assert json.loads(text)["items"][0]["secrets"] == 2
    assert out.strip() not in text
    assert served.run("hooks", "secret", "initech", "nobody") == 1
    assert served.run("hooks", "secret", "initech") == 2
    served.forget()


def test_the_previous_secret_is_deleted_after_it_is_said_who_used_it(
    tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "folder", with_okta("umbrella"))
    assert served.run("tenants", "apply", tmp_path / "folder") == 0
    where = ("hooks", "secret", "umbrella", "umbrella-okta")
    assert served.run(*where) == 0
    code, out, err = served(capsys, *where, "--delete-previous")
    assert (code, err) == (0, "")
    assert "secret, previous  not used yet" in out
    assert out.endswith("only the newest secret is accepted\n")
    _, text, _ = served(capsys, "hooks", "setup", "umbrella", "--json")
    assert json.loads(text)["items"][0]["secrets"] == 1
    code, out, _ = served(capsys, *where, "--delete-previous")
    assert (code, "there is no previous secret" in out) == (0, True)
    assert served.run("hooks", "secret", "--delete-previous") == 2
    served.forget()


def test_a_file_keeps_its_secrets_where_it_says(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = served(capsys, "hooks", "secret", "acme", "acme-okta")
    assert (code, out) == (1, "")
    assert "is a file of tenants.directory" in err


def test_the_test_says_nothing_came_and_fails(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = served(capsys, "hooks", "test", "acme")
    assert (code, "acme/acme-okta (okta): nothing" in out) == (1, True)
    code, out, _ = served(capsys, "hooks", "test", "acme", "--json")
    assert (code, json.loads(out)["items"][0]["verdict"]) == (1, "nothing")


def a_message(served: Served, state: str) -> None:
    payload = Crypt(lambda: served.ring.database).seal(
        "{}", table="webhooks_outbox", row="msg_1", column="payload"
    )
    with (
        contextlib.closing(sqlite3.connect(served.state / "gateway.sqlite3")) as connection,
        connection,
    ):
        connection.execute(
            "INSERT INTO webhooks_outbox (id, tenant, lane, event, payload, created_at, "
            "state, attempts, next_at, held_until, error)"
            " VALUES ('msg_1', 'acme', 'l', 'user.deprovisioned', ?, 1.0, ?, 13, 1.0, "
            "0.0, 'answered 500')",
            (payload, state),
        )


def test_webhooks_that_were_given_up_are_listed_and_sent_again(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert served.run("hooks", "webhooks", "list") == 0
    a_message(served, "failed")
    assert (
        "msg_1  acme  1970-01-01 00:00:01  user.deprovisioned  failed after 13 attempts: "
        "answered 500"
    ) in served(capsys, "hooks", "webhooks", "list", "--state", "failed")[1]
    code, out, _ = served(capsys, "hooks", "webhooks", "replay", "--failed", "acme")
    assert (code, out) == (0, "1 to be sent again\n")
    found = served.json(capsys, "hooks", "webhooks", "list", "--tenant", "acme")["items"]
    # It may have been tried already: acme has no webhook, which is said after one attempt.
    assert [(one["id"], one["attempts"] in {0, 1}) for one in found] == [("msg_1", True)]
    code, _, err = served(capsys, "hooks", "webhooks", "replay", "msg_2")
    assert (code, "msg_2: Not found" in err) == (1, True)
    assert served.run("hooks", "webhooks", "replay") == 2


def test_what_is_held_is_listed_and_decided(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert served.json(capsys, "hooks", "held", "list", "--tenant", "acme")["items"] == []
    assert served(capsys, "hooks", "held", "release", "acme")[:2] == (0, "0 to be applied\n")
    assert served(capsys, "hooks", "held", "drop", "acme")[:2] == (0, "0 dropped\n")
