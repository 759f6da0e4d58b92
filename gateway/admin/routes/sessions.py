"""``/sessions``, ``/app-passwords`` and ``/blocks``: who is in, who is kept out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from gateway.admin.listing import list_page
from gateway.admin.problem import Code, Problem
from gateway.admin.route import (
    PARAMETERS,
    Answer,
    AnswerModel,
    ApiModel,
    Call,
    PageQuery,
    Route,
)
from gateway.admin.routes.revocations import RevocationAnswer, WhoBody, describe, expect_tenant
from gateway.config.types import VISIBLE
from gateway.core.paging import Page
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.revocation.api import IMPOSED_BY_OPERATORS, OPERATORS
from gateway.tenants.hook_targets import source_is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.admin.routes.revocations import IsTenant
    from gateway.core.hook_target import HookTarget
    from gateway.revocation.blocks import BlockDirectory, BlockView
    from gateway.sessions.api import AppPasswordView, Revoker, SessionDirectory, SessionView

TenantName = Annotated[str, Field(pattern=f"^{PARAMETERS['tenant']}$", description="tenant id")]
Name = Annotated[str, Field(min_length=1, max_length=320)]


class SessionsQuery(PageQuery):
    """``tenant`` may be left out with a key that is bound to one."""

    tenant: TenantName | None = None
    user: Name | None = None
    email: Name | None = None


class ReasonQuery(ApiModel):
    """``reason``: for the record."""

    reason: Annotated[str, Field(max_length=400), VISIBLE] = "ended over the admin API"


class RemoveBlockQuery(ApiModel):
    """``as_source``: lift only what this block's own source imposed; what others have against the
    same person stands. Not for blocks that an operator imposed.
    """

    as_source: bool = False


class SessionRow(AnswerModel):
    """One family of sessions: never a credential."""

    session: str
    tenant: str
    user: str
    email: str
    provider: str
    hosts: list[str]
    created_at: int
    expires_at: int
    user_agent: str
    client_address: str = Field(description="that the sign-in came from; empty: not known")
    place: str = Field(
        description="of that address, as the headers of `ingress.place_headers` said; or empty"
    )
    last_seen_at: int | None = Field(
        description="an eighth of the idle timeout early at most; null: not known"
    )


class SessionList(AnswerModel):
    items: list[SessionRow]
    next: str | None


class AppPasswordRow(AnswerModel):
    """A person's password for programs: never a credential."""

    app_password: str = Field(description="its id: the 25 characters behind `gwap_`")
    tenant: str
    user: str
    email: str
    provider: str
    name: str = Field(description="as its person called it")
    hosts: list[str] = Field(description="empty: every host of the tenant")
    paths: list[str]
    created_at: int
    expires_at: int
    last_used_at: int | None = Field(description="an hour off at most; null: never")


class AppPasswordList(AnswerModel):
    items: list[AppPasswordRow]
    next: str | None


class BlocksQuery(PageQuery):
    """``remembered``: what providers took away and what keeps nobody out, because the tenant's
    policy does not name the group.
    """

    tenant: TenantName | None = None
    remembered: bool = False


class BlockBody(WhoBody):
    """Keeps a person out until lifted, and ends what they have."""

    tenant: TenantName
    reason: Annotated[str, Field(min_length=1, max_length=400), VISIBLE]


class BlockRow(AnswerModel):
    id: str
    tenant: str
    who: dict[str, str]
    reason: str
    source: str
    since: float
    group: str | None = Field(
        description="of a group that was taken away: its name or id; null for a block"
    )
    in_force: bool = Field(
        description=(
            "false: remembered only, and in force as soon as the tenant's policy names the group"
        )
    )
    exempt: int = Field(
        description=(
            "of a group that was taken from everybody: how many people were added to a group "
            "of its name since, and have it"
        )
    )
    source_gone: bool = Field(
        description="nothing of the tenant can speak as the source any more: only you lift it"
    )


class BlockList(AnswerModel):
    items: list[BlockRow]
    next: str | None


