"""Rules of every template: what a tenant or an identity provider puts into a value stays text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parent
TEMPLATES = sorted(ROOT.glob("*/templates/*.html"))
WRITTEN_AS_THEY_ARE = {"base.html": {"style", "script"}}
"""Our own style sheet and script, whose hashes the policy names."""
ADDRESSES = {
    # Paths that the template or the console writes itself.
    *("action", "again", "back", "exports.csv", "exports.jsonl", "here", "next", "path", "start"),
    *("script_path", "style_path", "test", "to", "url", "begin", "login", "go_on", "ask"),
    *("return_to", "change", "reauthenticate", "compare", "apply", "task.to", "address", "base"),
    # Of the operator's configuration, or read by a function that takes http and mailto only.
    *("logo", "support.link", "contact.link", "link", "provider_sign_out"),
}
"""Values that may be the whole of an address."""
every_template = pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: f"{p.parts[-3]}/{p.name}")


@every_template
def test_no_template_takes_markup_from_a_value(path: Path) -> None:
    text = path.read_text("utf-8")
    assert set(re.findall(r"(\w+)\s*\|\s*safe\b", text)) <= WRITTEN_AS_THEY_ARE.get(
        path.name, set()
    )
    assert "autoescape" not in text
    assert not re.search(r"<[a-z][^<>]*\s[a-z-]+=\{[{%]", text), "an attribute without quotes"


@every_template
def test_no_address_is_what_somebody_else_wrote(path: Path) -> None:
    """``javascript:`` would be one."""
    whole = r"\b(?:href|src|action|formaction|hx-get|hx-post)=\"\{\{\s*([^}\s]+)"
    assert set(re.findall(whole, path.read_text("utf-8"))) <= ADDRESSES
