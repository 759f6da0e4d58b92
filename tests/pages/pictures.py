"""The pictures that the documentation shows, and what the page of each was made of when it was
taken: they are of the pages that the code makes, and no browser is needed to tell.

What a page is made of: its template with what that extends and includes, the macros it uses and
those that they use, the style sheet, and texts that are chosen by a name. Values are not part of
it: a name in the demo's data may differ.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import nodes

from gateway.console import draw as console
from gateway.console.texts import SECTIONS
from gateway.pages.render import HERE, STYLE_BASE, environment_of
from gateway.portal import draw as portal
from gateway.portal.guides import GUIDES
from gateway.portal.texts import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jinja2 import Environment

ROOT: Final = Path(__file__).parents[2]
IMAGES: Final = ROOT / "docs" / "images"
RECORD: Final = ROOT / "tests" / "data" / "pictures.json"
_ROOMS: Final = {"console": console.HERE / "templates", "portal": portal.HERE / "templates"}
_STYLES: Final[Mapping[str, tuple[Path, ...]]] = {
    "": (STYLE_BASE, HERE / "static" / "pages.css"),
    "console": (STYLE_BASE, console.HERE / "static" / "console.css"),
    "portal": (STYLE_BASE, portal.HERE / "static" / "portal.css"),
}
"""By room; "": of the pages that everybody sees."""
_TEXTS: Final[Mapping[str, object]] = {
    "console": SECTIONS,
    "portal": TASKS,
    "portal/guide.html": GUIDES,
}
"""By room or template."""
PICTURES: Final[Mapping[str, str]] = {
    "login": "email.html",
    "denied": "denied.html",
    "console-overview": "console/overview.html",
    "console-tenants": "console/tenants.html",
    "console-access": "console/tenant_access.html",
    "console-plan": "console/provision_plan.html",
    "console-preview": "console/tenant_preview.html",
    "console-rules": "console/tenant_rules.html",
    "console-record": "console/audit_record.html",
    "console-revocation": "console/revocation.html",
    "setup-okta-landing": "portal/landing.html",
    "setup-okta-tasks": "portal/tasks.html",
    "setup-okta-guide": "portal/guide.html",
    "setup-entra-guide": "portal/guide.html",
    "setup-saml-guide": "portal/guide.html",
    "setup-okta-values": "portal/values.html",
    "setup-entra-values": "portal/values.html",
    "setup-saml-values": "portal/values.html",
    "setup-okta-test": "portal/test.html",
    "setup-okta-access": "portal/access.html",
    "setup-okta-domains": "portal/domains.html",
    "setup-okta-live": "portal/review.html",
    "setup-okta-offboarding": "portal/offboarding.html",
    "setup-okta-renew-values": "portal/renew.html",
    "setup-saml-renew-values": "portal/renew.html",
    "setup-saml-renew-review": "portal/renew_review.html",
    "setup-okta-renew-replaced": "portal/renew_review.html",
}
"""Of ``docs/images``: file → template of its page."""


@dataclass(slots=True)
class Parts:
    """Of templates: those that are drawn, and of libraries the macros that are used."""

    environment: Environment
    _seen: dict[tuple[str, str], str] = field(default_factory=dict)
    _trees: dict[str, nodes.Template] = field(default_factory=dict)

    def of(self, template: str) -> list[str]:
        self._whole(template)
        return [text for _, text in sorted(self._seen.items())]

    def _tree(self, template: str) -> nodes.Template:
        if template not in self._trees:
            loader = self.environment.loader
            assert loader is not None
            source = loader.get_source(self.environment, template)[0]
            self._trees[template] = self.environment.parse(source)
        return self._trees[template]

    def _whole(self, template: str) -> None:
        if (template, "") in self._seen:
            return
        tree = self._tree(template)
        self._seen[template, ""] = repr(tree)
        others: list[nodes.Extends | nodes.Include] = [*tree.find_all(nodes.Extends)]
        others += tree.find_all(nodes.Include)
        for other in others:
            self._whole(_constant(other.template))
        for library, name, _ in _imports(tree):
            self._macro(library, name)

    def _macro(self, library: str, name: str) -> None:
        if (library, name) in self._seen:
            return
        tree = self._tree(library)
        macros = {one.name: one for one in tree.find_all(nodes.Macro)}
        macro = macros[name]
        self._seen[library, name] = repr(macro)
        used = {one.name for one in macro.find_all(nodes.Name)}
        for other in used & macros.keys():
            self._macro(library, other)
        for where, theirs, ours in _imports(tree):
            if ours in used:
                self._macro(where, theirs)


def _imports(tree: nodes.Template) -> Iterator[tuple[str, str, str]]:
    """Library, name there, name here."""
    for one in tree.find_all(nodes.FromImport):
        for name in one.names:
            theirs, ours = (name, name) if isinstance(name, str) else name
            yield _constant(one.template), theirs, ours


def _constant(node: Any) -> str:
    assert isinstance(node, nodes.Const), "a template is named by a constant"
    return str(node.value)


@functools.cache
def _environment() -> Environment:
    return environment_of("en", _ROOMS)


def made_of(template: str) -> str:
    """A digest."""
    room = template.rpartition("/")[0]
    parts = Parts(_environment()).of(template)
    parts += [path.read_text("utf-8") for path in _STYLES[room]]
    parts += [repr(_TEXTS[name]) for name in (room, template) if name in _TEXTS]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def content_of(name: str) -> str:
    """A digest of the file."""
    return hashlib.sha256((IMAGES / f"{name}.png").read_bytes()).hexdigest()[:32]


def recorded() -> dict[str, dict[str, str]]:
    """By picture: ``page`` and ``file``."""
    record: dict[str, dict[str, str]] = json.loads(RECORD.read_text("utf-8"))
    return record


def record(names: Iterable[str]) -> None:
    """These have just been taken."""
    known = recorded() if RECORD.exists() else {}
    for name in names:
        known[name] = {"page": made_of(PICTURES[name]), "file": content_of(name)}
    kept = {name: known[name] for name in sorted(known) if name in PICTURES}
    RECORD.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
