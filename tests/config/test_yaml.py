"""What a YAML file may say: what the library says it does, and nothing twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.yaml import read_yaml
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yaml")


def read(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


SCALARS = st.one_of(
    st.text(max_size=8),
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
    st.dates(),
    st.sampled_from(["yes", "1e3", "=", "<<", "~", "null"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(st.text(max_size=8), VALUES, max_size=4), st.sampled_from([None, True, False])
)
def test_a_document_is_what_the_library_says(
    folder: Path, document: dict[str, Any], flow: bool | None
) -> None:
    text = yaml.safe_dump(document, default_flow_style=flow)
    assert read(folder, text) == yaml.safe_load(text) == document


WRITTEN = {
    "an alias": "a: &x [1, two]\nb: *x",
    "a merge": "a: &x {p: 1, q: 2}\nb: {<<: *x, r: 3}",
    "a merge, overridden": "a: &x {p: 1, q: 2, r: 3}\nb: {<<: *x, p: 4}",
    "two merges": "a: &x {p: 1}\nb: &y {p: 2, q: 3}\nc: {<<: [*x, *y]}",
    "a set": "a: !!set {x, y}",
    "pairs": "a: !!pairs [x: 1, x: 2]",
    "text that looks like a number": "a: '1'\nb: !!str 2\nc: 3",
    "keys that are not text": "1: a\nb: {true: c, 2026-01-01: d}",
    "a time": "a: 2026-01-01T10:00:00Z",
}


@pytest.mark.parametrize("case", WRITTEN)
def test_what_is_written_by_hand_is_what_the_library_says(folder: Path, case: str) -> None:
    assert read(folder, WRITTEN[case]) == yaml.safe_load(WRITTEN[case])


REFUSED = {
    "a key twice": (
        "a: 1\nb: {c: 1, d: 2, c: 3}",
        "line 2, column 17: not valid YAML: key 'c' is written twice",
    ),
    "a key twice beside a merge": (
        "a: &x {p: 1}\nb: {<<: *x, q: 2, q: 3}",
        "key 'q' is written twice",
    ),
    "a list as a key": ("a: 1\n? [1]\n: 2", "a key is a list or a mapping"),
    "an alias in itself": ("a: &x [1, *x]", "an alias refers to itself"),
    "a class of Python": ("a: !!python/object:os.PathLike {}", "not valid YAML"),
    "a list with a tag of one's own": ("a: !mine [1]", "not valid YAML"),
    "deeper than anything means": ("a: " + "[" * 5000 + "]" * 5000, "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2", "not valid YAML"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(folder: Path, case: str) -> None:
    text, says = REFUSED[case]
    with pytest.raises(ConfigError, match=re.escape(says)):
        read(folder, text)


def test_aliases_of_aliases_cost_what_is_written(folder: Path) -> None:
    lines = [
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)),
    ]
    document = read(folder, "\n".join(lines))
    assert document["a29"][9][9][9] is document["a26"]