@dataclass(frozen=True, slots=True)
class SessionRoutes:
    """Who is signed in, and the passwords that people made for programs."""

    directory: SessionDirectory
    revoker: Revoker
    is_tenant: IsTenant

    async def list_sessions(self, call: Call) -> Answer:
        query = call.query(SessionsQuery)
        if query.tenant is None:
            raise Problem(Code.INVALID_QUERY, "tenant: needed with a key that is bound to none")
        await expect_tenant(self.is_tenant, query.tenant)
        return await list_page(
            "list_sessions",
            query,
            partial(self.directory.page, tenant=query.tenant, user=query.user, email=query.email),
            row=_session,
            model=SessionList,
        )

    async def get_session(self, call: Call) -> Answer:
        session = await self.directory.find(call.path["session"])
        if session is None or session.app_password is not None:
            raise Problem(Code.NOT_FOUND, f"no live session {call.path['session']}")
        call.own(session.tenant)
        return Answer(_session(session))

    async def end_session(self, call: Call) -> Answer:
        session = await self.directory.find(call.path["session"])
        if session is None or session.app_password is not None:
            raise Problem(Code.NOT_FOUND)
        call.own(session.tenant)
        call.note.before = {
            "session": session.session,
            "tenant": session.tenant,
            "user": session.user,
        }
        return await self.revoked(call, session)

    async def list_app_passwords(self, call: Call) -> Answer:
        query = call.query(SessionsQuery)
        if query.tenant is None:
            raise Problem(Code.INVALID_QUERY, "tenant: needed with a key that is bound to none")
        await expect_tenant(self.is_tenant, query.tenant)

        async def page(
            *, position: str | None, limit: int
        ) -> Page[tuple[SessionView, AppPasswordView]]:
            views = await self.directory.app_passwords(
                tenant=query.tenant or "",
                user=query.user,
                email=query.email,
                position=position,
                limit=limit,
            )
            rows = [(v, v.app_password) for v in views.items if v.app_password is not None]
            return Page(rows, views.position)

        return await list_page(
            "list_app_passwords",
            query,
            page,
            row=lambda row: _app_password(*row),
            model=AppPasswordList,
        )

    async def revoke_app_password(self, call: Call) -> Answer:
        session = await self.directory.find(call.path["app_password"])
        if session is None or session.app_password is None:
            raise Problem(Code.NOT_FOUND)
        call.own(session.tenant)
        call.note.before = {
            "app_password": session.session,
            "name": session.app_password.name,
            "tenant": session.tenant,
            "user": session.user,
        }
        return await self.revoked(call, session)

    async def revoked(self, call: Call, found: SessionView) -> Answer:
        request = RevocationRequest(
            found.tenant,
            Who(session=found.session),
            RevocationKind.END_SESSIONS,
            call.query(ReasonQuery).reason,
            call.source,
        )
        status = await self.revoker.revoke(request)
        call.note.target = status.id
        return Answer(describe(status))

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "list_sessions",
                "GET",
                "/sessions",
                "Live sessions of a tenant",
                self.list_sessions,
                {200: SessionList},
                query=SessionsQuery,
                problems=(Code.NOT_FOUND,),
            ),
            Route(
                "get_session",
                "GET",
                "/sessions/{session}",
                "One live session",
                self.get_session,
                {200: SessionRow},
            ),
            Route(
                "end_session",
                "DELETE",
                "/sessions/{session}",
                "End one session and its family; answers when acknowledged",
                self.end_session,
                {200: RevocationAnswer},
                query=ReasonQuery,
            ),
            Route(
                "list_app_passwords",
                "GET",
                "/app-passwords",
                "App passwords of a tenant's people",
                self.list_app_passwords,
                {200: AppPasswordList},
                query=SessionsQuery,
                problems=(Code.NOT_FOUND,),
            ),
            Route(
                "revoke_app_password",
                "DELETE",
                "/app-passwords/{app_password}",
                "Revoke one app password; answers when acknowledged",
                self.revoke_app_password,
                {200: RevocationAnswer},
                query=ReasonQuery,
            ),
        )


