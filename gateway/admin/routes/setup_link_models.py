"""What the API takes and answers about setup links."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from gateway.admin.route import EACH_ONCE, PARAMETERS, AnswerModel, ApiModel, PageQuery
from gateway.config.types import VISIBLE
from gateway.setup.model import (
    Approval,
    Confirm,
    LinkState,
    Part,
    Phase,
    SetupProvider,
    Stage,
)
from gateway.tenants.document import (  # noqa: TC001 - pydantic reads annotations
    EmailDomain,
    GroupName,
    HostPattern,
)

HOUR_S = 3600
DAY_S = 24 * HOUR_S
_ADDRESS = re.compile(r"[^\s@<>\"]{1,64}@[^\s@<>\"]{1,189}")


def _recipient(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        msg = "an e-mail address"
        raise ValueError(msg)
    return value.casefold()


Recipient = Annotated[str, Field(max_length=254), VISIBLE, AfterValidator(_recipient)]
Name = Annotated[str, Field(min_length=1, max_length=120), VISIBLE]


class NewTenantBody(ApiModel):
    """Of a tenant that does not exist yet: made when its identity provider is saved. ``groups``:
    who gets in, needed where the link is without ``access``.
    """

    name: Name
    hosts: Annotated[tuple[HostPattern, ...], Field(max_length=500)] = ()
    email_domains: Annotated[tuple[EmailDomain, ...], Field(min_length=1, max_length=500)]
    groups: Annotated[tuple[GroupName, ...], Field(min_length=1, max_length=500)] | None = None


class NewConnectionBody(ApiModel):
    """Of an identity provider that is connected beside those of the tenant. ``email_domains``: that
    it vouches for, and nobody else by it. ``groups``: who gets in with it; left out, the recipient
    chooses (``access``), or the tenant's groups count.
    """

    email_domains: Annotated[tuple[EmailDomain, ...], Field(min_length=1, max_length=500)]
    groups: Annotated[tuple[GroupName, ...], Field(min_length=1, max_length=500)] | None = None


class SetupLinkBody(ApiModel):
    """``expires_in``: seconds, an hour to thirty days. ``providers``: whose guides are offered;
    left out, all. ``approval``: left out, as ``setup.approval`` says. ``note``: for operators.
    ``confirm``: what recipients show beside the address, a code by mail or a phrase; left out, by
    mail where mail is configured. ``send``: mail the address to the recipients.
    """

    parts: Annotated[frozenset[Part], Field(min_length=1), EACH_ONCE]
    recipients: Annotated[tuple[Recipient, ...], Field(min_length=1, max_length=3)]
    providers: Annotated[tuple[SetupProvider, ...], Field(max_length=len(SetupProvider))] = ()
    language: Literal["en", "de", "fr", "es"] = "en"
    expires_in: Annotated[int, Field(ge=HOUR_S, le=30 * DAY_S)] = 7 * DAY_S
    approval: Approval | None = None
    confirm: Confirm | None = None
    send: bool = False
    note: Annotated[str, Field(max_length=500), VISIBLE] = ""
    tenant: NewTenantBody | None = None
    connection: NewConnectionBody | None = None

    @model_validator(mode="after")
    def _coherent(self) -> SetupLinkBody:
        if Part.ACCESS in self.parts and Part.SIGN_IN not in self.parts:
            msg = "access: the groups come from the test sign-in, so it needs sign_in"
            raise ValueError(msg)
        if Part.RENEW in self.parts and Part.SIGN_IN in self.parts:
            msg = "renew: of a connection that people sign in with already, so without sign_in"
            raise ValueError(msg)
        if self.tenant is not None and Part.SIGN_IN not in self.parts:
            msg = "tenant: one that does not exist yet begins with sign_in"
            raise ValueError(msg)
        if self.tenant is not None and (self.tenant.groups is None) != (Part.ACCESS in self.parts):
            msg = "tenant.groups: who gets in, or the part access: one of the two"
            raise ValueError(msg)
        if self.connection is not None:
            self._expect_of_one_connection(self.connection)
        return self

    def _expect_of_one_connection(self, connection: NewConnectionBody) -> None:
        if Part.SIGN_IN not in self.parts or self.tenant is not None:
            msg = "connection: of a tenant that exists, with the part sign_in and without tenant"
            raise ValueError(msg)
        if Part.MAINTAIN in self.parts:
            msg = "maintain: of all connections of the tenant, so without connection"
            raise ValueError(msg)
        if connection.groups is not None and Part.ACCESS in self.parts:
            msg = "connection.groups: who gets in, or the part access: one of the two"
            raise ValueError(msg)


class ReplaceQuery(ApiModel):
    """``send``: mail the new address to the recipients."""

    send: bool = False


class TaskRow(AnswerModel):
    """``done_at``: UTC epoch seconds. ``seconds``: since the link was opened, or the step before
    was done.
    """

    task: Literal[
        "provider", "connection", "test", "access", "submitted", "live", "offboarding", "renewal"
    ]
    done: bool
    done_at: float | None
    seconds: float | None


class NewConnectionAnswer(AnswerModel):
    email_domains: list[str]
    groups: list[str] | None


class SetupLinkAnswer(AnswerModel):
    """One link, without its secrets. Times are UTC epoch seconds. ``tasks``: what going live
    needs, and what comes after it. ``opened_at``: when a recipient first got in.
    """

    id: str
    tenant: str
    state: LinkState
    phase: Phase
    parts: list[Part]
    recipients: list[str]
    providers: list[SetupProvider]
    language: str
    approval: Approval
    confirm: Confirm
    note: str
    created_at: float
    created_by: str
    opened_at: float | None
    expires_at: float
    locked_until: float | None
    claimed_by: str
    provider: str
    tasks: list[TaskRow]
    tested_by: str
    groups: Annotated[list[str], Field(description="who gets in; empty with `everyone`")]
    everyone: bool
    returned: Annotated[str, Field(description="what was asked to be changed")]
    connection: Annotated[
        NewConnectionAnswer | None,
        Field(description="of a provider that is connected beside those of the tenant"),
    ]


class SetupLinksQuery(PageQuery):
    tenant: Annotated[str, Field(pattern=f"^{PARAMETERS['tenant']}$")] | None = None
    stage: Stage | None = None


class SetupLinkList(AnswerModel):
    items: list[SetupLinkAnswer]
    next: str | None


class NewSetupLinkAnswer(AnswerModel):
    """``address`` and ``phrase`` are shown this once: send the one, and say the other. ``phrase``
    is empty where a code is mailed in its place. ``sent``: to whom the address was mailed.
    """

    address: str
    phrase: str
    sent: list[str]
    link: SetupLinkAnswer


class ReturnBody(ApiModel):
    """``note``: what has to be changed; its recipient reads it."""

    note: Annotated[str, Field(min_length=1, max_length=500), VISIBLE]
