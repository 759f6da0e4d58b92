"""``/tenants/{tenant}/pool-users``: the pool's own users who are the tenant's.

A key that is bound to a tenant learns of nobody who is another tenant's too: such a user is not
found. A temporary password is in one answer, and nowhere else.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.admin.parsing import read_cursor, write_cursor
from gateway.admin.problem import Code, Problem
from gateway.admin.route import Answer, Call, Route
from gateway.admin.routes.pool_user_models import (
    DisableBody,
    GroupsBody,
    InvitationBody,
    PoolSettingsAnswer,
    PoolUserBody,
    PoolUserChange,
    PoolUserList,
    PoolUserRow,
    PoolUsersQuery,
    change,
    row,
    settings_answer,
)
from gateway.cognito.api import CognitoRejectedError
from gateway.provisioning.members import Caller, NewMember
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeVar

    from pydantic import BaseModel

    from gateway.provisioning.member_changes import MemberChanges, Members

    T = TypeVar("T")

MAX_TOKEN: Final = 4000
"""Characters of Cognito's page token: a longer one would not come back in an address."""
PLACES: Final = 6
PLACES_OF_A_TENANT: Final = 2
"""Requests at once: each makes several of the few calls a second that Cognito grants to all."""
QUOTAS: Final = frozenset({"LimitExceededException"})


