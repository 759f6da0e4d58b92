"""A change of a tenant between two pages: what it would do (dry run), and the draft that carries it
to the page that applies it.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.console.fields import get, put
from gateway.console.outcome import Failed, Shown
from gateway.console.visit import failed
from gateway.tenants.document import TenantDocument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.admin.in_process import ApiAnswer
    from gateway.console.visit import Visit

WHOLE = "*"
_PROVIDER = "provider:"
_DRAFT_LENGTH = 5
"""Another release's draft has another one."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A tenant as it is stored. ``origin``: ``sql`` or ``file``."""

    document: dict[str, Any]
    etag: str
    origin: str


@dataclass(frozen=True, slots=True)
class Change:
    """``document`` is to replace the version ``etag``; "" creates. ``parts``: paths that are
    changed, ``provider:NAME`` or ``WHOLE``; ``back``: path of the form, below the prefix.
    ``uses``: the proven domain whose use it is, and nothing else.
    """

    tenant: str
    document: dict[str, Any]
    etag: str
    parts: tuple[str, ...]
    back: str
    uses: str = ""

    def rebased(self, now: Loaded) -> Change:
        """The same parts over what is stored now."""
        document = copy.deepcopy(now.document)
        for part in self.parts:
            if part == WHOLE:
                document = copy.deepcopy(self.document)
            elif part.startswith(_PROVIDER):
                _replace_provider(document, self.document, part.removeprefix(_PROVIDER))
            else:
                put(document, part, get(self.document, part))
        if self.uses:
            domains = (*now.document["email_domains"], self.uses)
            document["email_domains"] = list(dict.fromkeys(domains))
        return Change(self.tenant, document, now.etag, self.parts, self.back, self.uses)


def provider_part(name: str) -> str:
    return _PROVIDER + name


def _replace_provider(document: dict[str, Any], wanted: Mapping[str, Any], name: str) -> None:
    """By its place among the others: it may have another name by now, or be gone."""
    names = {p["name"] for p in document["providers"]}
    mine = [p for p in wanted["providers"] if p["name"] == name or p["name"] not in names]
    others = [p for p in document["providers"] if p["name"] != name]
    at = next((i for i, p in enumerate(document["providers"]) if p["name"] == name), len(others))
    document["providers"] = [*others[:at], *mine, *others[at:]]


async def load(visit: Visit, tenant: str) -> Loaded | Failed:
    answer = await visit.ask("get_tenant", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    document = answer.document
    return Loaded(document["tenant"], str(document["etag"]), str(document["origin"]))


async def store(visit: Visit, change: Change, *, dry_run: bool) -> ApiAnswer:
    if change.uses and not dry_run:
        return await visit.ask(
            "use_domain",
            tenant=change.tenant,
            path={"tenant": change.tenant, "domain": change.uses},
            if_match=change.etag,
        )
    return await visit.ask(
        "put_tenant",
        tenant=change.tenant,
        path={"tenant": change.tenant},
        query={"dry_run": "true"} if dry_run else None,
        body=change.document,
        if_match=change.etag or None,
    )


def about(tenant: str) -> str:
    """What a draft is bound to, beside the person."""
    return f"tenant {tenant}"


def sealed(visit: Visit, change: Change) -> str:
    content = [change.document, change.etag, list(change.parts), change.back, change.uses]
    return visit.drafts.seal(visit.operator.person, about(change.tenant), content)


def opened(visit: Visit, tenant: str) -> Change | None:
    """The draft that the form carries; None for none, an old one, or somebody else's."""
    content = visit.drafts.open(visit.operator.person, about(tenant), visit.form.get("draft", ""))
    if content is None or len(content) != _DRAFT_LENGTH:
        return None
    document, etag, parts, back, uses = content
    return Change(tenant, document, etag, tuple(parts), back, uses)


OLD_DRAFT = Failed(409, "old_draft", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One key of a document that differs. Of two lists, what is ``added`` and ``removed``."""

    key: str
    before: object
    after: object
    added: tuple[object, ...] = ()
    removed: tuple[object, ...] = ()
    of_lists: bool = False


def rows_of(changes: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [_row(str(c["key"]), c["before"], c["after"]) for c in changes]


def _row(key: str, before: Any, after: Any) -> Row:
    if isinstance(before, list) and isinstance(after, list):
        old, new = {_key(v) for v in before}, {_key(v) for v in after}
        added = tuple(v for v in after if _key(v) not in old)
        removed = tuple(v for v in before if _key(v) not in new)
        return Row(key, before, after, added, removed, of_lists=bool(added or removed))
    return Row(key, before, after)


def _whole(document: Mapping[str, Any]) -> dict[str, Any]:
    """With the defaults, where it is a document of this release."""
    try:
        return TenantDocument.model_validate(document).model_dump(mode="json")
    except ValueError:
        return dict(document)


def _key(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Row]:
    """Of two documents as they are shown, key by key; what one leaves out is the default."""
    old, new = dict(_flat(_whole(before), "")), dict(_flat(_whole(after), ""))
    return [
        _row(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _flat(value: Any, key: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [
            pair
            for name, item in value.items()
            for pair in _flat(item, f"{key}.{name}" if key else str(name))
        ]
    is_of_objects = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    if key == "providers" and is_of_objects:
        return [pair for item in value for pair in _flat(item, f"{key}.{item.get('name', '')}")]
    if is_of_objects and value:
        return [pair for i, item in enumerate(value) for pair in _flat(item, f"{key}.{i}")]
    return [(key, value)] if value not in (None, [], {}) else []


def changes_of(before: Any, after: Any) -> list[Row]:
    """Of what an audit record holds: a tenant's document, or any other JSON value."""
    if (version_of(before) or version_of(after)) is not None:
        return differences(version_of(before) or {}, version_of(after) or {})
    old, new = dict(_flat(before, "")), dict(_flat(after, ""))
    return [
        _row(key, old.get(key), new.get(key))
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]


def preview(visit: Visit, change: Change, answer: ApiAnswer) -> Shown:
    """The page that shows what a dry run found."""
    document = answer.document
    return Shown(
        "tenant_preview",
        {
            "id": change.tenant,
            "rows": rows_of(document["changes"] or ()),
            "people": document["people"],
            "warnings": document["warnings"],
            "draft": sealed(visit, change),
            "back": change.back,
            "creates": not change.etag,
        },
    )


async def conflict(visit: Visit, change: Change) -> Shown | Failed:
    """Somebody else was faster: who, what they changed, and the own change over theirs."""
    now = await load(visit, change.tenant)
    if isinstance(now, Failed):
        return now
    latest: Mapping[str, Any] | None = None
    if visit.may("list_audit"):
        entries = await visit.ask(
            "list_audit", tenant=change.tenant, query={"tenant": change.tenant, "limit": "50"}
        )
        items = entries.document["items"] if entries.ok else ()
        latest = next((e for e in items if version_of(e["after"]) is not None), None)
    rows = (
        differences(version_of(latest["before"]) or {}, version_of(latest["after"]) or {})
        if latest is not None
        else []
    )
    return Shown(
        "tenant_conflict",
        {
            "id": change.tenant,
            "latest": latest,
            "rows": rows,
            "draft": sealed(visit, change.rebased(now)),
            "back": change.back,
        },
        status=412,
    )


def version_of(recorded: Any) -> dict[str, Any] | None:
    """The tenant document in what an audit record holds; None where there is none."""
    if not isinstance(recorded, dict):
        return None
    if "providers" in recorded and "id" in recorded:
        return recorded
    inner = recorded.get("tenant")
    return inner if isinstance(inner, dict) and "providers" in inner else None