@dataclass(frozen=True, slots=True)
class BlockRoutes:
    """Who is kept out."""

    directory: BlockDirectory
    revoker: Revoker
    is_tenant: IsTenant
    hook_targets: Callable[[str], Sequence[HookTarget]]
    """Of a tenant: what can still lift its blocks."""

    async def list_blocks(self, call: Call) -> Answer:
        query = call.query(BlocksQuery)
        source = self.directory.remembered if query.remembered else self.directory.page
        page = partial(source, tenant=query.tenant)
        return await list_page("list_blocks", query, page, row=self._row, model=BlockList)

    def _row(self, view: BlockView) -> BlockRow:
        targets = self.hook_targets(view.tenant)
        return _block(view, source_gone=source_is_gone(view.source, view.who.provider, targets))

    async def add_block(self, call: Call) -> Answer:
        body = call.body(BlockBody)
        call.note.after = body
        await expect_tenant(self.is_tenant, body.tenant)
        status = await self.revoker.revoke(
            RevocationRequest(
                body.tenant,
                body.who(),
                RevocationKind.BLOCK,
                body.reason,
                call.source,
                by_hand=True,
            )
        )
        return Answer(describe(status), status=201)

    async def remove_block(self, call: Call) -> Answer:
        block = await self.directory.find(call.path["block"])
        if block is None:
            raise Problem(Code.NOT_FOUND)
        call.own(block.tenant)
        call.note.before = {
            "block": block.id,
            "who": _who(block.who),
            "group": block.group,
            "reason": block.reason,
            "source": block.source,
        }
        source = call.source
        if call.key.tenant is not None:
            if block.source in IMPOSED_BY_OPERATORS:
                raise Problem(
                    Code.TENANT_BOUND, "an operator set this block, and only an operator lifts it"
                )
            # Lifted as whoever imposed it: what an operator has against the same person stands.
            source = block.source
        elif call.query(RemoveBlockQuery).as_source:
            if block.source in OPERATORS:
                raise Problem(Code.CONFLICT, "as_source: an operator set this block")
            source = block.source
        kind = RevocationKind.BLOCK if block.group is None else RevocationKind.END_SESSIONS
        block_id = "" if block.in_force else block.id
        request = RevocationRequest(
            block.tenant,
            block.who,
            kind,
            "lifted over the admin API",
            source,
            group_overlay=block.group,
            by_hand=True,
            standing=block_id,
        )
        status = await self.revoker.lift(request)
        return Answer(describe(status))

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "list_blocks",
                "GET",
                "/blocks",
                "Blocks in force, and groups that were taken away",
                self.list_blocks,
                {200: BlockList},
                query=BlocksQuery,
            ),
            Route(
                "add_block",
                "POST",
                "/blocks",
                "Keep somebody out; answers when acknowledged",
                self.add_block,
                {201: RevocationAnswer},
                body=BlockBody,
                creates=True,
                problems=(Code.NOT_FOUND,),
            ),
            Route(
                "remove_block",
                "DELETE",
                "/blocks/{block}",
                "Lift a block, or give a group back",
                self.remove_block,
                {200: RevocationAnswer},
                query=RemoveBlockQuery,
                problems=(Code.TENANT_BOUND, Code.CONFLICT),
            ),
        )


def _session(view: SessionView) -> SessionRow:
    return SessionRow(
        session=view.session,
        tenant=view.tenant,
        user=view.user,
        email=view.email,
        provider=view.provider,
        hosts=list(view.hosts),
        created_at=view.created_at,
        expires_at=view.expires_at,
        user_agent=view.user_agent,
        client_address=view.client,
        place=view.place,
        last_seen_at=view.last_seen_at,
    )


def _app_password(view: SessionView, of: AppPasswordView) -> AppPasswordRow:
    return AppPasswordRow(
        app_password=view.session,
        tenant=view.tenant,
        user=view.user,
        email=view.email,
        provider=view.provider,
        name=of.name,
        hosts=list(of.hosts),
        paths=list(of.paths),
        created_at=view.created_at,
        expires_at=view.expires_at,
        last_used_at=of.last_used_at,
    )


def _block(view: BlockView, *, source_gone: bool) -> BlockRow:
    return BlockRow(
        id=view.id,
        tenant=view.tenant,
        who=_who(view.who),
        reason=view.reason,
        source=view.source,
        since=view.since,
        group=view.group,
        in_force=view.in_force,
        exempt=view.exempt,
        source_gone=source_gone,
    )


def _who(who: Who) -> dict[str, str]:
    return {name: value for name, value in asdict(who).items() if value is not None}
