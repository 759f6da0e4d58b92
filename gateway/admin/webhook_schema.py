"""What a tenant's application is sent, as OpenAPI describes it: the contract that
``hooks.webhooks`` and the registry write to.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.admin.route import AnswerModel

EVENTS = {
    "user.deprovisioned": "A person no longer has access",
    "user.restored": "A person has access again",
    "user.group_removed": "A person lost a group; access as a whole did not change",
    "user.group_added": (
        "A person has a group again, or has it although it was taken from everybody"
    ),
    "group.removed": "A whole group was deleted, renamed or blocked",
    "group.restored": "A whole group has its name back, or its block was lifted",
    "tenant.blocked": "An operator blocked everybody",
    "tenant.unblocked": "An operator lifted that block",
    "tenant.deleted": "The tenant was deleted, and everybody's sessions with it",
}


class WebhookSubject(AnswerModel):
    """Whom the event names, as the provider does; empty texts where it does not say."""

    idp_subject: str
    oid: str
    email: str


class WebhookUser(AnswerModel):
    """An account: ``user`` is what applications receive as ``X-Auth-Request-User`` where that is
    ``sub``.
    """

    user: str
    email: str
    idp_subject: str
    oid: str


class WebhookIdentifiers(AnswerModel):
    """Every name that is known of the person."""

    user: list[str]
    idp_subject: list[str]
    oid: list[str]
    email: list[str]


class WebhookGroup(AnswerModel):
    id: str
    name: str


class WebhookData(AnswerModel):
    tenant: str
    provider: str
    cause: Literal["account", "group", "operator", "tenant"]
    source: str
    source_event: str
    event_time: float | None
    subject: WebhookSubject
    users: list[WebhookUser]
    identifiers: WebhookIdentifiers
    group: WebhookGroup | None
    revocation: str


class WebhookMessage(AnswerModel):
    """Signed as Standard Webhooks says."""

    type: str = Field(json_schema_extra={"enum": [*sorted(EVENTS)]})
    timestamp: str
    data: WebhookData
