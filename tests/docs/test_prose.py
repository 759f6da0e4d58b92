"""Documentation that a newcomer can search and read: standard terms, American spelling, short
lines and cells, and none of the words that only this project would use.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "adr").glob("*.md"))
GUIDES = sorted(
    {*DOCS.rglob("*.md"), *(ROOT / "deploy").rglob("*.md"), *ROOT.glob("*.md")} - {*DECISIONS}
)
COLUMNS = 120
CELL = 200
"""Characters of a table's cell: two lines of it on the site."""

TERMS = [
    "audit log",
    "authentication",
    "authorization",
    "back-channel logout",
    "backup",
    "brute force",
    "connection pool",
    "CSRF",
    "deprovisioning",
    "failover",
    "forward auth",
    "getting started",
    "graceful shutdown",
    "health check",
    "high availability",
    "idle timeout",
    "Kubernetes",
    "load balancing",
    "log out",
    "multi-tenant",
    "open redirect",
    "OpenID Connect",
    "rate limit",
    "reconciliation",
    "restore",
    "reverse proxy",
    "revocation",
    "rotate",
    "SCIM",
    "session",
    "single sign-on",
    "SSRF",
    "TLS termination",
    "troubleshooting",
    "uninstall",
    "upgrade",
    "WebSocket",
]
TOPICS = {
    "README.md": ["getting started"],
    "docs/get-started.md": ["getting started", "shell completion"],
    "docs/operator/production.md": [
        "deploy to production",
        "monitoring",
        "high availability",
        "load balancing",
        "upgrade",
        "backup and restore",
        "rotate",
        "uninstall",
        "failure modes",
    ],
    "docs/operator/containers.md": ["health check"],
    "docs/operator/ingress.md": ["reverse proxy", "TLS termination", "fail closed"],
    "docs/operator/rules.md": ["authorization", "WebDAV", "bearer tokens", "rate limit"],
    "docs/operator/hooks.md": [
        "deprovisioning",
        "SCIM",
        "back-channel logout",
        "reconciliation",
    ],
    "docs/operator/provisioning.md": ["provisioning", "rollback", "rotate"],
    "docs/operator/tenants.md": ["idle timeout", "single sign-on"],
    "docs/operator/upgrade.md": ["upgrade"],
    "docs/operator/backup.md": ["back up and restore"],
    "docs/operator/key-rotation.md": ["rotate"],
    "docs/operator/admin-api.md": ["authentication", "authorization", "audit log"],
    "docs/operator/metrics.md": ["metrics", "health check", "logs", "Kubernetes"],
    "docs/operator/troubleshooting.md": ["troubleshooting", "clock skew"],
    "docs/threat-model.md": ["CSRF", "session", "revocation", "rate limit", "open redirect"],
    "docs/sessions.md": ["authentication", "logout and revocation", "failover"],
    "docs/user/signing-in.md": ["sign in", "log out"],
    "docs/user/webhooks.md": ["webhook"],
}
"""Headings of the page that a reader looks for by these words."""

