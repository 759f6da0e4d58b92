"""Which paths at the console's host are for everybody."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.console_link import PREFIX, is_console_link
from gateway.core.paths import canonical
from tests.core.build import request

HOST = "console.example.com"


def asked(path: str, host: str = HOST, *, console_host: str | None = HOST) -> bool:
    found = canonical(path)
    assert found is not None
    made = replace(request(), path=found.path, ambiguous=found.ambiguous, host=host)
    return is_console_link(made, console_host)


@pytest.mark.parametrize(
    "path", [PREFIX, f"{PREFIX}/", f"{PREFIX}/tenants/acme", f"{PREFIX}/static/console-0a.css"]
)
def test_the_pages_of_whoever_opened_a_link_are_for_everybody(path: str) -> None:
    assert asked(path)
    assert not asked(path, "acme.example.com")
    assert not asked(path, f"x.{HOST}")
    assert not asked(path, console_host=None)


@given(st.text("/.%2eEfF;\\#?ab-", max_size=30))
def test_nothing_leads_out_of_the_prefix(rest: str) -> None:
    path = canonical(PREFIX + rest.partition("?")[0])
    if path is not None and asked(PREFIX + rest.partition("?")[0]):
        assert path.path == PREFIX or path.path.startswith(f"{PREFIX}/")
        assert "%" not in path.path
        assert not any(name.startswith(".") for name in path.path.split("/"))
