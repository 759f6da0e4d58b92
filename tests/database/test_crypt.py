from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Secret
from gateway.database.crypt import Crypt
from gateway.errors import ConfigError
from gateway.keys import ring

RING = ring.generate().database
OTHER = ring.generate().database


@given(text=st.text(st.characters(codec="utf-8")))
def test_what_was_sealed_opens_in_its_cell(text: str) -> None:
    crypt = Crypt(lambda: RING)
    assert (
        crypt.open(
            crypt.seal(text, table="t", row="r", column="c"), table="t", row="r", column="c"
        ).reveal()
        == text
    )


@pytest.mark.parametrize(
    "cell",
    [
        {"table": "x", "row": "r", "column": "c"},
        {"table": "t", "row": "x", "column": "c"},
        {"table": "t", "row": "r", "column": "x"},
    ],
    ids=["table", "row", "column"],
)
def test_a_value_copied_to_another_cell_does_not_open(cell: dict[str, str]) -> None:
    crypt = Crypt(lambda: RING)
    with pytest.raises(ConfigError, match="does not open"):
        crypt.open(crypt.seal("secret", table="t", row="r", column="c"), **cell)


def test_cells_whose_parts_run_together_are_different() -> None:
    crypt = Crypt(lambda: RING)
    with pytest.raises(ConfigError):
        crypt.open(
            crypt.seal("secret", table="ab", row="c", column="d"), table="a", row="bc", column="d"
        )


@given(value=st.text(max_size=80), prefix=st.booleans())
def test_what_was_never_sealed_is_refused(value: str, prefix: bool) -> None:
    with pytest.raises(ConfigError):
        Crypt(lambda: RING).open(
            (RING[0].kid + "." if prefix else "") + value, table="t", row="r", column="c"
        )


def test_both_keys_read_during_a_rotation_and_the_first_writes() -> None:
    old = Crypt(lambda: RING).seal(Secret("secret"), table="t", row="r", column="c")
    rotated = Crypt(lambda: (*OTHER, *RING))
    assert rotated.open(old, table="t", row="r", column="c") == Secret("secret")
    assert not rotated.is_current(old)
    assert rotated.is_current(rotated.seal("secret", table="t", row="r", column="c"))


def test_a_missing_key_is_named_and_the_value_is_not() -> None:
    sealed = Crypt(lambda: RING).seal("hunter2", table="tenants", row="acme", column="secrets")
    with pytest.raises(
        ConfigError,
        match=(
            rf"SQL tenants/acme/secrets: encrypted with key '{RING[0].kid}', which is not in "
            r"the key ring"
        ),
    ) as caught:
        Crypt(lambda: OTHER).open(sealed, table="tenants", row="acme", column="secrets")
    assert sealed not in str(caught.value)


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    crypt = Crypt(lambda: RING)
    assert crypt.seal("secret", table="t", row="r", column="c") != crypt.seal(
        "secret", table="t", row="r", column="c"
    )