BRITISH = re.compile(
    r"\b(?:\w*(?:organis|recognis|serialis|normalis|customis|authoris|initialis|synchronis|summaris"
    r"|prioritis|minimis|optimis|utilis)(?:e|ed|es|ing|ation|ations)"
    r"|(?:mis)?behaviours?|coloured|colours?|favours?|favourites?|honoured|honours?"
    r"|neighbours?|neighbouring|flavours?|cancelled|cancelling|labelled|labelling|licences?"
    r"|centres?|metres?|catalogues?|defences?|grey|whilst|amongst|towards|judgement"
    r"|acknowledgements?|artefacts?|programmes?|fulfil|enrol|analysed?)\b",
    re.IGNORECASE,
)
COINED = re.compile(
    r"\b(?:one door|gone means gone|(?:may|must|can|could) (?:not )?come in|comes in"
    r"|logouts? by nobody|knocks?|two of everything|take it away again|what no event told"
    r"|from nothing|tak(?:es|ing) (?:something )?away|counts as taking|stands? behind"
    r"|a wrong way|round in circles|judged|fail-over|hands? on"
    r"|the person before|mended|what stands|let in|lets in|strangers?)\b",
    re.IGNORECASE,
)
WORDS_OF_THE_CODE = {
    "docs/operator/admin-api.md": "titles of errors",
    "docs/operator/ingress.md": "titles of findings",
    "docs/operator/reasons.md": "titles of pages",
    "docs/operator/troubleshooting.md": "the diagnoses",
    "docs/user/signing-in.md": "titles of pages",
}
"""Pages with tables that other tests hold to texts of the gateway: those change there."""
LONG_CELLS = {
    "docs/operator/logs.md": "the fields of an event, written by scripts/reference",
    "docs/operator/troubleshooting.md": "a row for each error, held to the log's own words",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> list[tuple[int, str]]:
    """Numbered lines outside of code blocks, tables and code spans."""
    lines, fence = [], False
    for number, line in enumerate(text(path).splitlines(), 1):
        if line.lstrip().startswith("```"):
            fence = not fence
        elif not fence:
            lines.append((number, re.sub(r"`[^`]*`|\]\([^)]*\)", "`…`", line)))
    return lines


def is_row(line: str) -> bool:
    return line.lstrip().startswith("|")


every_page = pytest.mark.parametrize("path", [*GUIDES, *DECISIONS], ids=name)
every_guide = pytest.mark.parametrize("path", GUIDES, ids=name)


@every_page
def test_lines_are_short(path: Path) -> None:
    """But for what cannot be broken: a table's row, a block of code, an address, a test's name."""
    lines, fence = [], False
    for number, line in enumerate(text(path).splitlines(), 1):
        if line.lstrip().startswith("```"):
            fence = not fence
        alone = re.fullmatch(r"\s*(?:[-*] )?\S+", line)
        if len(line) > COLUMNS and not fence and not is_row(line) and not alone:
            lines.append((number, len(line)))
    assert lines == []


@every_guide
def test_cells_of_tables_are_short(path: Path) -> None:
    if name(path) in LONG_CELLS:
        pytest.skip(LONG_CELLS[name(path)])
    assert [
        (number, cell.strip())
        for number, line in enumerate(text(path).splitlines(), 1)
        if is_row(line)
        for cell in re.split(r"(?<!\\)\|", line)
        if len(re.sub(r"\]\([^)]*\)", "]", cell).strip()) > CELL
    ] == []


@every_page
def test_code_within_a_list_stands_by_fours_between_empty_lines(path: Path) -> None:
    """The site's Markdown ends a list at a block that is indented less, or goes on with it."""
    fences = re.findall(r"(.*)\n( +)```.*\n(?:.*\n)*?\2```\n(.*)", text(path))
    assert [f for f in fences if f[0].strip() or len(f[1]) % 4 or f[2].strip()] == []


@pytest.mark.parametrize("term", TERMS)
def test_a_standard_term_is_found(term: str) -> None:
    pattern = re.compile(r"[\s-]+".join(map(re.escape, re.split(r"[\s-]", term))), re.IGNORECASE)
    assert [name(p) for p in GUIDES if p.name != "CHANGELOG.md" and pattern.search(text(p))]


@pytest.mark.parametrize("page", TOPICS)
def test_a_topic_stands_in_a_heading(page: str) -> None:
    headings = "\n".join(
        line for _, line in prose(ROOT / page) if re.match(r"#+ ", line)
    ).casefold()
    assert [topic for topic in TOPICS[page] if topic.casefold() not in headings] == []


@every_page
def test_the_spelling_is_american(path: Path) -> None:
    assert [(n, found[0]) for n, line in prose(path) for found in BRITISH.finditer(line)] == []


@every_guide
def test_no_words_are_of_this_projects_own_making(path: Path) -> None:
    """Where the gateway's own texts stand in tables, the prose around them."""
    assert [
        (number, found[0])
        for number, line in prose(path)
        if not (is_row(line) and name(path) in WORDS_OF_THE_CODE)
        for found in COINED.finditer(line)
    ] == []