class Places:
    """How many requests are under way, for whom."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextlib.contextmanager
    def taken(self, tenant: str) -> Iterator[None]:
        """Raises ``Problem`` (429) where there is none."""
        if self._open[tenant] >= PLACES_OF_A_TENANT or self._open.total() >= PLACES:
            raise Problem(
                Code.RATE_LIMITED,
                "requests about users of the pool wait for Cognito: at most "
                f"{PLACES_OF_A_TENANT} of a tenant at once",
                headers={"Retry-After": "1"},
            )
        self._open[tenant] += 1
        try:
            yield
        finally:
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]


@dataclass(frozen=True, slots=True)
class PoolUserRoutes:
    """Each handler is one method of ``Members``."""

    members: Members
    places: Places = field(default_factory=Places)

    @contextlib.contextmanager
    def _asking(self, call: Call) -> Iterator[tuple[MemberChanges, str, str, Caller]]:
        """Who works on them, tenant, user and caller, with a place; what Cognito refuses is said in
        its words.
        """
        tenant = call.path["tenant"]
        sub = call.path.get("pool_user", "")
        call.note.target = f"{tenant}/{sub}" if sub else tenant
        caller = Caller(call.source, sees_all=call.key.tenant is None)
        with self.places.taken(tenant):
            try:
                yield self.members.of(tenant), tenant, sub, caller
            except CognitoRejectedError as refused:
                code = Code.QUOTA_REACHED if refused.code in QUOTAS else Code.COGNITO_REFUSED
                raise Problem(
                    code, str(refused), extra={"cognito_error": refused.code}
                ) from refused

    async def list_pool_users(self, call: Call) -> Answer:
        query = call.query(PoolUsersQuery)
        token = read_cursor("list_pool_users", query.cursor)
        with self._asking(call) as (members, tenant, _, by):
            try:
                page = _found(
                    await members.directory.page(
                        tenant, email=query.email, token=token, limit=query.limit, by=by
                    )
                )
            except CognitoRejectedError as refused:
                if token is not None and refused.code == "InvalidParameterException":
                    raise Problem(Code.INVALID_CURSOR) from refused
                raise
        if page.token is not None and len(page.token) > MAX_TOKEN:
            raise Problem(Code.UPSTREAM_FAILED, "Cognito's page token is too long to be handed on")
        following = write_cursor("list_pool_users", page.token)
        return Answer(PoolUserList(items=[row(m) for m in page.members], next=following))

    async def get_pool_settings(self, call: Call) -> Answer:
        with self._asking(call) as (members, tenant, _, _by):
            return Answer(settings_answer(_found(await members.directory.settings(tenant))))

    async def get_pool_user(self, call: Call) -> Answer:
        with self._asking(call) as (members, tenant, sub, by):
            return Answer(row(_found(await members.directory.find(tenant, sub, by=by))))

    async def create_pool_user(self, call: Call) -> Answer:
        body = call.body(PoolUserBody)
        if body.adopt and call.key.tenant is not None:
            raise Problem(Code.TENANT_BOUND, "adopt")
        new = NewMember(
            body.email,
            body.name,
            body.username,
            tuple(dict.fromkeys(body.groups)),
            by_mail=body.invitation == "email",
            adopt=body.adopt,
        )
        with self._asking(call) as (members, tenant, _, by):
            call.note.after = body
            result = _found(await members.invitations.create(tenant, new, by=by))
        sub = "" if result.member is None else result.member.user.sub
        call.note.target = f"{tenant}/{sub}"
        return Answer(
            change(result),
            status=201,
            headers={"Location": f"/admin/v1/tenants/{tenant}/pool-users/{sub}"},
        )

    async def invite_pool_user(self, call: Call) -> Answer:
        body = call.body(InvitationBody)
        with self._asking(call) as (members, tenant, sub, by):
            call.note.after = body
            by_mail = body.invitation == "email"
            return Answer(
                change(
                    _found(await members.invitations.invite(tenant, sub, by_mail=by_mail, by=by))
                )
            )

    async def disable_pool_user(self, call: Call) -> Answer:
        body = call.body(DisableBody)
        with self._asking(call) as (members, tenant, sub, by):
            call.note.after = body
            return Answer(
                change(_found(await members.disable(tenant, sub, reason=body.reason, by=by)))
            )

    async def enable_pool_user(self, call: Call) -> Answer:
        with self._asking(call) as (members, tenant, sub, by):
            return Answer(change(_found(await members.enable(tenant, sub, by=by))))

    async def reset_pool_user(self, call: Call) -> Answer:
        with self._asking(call) as (members, tenant, sub, by):
            return Answer(change(_found(await members.reset(tenant, sub, by=by))))

    async def put_pool_user_groups(self, call: Call) -> Answer:
        names = tuple(dict.fromkeys(call.body(GroupsBody).groups))
        with self._asking(call) as (members, tenant, sub, by):
            before = _found(await members.directory.find(tenant, sub, by=by))
            call.note.before = {"groups": list(before.groups)}
            call.note.after = {"groups": list(names)}
            return Answer(change(_found(await members.set_groups(tenant, sub, names, by=by))))

    async def remove_pool_user(self, call: Call) -> Answer:
        with self._asking(call) as (members, tenant, sub, by):
            return Answer(change(_found(await members.remove(tenant, sub, by=by))))

    async def delete_pool_user(self, call: Call) -> Answer:
        with self._asking(call) as (members, tenant, sub, by):
            return Answer(change(_found(await members.delete(tenant, sub, by=by))))

    def routes(self) -> tuple[Route, ...]:
        base = "/tenants/{tenant}/pool-users"
        one = f"{base}/{{pool_user}}"
        reads = (Code.NOT_FOUND, Code.CONFLICT, Code.COGNITO_REFUSED)
        changes = (*reads, Code.QUOTA_REACHED)
        answers: Mapping[int, type[BaseModel]] = {200: PoolUserChange}
        return (
            Route(
                "list_pool_users",
                "GET",
                base,
                "Users of the pool who are the tenant's",
                self.list_pool_users,
                {200: PoolUserList},
                query=PoolUsersQuery,
                problems=reads,
            ),
            Route(
                "create_pool_user",
                "POST",
                base,
                "Invite a new user, or adopt one of the pool",
                self.create_pool_user,
                {201: PoolUserChange},
                body=PoolUserBody,
                creates=True,
                problems=(*changes, Code.EXISTS, Code.TENANT_BOUND),
            ),
            Route(
                "get_pool_settings",
                "GET",
                "/tenants/{tenant}/pool-user-settings",
                "What the pool asks of all its users",
                self.get_pool_settings,
                {200: PoolSettingsAnswer},
                problems=reads,
            ),
            Route(
                "get_pool_user",
                "GET",
                one,
                "One of them, by `user`",
                self.get_pool_user,
                {200: PoolUserRow},
                problems=reads,
            ),
            Route(
                "delete_pool_user",
                "DELETE",
                one,
                "Delete a user from the pool; their sessions end",
                self.delete_pool_user,
                answers,
                problems=changes,
            ),
            Route(
                "invite_pool_user",
                "POST",
                f"{one}/invite",
                "Another temporary password for who has not chosen one yet",
                self.invite_pool_user,
                answers,
                body=InvitationBody,
                creates=True,
                problems=changes,
            ),
            Route(
                "disable_pool_user",
                "POST",
                f"{one}/disable",
                "Block a user and disable them in the pool",
                self.disable_pool_user,
                answers,
                body=DisableBody,
                problems=changes,
            ),
            Route(
                "enable_pool_user",
                "POST",
                f"{one}/enable",
                "Lift that block and enable them in the pool",
                self.enable_pool_user,
                answers,
                problems=changes,
            ),
            Route(
                "reset_pool_user",
                "POST",
                f"{one}/reset",
                "End a user's password and sessions; Cognito sends a code",
                self.reset_pool_user,
                answers,
                problems=changes,
            ),
            Route(
                "put_pool_user_groups",
                "PUT",
                f"{one}/groups",
                "A user's groups; sessions end where one is taken away",
                self.put_pool_user_groups,
                answers,
                body=GroupsBody,
                problems=changes,
            ),
            Route(
                "remove_pool_user",
                "POST",
                f"{one}/remove",
                "Take a user out of the tenant; they stay in the pool",
                self.remove_pool_user,
                answers,
                problems=changes,
            ),
        )


def _found(outcome: T | Rejected) -> T:
    if isinstance(outcome, Rejected):
        raise Problem(Code(outcome.code), outcome.message)
    return outcome
