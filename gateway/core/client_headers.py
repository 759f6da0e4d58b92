"""Which headers of a client's request an application may receive; the names are in
``client_header_names``, one table for every proxy, the doctor and the tests.

Rules:
- Applications and frameworks take more from headers than their operators know: a path, a host, a
  scheme, a method, an address, a person. Under a prefix that is used for such things a name passes
  only if it is known to be harmless (``HARMLESS``) or the operator named it
  (``ingress.client_headers``). Whatever nobody thought of is removed.
- ``NEVER`` names what is known to be harmful, by what it does. An operator cannot let these
  through. Where a proxy can remove exact names only, this list is what it removes.
- Names compare in lower case, and ``_``, ``.`` and every other character that is not a letter, a
  digit or a dash is judged by the proxy: such a name is removed whatever the rest of it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.client_header_names import NEVER, PREFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable

IDENTITY: Final = (*NEVER["identity"], *NEVER["client certificate"])
"""Names by which applications and proxies take somebody's identity."""
OVERRIDES: Final = tuple(
    name
    for kind, names in NEVER.items()
    if kind not in {"identity", "client certificate"}
    for name in names
)
"""Names by which a request is taken for another one: path, host, scheme, address, method, route."""
_NEVER: Final = frozenset(name.lower() for names in NEVER.values() for name in names)


MAX_PATTERN_CHARS: Final = 1000
"""Envoy Gateway's custom resource takes 1,024 characters of a pattern, a line of HAProxy's
configuration 2,048.
"""


def is_never_passed(name: str) -> bool:
    """Whether ``name`` is known to be harmful, so that no operator can let it through."""
    return name.lower() in _NEVER


def is_suspicious(name: str) -> bool:
    """Whether ``name`` passes only if it is listed."""
    lowered = name.lower()
    return any(lowered.startswith(f"{prefix}-") for prefix in PREFIXES)


def removal_patterns(passed: Iterable[str]) -> tuple[str, ...]:
    """Regular expressions, to be matched against the whole of a name in lower case: everything
    below ``PREFIXES`` but ``passed``.

    Without lookahead, so that RE2 (Envoy, Traefik) takes them, and without two ways to match
    anything, so that engines that backtrack are linear too: the names are spelled out as a tree,
    and what leaves the tree is removed. Each has at most ``MAX_PATTERN_CHARS`` characters.
    """
    passed_names = sorted({name.lower() for name in passed})
    whole_prefixes = [
        prefix
        for prefix in PREFIXES
        if not any(name.startswith(f"{prefix}-") for name in passed_names)
    ]
    parts = [f"(?:{'|'.join(whole_prefixes)})-.*"] if whole_prefixes else []
    for prefix in PREFIXES:
        if prefix not in whole_prefixes:
            parts += _split(
                f"{prefix}-",
                [
                    name.removeprefix(f"{prefix}-")
                    for name in passed_names
                    if name.startswith(f"{prefix}-")
                ],
            )
    return packed(parts)


def packed(expressions: Iterable[str]) -> tuple[str, ...]:
    """The same alternatives in few expressions of at most ``MAX_PATTERN_CHARS`` characters."""
    lines: list[str] = []
    for expression in expressions:
        if lines and len(lines[-1]) + len(expression) < MAX_PATTERN_CHARS:
            lines[-1] += f"|{expression}"
        else:
            lines.append(expression)
    return tuple(lines)


def _split(path: str, words: list[str]) -> list[str]:
    """Expressions of every string that begins with ``path`` and does not go on as one of ``words``;
    more than one where one is too long.
    """
    whole = f"{path}(?:{_other_than(words)})"
    if len(whole) < MAX_PATTERN_CHARS:
        return [whole]
    heads = sorted({word[0] for word in words if word})
    ends = "" if "" in words else "|"
    branches = (
        _split(f"{path}{head}", [word[1:] for word in words if word.startswith(head)])
        for head in heads
    )
    return [f"{path}(?:{_not_in(heads)}.*{ends})", *(part for parts in branches for part in parts)]


def _other_than(words: list[str]) -> str:
    """Regular expression of every string that is none of ``words``."""
    heads = sorted({word[0] for word in words if word})
    if not heads:
        return ".+"
    branches = [
        f"{head}(?:{_other_than([word[1:] for word in words if word.startswith(head)])})"
        for head in heads
    ]
    return "|".join([f"{_not_in(heads)}.*", *branches, *([] if "" in words else [""])])


def _not_in(heads: list[str]) -> str:
    return f"[^{''.join(head for head in heads if head != '-')}{'-' if '-' in heads else ''}]"
