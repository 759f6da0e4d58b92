"""What the routes of ``/tenants/{tenant}/pool-users`` take and answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.admin.route import PAGE_LIMIT, AnswerModel, ApiModel, PageQuery
from gateway.admin.routes.revocations import RevocationAnswer, describe
from gateway.config.types import VISIBLE
from gateway.provisioning.invitations import MAX_GROUPS

if TYPE_CHECKING:
    from gateway.cognito.pool_users import PoolSettings
    from gateway.provisioning.members import Changed, Member

GroupName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^\S+$"), VISIBLE]


class PoolUsersQuery(PageQuery):
    """``email``: whoever has exactly this address. A page may be short, and not the last."""

    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,6000}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = 20
    email: Annotated[str, Field(min_length=1, max_length=320)] | None = None


class PoolUserRow(AnswerModel):
    """Times are UTC epoch seconds."""

    user: str = Field(description="Cognito's `sub`: `X-Auth-Request-User`")
    username: str
    email: str
    email_verified: bool
    name: str
    status: str = Field(
        description=(
            "Cognito's: `FORCE_CHANGE_PASSWORD` of who was invited and has not signed in, "
            "`CONFIRMED`, `RESET_REQUIRED`, and others"
        )
    )
    enabled: bool = Field(description="in the pool")
    blocked: bool = Field(description="by the gateway: they are out, whatever the pool says")
    groups: list[str] = Field(description="of the tenant, as applications receive them")
    shared: bool = Field(
        description="another tenant's user too: only shown to operators, and only taken out"
    )
    created_at: float
    modified_at: float


class PoolUserList(AnswerModel):
    items: list[PoolUserRow]
    next: str | None


class PoolUserChange(AnswerModel):
    """``user`` is null where they are the tenant's no more."""

    user: PoolUserRow | None
    temporary_password: str | None = Field(
        description="shown once, and good for one sign-in; null where Cognito mailed it or none is"
    )
    revocation: RevocationAnswer | None = Field(description="what ended their sessions")


class PoolSettingsAnswer(AnswerModel):
    """What the pool asks of all its users, of whatever tenant."""

    mfa: str = Field(description="`OFF`, `OPTIONAL` or `ON`")
    password_length: int | None
    password_requires: list[str]
    temporary_password_days: int | None
    self_registration: bool
    sign_in_names: list[str] = Field(description="what users sign in with in place of a user name")
    tier: str


class PoolUserBody(ApiModel):
    """``invitation``: `email` has Cognito send a temporary password, `none` shows it here, once.
    ``adopt``: somebody who is in the pool and nobody's user; operators only.
    """

    email: Annotated[str, Field(min_length=3, max_length=320), VISIBLE]
    name: Annotated[str, Field(max_length=256), VISIBLE] = ""
    username: Annotated[str, Field(max_length=128, pattern=r"^\S*$"), VISIBLE] = ""
    groups: Annotated[tuple[GroupName, ...], Field(max_length=MAX_GROUPS)] = ()
    invitation: Literal["email", "none"] = "email"
    adopt: bool = False


class InvitationBody(ApiModel):
    """As of a new user."""

    invitation: Literal["email", "none"] = "email"


class DisableBody(ApiModel):
    """``reason``: for the list of blocks and the application."""

    reason: Annotated[str, Field(max_length=400), VISIBLE] = "disabled as a user of the pool"


class GroupsBody(ApiModel):
    """All of the tenant's groups that they shall have."""

    groups: Annotated[tuple[GroupName, ...], Field(max_length=MAX_GROUPS)]


def row(member: Member) -> PoolUserRow:
    user = member.user
    return PoolUserRow(
        user=user.sub,
        username=user.username,
        email=user.email,
        email_verified=user.email_verified,
        name=user.name,
        status=user.status,
        enabled=user.enabled,
        blocked=member.blocked,
        groups=list(member.groups),
        shared=member.shared,
        created_at=user.created_at,
        modified_at=user.modified_at,
    )


def change(changed: Changed) -> PoolUserChange:
    return PoolUserChange(
        user=None if changed.member is None else row(changed.member),
        temporary_password=None if changed.password is None else changed.password.reveal(),
        revocation=None if changed.status is None else describe(changed.status),
    )


def settings_answer(settings: PoolSettings) -> PoolSettingsAnswer:
    return PoolSettingsAnswer(
        mfa=settings.mfa,
        password_length=settings.password_length,
        password_requires=list(settings.requires),
        temporary_password_days=settings.temporary_days,
        self_registration=settings.sign_up,
        sign_in_names=list(settings.names),
        tier=settings.tier,
    )
