"""What a tenant's application is sent, as OpenAPI describes it: the contract that
``hooks.webhooks`` and the registry write to.
"""

from __future__ import annotations

import copy
from typing import Any, Final, Literal

from pydantic import Field

from gateway.admin.route import AnswerModel
from gateway.core.hook_target import OPT_IN

VERSION: Final = 1
"""Of every message. A member that is added is no new version: receivers ignore what they do not
know.
"""
PROFILED: Final = frozenset({"user.created", "user.updated", "user.signed_in"})
"""Messages of a login or a SCIM record, with ``profile``."""
CONNECTIONS: Final = frozenset(
    {"connection.activated", "connection.failing", "connection.expiring"}
)
"""Messages of no person, with ``connection``."""
DOMAINS: Final = frozenset({"domain.proven", "domain.lost"})
"""Messages of no person, with ``domain``."""
EVENTS: Final = {
    "user.created": "A person signed in for the first time, or has a new SCIM record",
    "user.updated": (
        "A login, or a SCIM client, says something else of a person than was known before"
    ),
    "user.signed_in": "A person signed in; sent only where the tenant's webhook names it",
    "user.deprovisioned": "A person no longer has access",
    "user.restored": "A person has access again",
    "user.group_removed": "A person lost a group; access as a whole did not change",
    "user.group_added": (
        "A person has a group again, or has it although it was taken from everybody"
    ),
    "group.deleted": "A group was deleted at the provider, whether a policy names it or not",
    "group.removed": "A whole group was deleted, renamed or blocked",
    "group.restored": "A whole group has its name back, or its block was lifted",
    "tenant.blocked": "An operator blocked everybody",
    "tenant.unblocked": "An operator lifted that block",
    "tenant.deleted": "The tenant was deleted, and everybody's sessions with it",
    "domain.proven": "A DNS record proved an e-mail domain of the tenant",
    "domain.lost": "The DNS record of a proven domain has been gone for ten days",
    "connection.activated": "An identity provider answers for the first time, or again",
    "connection.failing": "An identity provider's metadata or discovery document cannot be used",
    "connection.expiring": "A secret or certificate of a connection ends soon, or has ended",
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


class WebhookProfile(AnswerModel):
    """What the login said. ``changed``: members of the API's row that differ from before. Of a SCIM
    record: its name and login (``username``), and the attributes that differ.
    """

    name: str
    preferred_username: str
    username: str
    groups: list[str]
    roles: list[str]
    changed: list[str]


class WebhookConnection(AnswerModel):
    """``detail``: what is wrong, in a sentence. Of ``expiring``: what ends, when (UTC epoch
    seconds), and how many days before this tells of it.
    """

    state: Literal["active", "failing", "expiring"]
    detail: str
    credential: Literal["", "client_secret", "directory_secret", "hook_secret", "saml_certificate"]
    expires_at: float | None
    days: Literal[30, 7, 1, 0] | None


class WebhookDomain(AnswerModel):
    name: str = Field(description="in its ASCII form")


class WebhookData(AnswerModel):
    tenant: str
    provider: str
    cause: Literal["account", "group", "operator", "tenant", "sign_in", "connection", "domain"]
    source: str
    source_event: str
    event_time: float | None
    subject: WebhookSubject
    users: list[WebhookUser]
    identifiers: WebhookIdentifiers
    group: WebhookGroup | None
    revocation: str
    profile: WebhookProfile | None = Field(
        default=None, description="of a login or a SCIM record only"
    )
    connection: WebhookConnection | None = Field(default=None, description="of a connection only")
    domain: WebhookDomain | None = Field(default=None, description="of an e-mail domain only")


class WebhookMessage(AnswerModel):
    """Signed as Standard Webhooks says."""

    type: str = Field(json_schema_extra={"enum": [*sorted(EVENTS)]})
    timestamp: str
    data: WebhookData


class WebhookEventRow(AnswerModel):
    """One type of message. ``message``: JSON Schema (2020-12) of the body, or of ``type``,
    ``timestamp`` (``time``) and ``data`` of a CloudEvents envelope.
    """

    type: str
    version: int
    summary: str
    opt_in: bool = Field(description="sent only where the tenant's `webhook.events` names it")
    message: dict[str, Any]


class WebhookCatalog(AnswerModel):
    items: list[WebhookEventRow]


def catalog() -> WebhookCatalog:
    """Every type of message, with the schema of exactly that one."""
    whole = WebhookMessage.model_json_schema(mode="serialization")
    return WebhookCatalog(
        items=[
            WebhookEventRow(
                type=event,
                version=VERSION,
                summary=summary,
                opt_in=event in OPT_IN,
                message=_schema_of(event, whole),
            )
            for event, summary in sorted(EVENTS.items())
        ]
    )


def _schema_of(event: str, whole: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:gateway:webhook:{event}:{VERSION}",
        **copy.deepcopy(whole),
    }
    schema["properties"]["type"] = {"const": event}
    data = schema["$defs"]["WebhookData"]
    for events, member, model in (
        (PROFILED, "profile", "WebhookProfile"),
        (CONNECTIONS, "connection", "WebhookConnection"),
        (DOMAINS, "domain", "WebhookDomain"),
    ):
        if event in events:
            data["properties"][member] = {"$ref": f"#/$defs/{model}"}
            data["required"] = [*data["required"], member]
        else:
            del data["properties"][member], schema["$defs"][model]
    for part in (schema, *schema["$defs"].values()):
        # What a later release adds is no mistake of the message.
        part["additionalProperties"] = True
    return schema
