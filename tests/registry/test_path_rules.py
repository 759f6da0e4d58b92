"""What rules and ``paths`` of a tenant document may say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.core.readings import PathReader
from gateway.registry.document import MAX_RULES, TenantDocument
from tests.registry.samples import sample


def document(path: str, where: str = "rules", **paths: bool) -> TenantDocument:
    return TenantDocument.model_validate(sample("acme", **{where: [{"path": path, "allow": "nobody"}], "paths": paths}))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "braces": ({"path": "/{admin,internal}/**"}, "write one rule for each alternative"),
    "stars that cross": ({"path": "/static**"}, r"\*\* stands alone between slashes"),
    "an escape": ({"path": "/a%20b"}, "should match pattern"),
    "a decomposed letter": ({"path": "/cafe\u0301"}, "rules.0.path: write /caf\u00e9:"),
    "upper case": ({"path": "/Admin/**", "ignore_case": True}, r"rules.0.path: write /admin/\*\*:"),
    "upper case on Windows": ({"path": "/Admin/**", "windows": True}, r"rules.0.path: write /admin/\*\*:"),
    "a stream": ({"path": "/admin:x", "windows": True}, r"rules.0.path: with paths.windows"),
    "a full-width letter": ({"path": "/ａ", "unicode": True, "where": "rules_next"}, "rules_next.0.path: write /a:"),
}


@pytest.mark.parametrize(("given", "said"), REFUSED.values(), ids=REFUSED)
def test_a_rule_that_would_match_nothing_is_refused_and_the_error_says_what_to_write(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        document(**given)


def test_rules_are_counted() -> None:
    rules = [{"path": f"/{number}", "allow": "nobody"} for number in range(MAX_RULES + 1)]
    assert len(TenantDocument.model_validate(sample("acme", rules=rules[1:])).rules) == MAX_RULES
    for where in ("rules", "rules_next"):
        with pytest.raises(ValidationError, match="at most 256"):
            TenantDocument.model_validate(sample("acme", **{where: rules}))


def test_paths_say_how_the_application_reads() -> None:
    assert document("/Admin/**").paths.reader() == PathReader()
    assert document("/admin/**", windows=True, suffixes=True).paths.reader() == PathReader(windows=True, suffixes=True)
    with pytest.raises(ValidationError, match="Extra inputs"):
        document("/admin", iis=True)
