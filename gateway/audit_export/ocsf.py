"""An audit record as an event of OCSF 1.5, class API Activity (6003). Pure.

Source: the Open Cybersecurity Schema Framework, ``events/application/api_activity.json``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.database.audit_entries import AuditEntry

SCHEMA_VERSION: Final = "1.5.0"
CATEGORY, CLASS = 6, 6003
CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
LONGEST_VALUE: Final = 64 * 1024
"""Bytes of ``before`` and of ``after``: an event of EventBridge has 256 KiB in all."""
_VERBS: Final = {
    **dict.fromkeys(("add", "create", "import", "invite", "issue", "made", "new"), CREATE),
    **dict.fromkeys(("export", "exported", "get", "list", "read", "show", "test"), READ),
    **dict.fromkeys(("delete", "end", "forget", "lift", "remove", "revoke"), DELETE),
    **dict.fromkeys(
        (
            "apply",
            "approve",
            "block",
            "change",
            "disable",
            "enable",
            "patch",
            "put",
            "replace",
            "replay",
            "reset",
            "restore",
            "rotate",
            "set",
            "update",
        ),
        UPDATE,
    ),
}
_NAMES: Final = {CREATE: "Create", READ: "Read", UPDATE: "Update", DELETE: "Delete"}
_UNCHANGED: Final = ("dry_run", "read")
"""Outcomes of what changed nothing."""
_SERVICE, _ADMIN, _SYSTEM = 4, 2, 3
_ACTORS: Final = {
    "key": (_SERVICE, "Service"),
    "person": (_ADMIN, "Admin"),
    "local": (_ADMIN, "Admin"),
    "cli": (_ADMIN, "Admin"),
}
"""What an actor's first word says; anything else is the gateway itself, such as a hook."""


def event(entry: AuditEntry, *, version: str) -> dict[str, Any]:
    """``version``: of the gateway. Times are milliseconds since 1970, UTC."""
    activity = READ if entry.outcome in _UNCHANGED else activity_of(entry.action)
    kind, _, name = entry.actor.partition(":")
    type_id, type_name = _ACTORS.get(kind if name else "", (_SYSTEM, "System"))
    status_id, status, detail = _status(entry.outcome)
    moment = round(entry.at * 1000)
    document: dict[str, Any] = {
        "activity_id": activity,
        "activity_name": _NAMES.get(activity, entry.action),
        "actor": {
            "user": {
                "uid": entry.actor,
                "name": name or entry.actor,
                "type_id": type_id,
                "type": type_name,
            }
        },
        "api": {
            "operation": entry.action,
            **({"request": {"uid": entry.request_id}} if entry.request_id else {}),
            "service": {"name": "cognito-gateway"},
        },
        "category_name": "Application Activity",
        "category_uid": CATEGORY,
        "class_name": "API Activity",
        "class_uid": CLASS,
        "metadata": {
            "log_name": "audit",
            "product": {
                "name": "cognito-gateway",
                "vendor_name": "cognito-gateway",
                "version": version,
            },
            "sequence": entry.id,
            "uid": f"{entry.id}-{moment}",
            "version": SCHEMA_VERSION,
        },
        "resources": [
            *([{"type": "tenant", "uid": entry.tenant}] if entry.tenant else []),
            *([{"type": "target", "name": entry.target}] if entry.target else []),
        ],
        "severity": "Informational",
        "severity_id": 1,
        "src_endpoint": {"svc_name": "cognito-gateway"},
        "status": status,
        "status_detail": detail,
        "status_id": status_id,
        "time": moment,
        "type_name": f"API Activity: {_NAMES.get(activity, 'Other')}",
        "type_uid": CLASS * 100 + activity,
        "unmapped": {
            "tenant": entry.tenant,
            "before": _bounded(entry.before),
            "after": _bounded(entry.after),
        },
    }
    return {name: value for name, value in document.items() if value not in ([], "")}


def line(entry: AuditEntry, *, version: str) -> bytes:
    """One line of JSON Lines, with its end."""
    text = json.dumps(event(entry, version=version), separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def activity_of(action: str) -> int:
    """By the first word of the action that says what is done: ``tenant.update``,
    ``revoke_admin_key``.
    """
    for word in action.lower().replace(".", "_").split("_"):
        if word in _VERBS:
            return _VERBS[word]
    return OTHER


def _status(outcome: str) -> tuple[int, str, str]:
    """Number, name and detail. ``begun``: the change was interrupted, and may have happened."""
    if outcome == "done":
        return 1, "Success", ""
    if outcome == "begun":
        return 0, "Unknown", "interrupted"
    if outcome in _UNCHANGED:
        return 1, "Success", outcome
    return 2, "Failure", outcome


def _bounded(value: object) -> object:
    if value is None or len(json.dumps(value)) <= LONGEST_VALUE:
        return value
    return {"truncated": True}
