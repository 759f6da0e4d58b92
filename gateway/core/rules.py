"""Which rule of a tenant speaks about a request: the first that matches, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.model import Rule

METHOD_OVERRIDE_NOTE = "X-HTTP-Method-Override is not looked at: the rule sees the method of the request line"


def find_rule(rules: tuple[Rule, ...], *, method: str, path: str) -> tuple[int, Rule] | None:
    """Index and rule of the first match. ``path`` is canonical and unambiguous.

    A rule for GET speaks about HEAD as well (RFC 9110 §9.3.2: HEAD is GET without the body), so a method
    list that forgets HEAD opens nothing.
    """
    for index, rule in enumerate(rules):
        if (rule.methods is None or method in rule.methods or (method == "HEAD" and "GET" in rule.methods)) and rule.pattern.fullmatch(path) and not _only_with_a_slash(rule, path):
            return index, rule
    return None


def _only_with_a_slash(rule: Rule, path: str) -> bool:
    """Whether ``path`` matched only because the glob forgives a final slash, and the rule gives something away.

    Applications take ``/admin`` and ``/admin/`` for one page, so a rule that restricts speaks about both. But ``/**/*.css``
    for everyone must not open ``/admin.css/``, which an application may well take for a folder.
    """
    gives = rule.everyone or rule.replace or rule.bearer is not None
    return gives and path.endswith("/") and not rule.path.endswith(("/", "**"))
