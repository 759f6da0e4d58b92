"""Both sides of a script's arguments come from one dataclass."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import pytest

from gateway.sessions.app_passwords import MAKE_APP_PASSWORD, MakeAppPasswordArgs
from gateway.sessions.connection import Script, in_order
from gateway.sessions.pool_passwords import KEEP_POOL_PASSWORD, KeepPoolPasswordArgs
from gateway.sessions.session_writer import FINISH_LOGIN, FinishLoginArgs
from gateway.sessions.watermarks import REVOKE, RevokeArgs

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Two:
    one: str
    other: int


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        (FINISH_LOGIN, FinishLoginArgs),
        (REVOKE, RevokeArgs),
        (MAKE_APP_PASSWORD, MakeAppPasswordArgs),
        (KEEP_POOL_PASSWORD, KeepPoolPasswordArgs),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_script_reads_every_argument_that_it_is_given(
    script: Script, arguments: type[DataclassInstance]
) -> None:
    count = len(fields(arguments))
    assert all(f"ARGV[{n}]" in script.text for n in range(1, count + 1))
    assert f"ARGV[{count + 1}]" not in script.text
    assert "args." not in script.text


def test_a_script_that_names_an_argument_that_nobody_gives_does_not_load() -> None:
    with pytest.raises(KeyError, match="prefix"):
        Script.load("revoke", Two)


def test_arguments_are_sent_in_the_order_of_their_fields() -> None:
    assert in_order(Two(other=2, one="1")) == ["1", 2]
