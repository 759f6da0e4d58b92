"""``/keys``: the bearer keys of this API.

Rules:
- Nobody makes or ends a key that may do more than they may themselves.
- A key makes none that outlives it: what is stolen for a day is not kept for ever. One that is made
  through a one-time link of the console has an end too.
- A name is one key's of its tenant, and of none: a tenant learns nothing of another's names.
- The key is in the one answer that made it. SQL has its digest, also where a request is sent again:
  creating takes no Idempotency-Key, and a name that is taken says that it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from gateway.admin.keys import LINK_KEY_S, NAME, Scope
from gateway.admin.listing import list_page
from gateway.admin.problem import Code, Problem
from gateway.admin.route import (
    EACH_ONCE,
    PARAMETERS,
    Answer,
    AnswerModel,
    ApiModel,
    Call,
    PageQuery,
    Route,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.admin.keys import AdminKey
    from gateway.admin.keys_store import AdminKeys
    from gateway.admin.routes.revocations import IsTenant

TenantName = Annotated[str, Field(pattern=f"^{PARAMETERS['tenant']}$")]
MINUTE_S = 60
TEN_YEARS_S = 3650 * 86_400


class KeyListQuery(PageQuery):
    tenant: TenantName | None = None


class NewKeyBody(ApiModel):
    """``tenant`` binds the key to one tenant; without, it is for all. ``expires_in``: seconds;
    without, it lives until it is revoked. ``name``: of one key of the tenant, or of none, for ever;
    space around it is dropped.
    """

    name: Annotated[str, StringConstraints(strip_whitespace=True, pattern=NAME)]
    scopes: Annotated[frozenset[Scope], Field(min_length=1), EACH_ONCE]
    tenant: TenantName | None = None
    expires_in: Annotated[int, Field(ge=MINUTE_S, le=TEN_YEARS_S)] | None = None


class KeyAnswer(AnswerModel):
    """A key without its secret. Times are UTC epoch seconds. ``made_by``: as in audit records; null
    of keys from before it was recorded.
    """

    id: str
    name: str
    scopes: list[Scope]
    tenant: str | None
    state: Literal["valid", "expired", "revoked"]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    made_by: str | None


class KeyList(AnswerModel):
    items: list[KeyAnswer]
    next: str | None


class NewKeyAnswer(AnswerModel):
    """``presented`` is what a client sends; it is shown this once."""

    presented: str
    key: KeyAnswer


@dataclass(frozen=True, slots=True)
class KeyRoutes:
    """``clock``: UTC epoch seconds."""

    keys: AdminKeys
    is_tenant: IsTenant
    clock: Callable[[], float]

    async def list(self, call: Call) -> Answer:
        query = call.query(KeyListQuery)
        return await list_page(
            "list_admin_keys",
            query,
            partial(self.keys.page, tenant=query.tenant),
            row=self._row,
            model=KeyList,
        )

    async def create(self, call: Call) -> Answer:
        body = call.body(NewKeyBody)
        call.note.target = body.name
        _expect_scopes(call.key, body.scopes)
        expect_end(call.key, body.expires_in, now=self.clock())
        if body.tenant is not None and not await self.is_tenant(body.tenant):
            raise Problem(Code.NOT_FOUND, f"there is no tenant {body.tenant}")
        new_key = await self.keys.create(
            name=body.name,
            scopes=body.scopes,
            tenant=body.tenant,
            lifetime_s=body.expires_in,
            made_by=call.actor,
        )
        if new_key is None:
            raise Problem(
                Code.EXISTS,
                f"there is a key named {body.name!r} already; names stay taken so that the audit "
                "log stays readable",
            )
        row = self._row(new_key.key)
        call.note.after = row.model_dump(mode="json")
        return Answer(NewKeyAnswer(presented=new_key.presented.reveal(), key=row), status=201)

    async def revoke(self, call: Call) -> Answer:
        key = await self.keys.find(call.path["admin_key"])
        if key is None or (call.key.tenant is not None and call.key.tenant != key.tenant):
            raise Problem(Code.NOT_FOUND)
        _expect_scopes(call.key, key.scopes)
        call.note.target, call.note.before = key.name, self._row(key).model_dump(mode="json")
        await self.keys.revoke(key.id)
        return Answer(status=204)

    def _row(self, key: AdminKey) -> KeyAnswer:
        if key.revoked_at is not None:
            state: Literal["valid", "expired", "revoked"] = "revoked"
        elif key.expires_at is not None and key.expires_at <= self.clock():
            state = "expired"
        else:
            state = "valid"
        return KeyAnswer(
            id=key.id,
            name=key.name,
            scopes=sorted(key.scopes),
            tenant=key.tenant,
            state=state,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
            made_by=key.made_by,
        )

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "list_admin_keys",
                "GET",
                "/keys",
                "Keys of this API, newest first; revoked and expired ones too",
                self.list,
                {200: KeyList},
                query=KeyListQuery,
            ),
            Route(
                "create_admin_key",
                "POST",
                "/keys",
                "Make a key with scopes of one's own; it is shown once",
                self.create,
                {201: NewKeyAnswer},
                body=NewKeyBody,
                problems=(Code.EXISTS, Code.CONFLICT, Code.NOT_FOUND),
            ),
            Route(
                "revoke_admin_key",
                "DELETE",
                "/keys/{admin_key}",
                "End a key: it opens nothing from the next request on",
                self.revoke,
                {204: None},
            ),
        )


def _expect_scopes(key: AdminKey, scopes: Iterable[Scope]) -> None:
    for scope in sorted(scopes):
        if not key.may(scope):
            raise Problem(
                Code.SCOPE_MISSING,
                f"a key that may do more than you: this needs {scope} too",
                extra={"scope": str(scope)},
            )


def expect_end(maker: AdminKey, expires_in: int | None, *, now: float) -> None:
    """Raises ``Problem`` where a key of this maker's has to end, or to end earlier."""
    if maker.console_link and (expires_in is None or expires_in > LINK_KEY_S):
        raise Problem(
            Code.CONFLICT,
            "a key that is made through a one-time link has an end: say expires_in, at most "
            f"{LINK_KEY_S} seconds, or make it on the gateway's machine: gateway admin-keys create",
        )
    if maker.expires_at is not None and (expires_in is None or now + expires_in > maker.expires_at):
        raise Problem(
            Code.CONFLICT, "a key makes none that lives longer than itself: say expires_in"
        )
