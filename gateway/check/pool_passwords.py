"""Name and password of a user of the pool (``basic: cognito``). What was said within the last
minute is answered from memory, or by one command; else Cognito is asked, never by the loop that
answers from memory.

Rules:
- Of one name and password, one question is under way; of one tenant, and of all, a few are. Who
  would have to wait longer is told to come back.
- Whatever Cognito refuses is counted by name, by address and by tenant, in the store, for all
  replicas.
  What is kept already is answered whatever was counted.
- A person is accepted as a login's is: by the claims, for the tenant's provider of the pool's own
  users, and unless something stands against them in the store.
- Whoever signs in with an identity provider has no password here, and Cognito is not asked.
- A person who is taken away while Cognito answers is not kept: the store compares.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.cognito.password_login import PasswordRefused
from gateway.core.hosts import client_key, email_domain
from gateway.core.login import Refusal, accept
from gateway.core.model import ProviderKind
from gateway.core.reason import Reason
from gateway.log import fields
from gateway.metrics import POOL_PASSWORD_LOGINS, tenant_label
from gateway.sessions.api import Miss

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.cognito.password_login import PasswordAccepted
    from gateway.core.authorization import Basic
    from gateway.core.login import Accepted
    from gateway.core.model import AppClient, AuthRequest, PoolPasswordResult, Provider, Tenant
    from gateway.sessions.pool_password_store import PoolPasswordStore
    from gateway.sessions.rate_limit import AttemptCounter
    from gateway.sessions.seal import Token

MAX_NAME_CHARACTERS: Final = 128
MAX_PASSWORD_CHARACTERS: Final = 256
"""Both as Cognito has them."""
PLACES: Final = 16
PLACES_OF_A_TENANT: Final = 4
"""Questions at once, of one process: at 0.3 s each, a dozen a second of one tenant. A pool's quota
(``UserAuthentication``, 120 a second) is every tenant's, and that of logins with a browser.
"""
WAITING: Final = 64
"""Questions of one tenant that may wait for a place; more are told to come back."""
WAITING_OF_ONE: Final = 16
"""Of those, from one address: nobody alone fills the queue."""
PER_NAME, PER_ADDRESS, PER_TENANT = 10, 60, 600
"""Wrong passwords a minute. Cognito itself locks a user out after five in a row."""
_NAME = re.compile(r"[^\s\x00-\x1f\x7f:\ud800-\udfff]+")
_UNSAID: Final = frozenset({Reason.COGNITO_UNAVAILABLE})
"""Cognito has refused nothing."""
_PASSING: Final = frozenset({Reason.COGNITO_UNAVAILABLE, Reason.TOO_MANY_ATTEMPTS})
"""They say nothing of the password: asked again at the next request."""
_log = logging.getLogger(__name__)


class PoolPasswords:
    """Implements ``sessions.api.PoolPasswordAuthenticator``. One per process."""

    def __init__(
        self,
        login: Callable[[AppClient, Basic], Awaitable[PasswordAccepted | PasswordRefused]],
        store: PoolPasswordStore,
        attempts: AttemptCounter,
        *,
        pool_ids: Mapping[str, str],
    ) -> None:
        """``pool_ids``: Cognito's ids of the pools, by name."""
        self._login, self._store, self._attempts, self._pool_ids = login, store, attempts, pool_ids
        self._under_way: dict[str, asyncio.Task[PoolPasswordResult]] = {}
        self._places = asyncio.Semaphore(PLACES)
        self._of_tenant: dict[str, asyncio.Semaphore] = {}
        self._waiting: Counter[tuple[str, str]] = Counter()
        """Of each tenant, and of each tenant and address."""

    def cached(self, tenant: Tenant, request: AuthRequest) -> PoolPasswordResult | Miss:
        basic, provider = request.basic, tenant.pool_provider
        if basic is None:
            return Reason.POOL_PASSWORD_INVALID
        if tenant.password_client is None:
            return Reason.COGNITO_UNAVAILABLE
        refusal = _refused_unasked(tenant, provider, basic)
        return self._store.cached(self._store.token(tenant, basic)) if refusal is None else refusal

    async def authenticate(self, tenant: Tenant, request: AuthRequest) -> PoolPasswordResult:
        answer = self.cached(tenant, request)
        basic, client = request.basic, tenant.password_client
        if not isinstance(answer, Miss) or basic is None or client is None:
            return Reason.POOL_PASSWORD_INVALID if isinstance(answer, Miss) else answer
        token = self._store.token(tenant, basic)
        stored_answer = await self._store.find(token)
        if stored_answer is not None:
            return stored_answer
        task, address = self._under_way.get(token.text), client_key(request.client)
        if task is None:
            theirs = (tenant.id, ""), (tenant.id, address)
            if self._waiting[theirs[0]] >= WAITING or self._waiting[theirs[1]] >= WAITING_OF_ONE:
                cause = "as many questions of the tenant, or from this address, wait as may"
                refusal = PasswordRefused(Reason.COGNITO_UNAVAILABLE, "queue_full", cause)
                return self._told(tenant, refusal, address)
            task = asyncio.get_running_loop().create_task(
                self._ask(tenant, client, basic, token, address), context=Context()
            )
            self._under_way[token.text] = task
            self._waiting.update(theirs)
            task.add_done_callback(partial(self._ended, theirs, token))
        result = await asyncio.shield(task)
        if isinstance(result, Reason):
            return result
        # Turns of the loop lie between the end of the task and here: what ended the person in them
        # counts, so they are looked for in the task that decides.
        return await self._store.find(token) or Reason.SESSION_REVOKED

    def _ended(
        self,
        theirs: tuple[tuple[str, str], ...],
        token: Token,
        task: asyncio.Task[PoolPasswordResult],
    ) -> None:
        del self._under_way[token.text]
        if not task.cancelled():
            task.exception()  # told to whoever still waits
        for each in theirs:
            self._waiting[each] -= 1
            if not self._waiting[each]:
                del self._waiting[each]
        if not self._waiting[theirs[0]]:
            self._of_tenant.pop(theirs[0][0], None)

    async def _ask(
        self, tenant: Tenant, client: AppClient, basic: Basic, token: Token, address: str
    ) -> PoolPasswordResult:
        limits = (
            (f"{tenant.id} {basic.username.casefold()}", PER_NAME, "pool password of"),
            (address, PER_ADDRESS, "pool password from"),
            (tenant.id, PER_TENANT, "pool password at"),
        )
        if (exhausted := await self._exhausted(limits)) is not None:
            return self._told(tenant, exhausted, address)
        places = self._of_tenant.setdefault(tenant.id, asyncio.Semaphore(PLACES_OF_A_TENANT))
        async with places, self._places:
            # Those before it in the queue have been counted by now.
            if (exhausted := await self._exhausted(limits)) is not None:
                return self._told(tenant, exhausted, address)
            checkpoint = await self._store.begin(tenant.id)
            answer = await self._login(client, basic)
            if isinstance(answer, PasswordRefused) and answer.reason not in _UNSAID:
                for who, at_most, kind in limits:
                    await self._attempts.hit(who, at_most=at_most, kind=kind)
        if isinstance(answer, PasswordRefused):
            if answer.reason not in _PASSING:
                await self._store.refuse(token, answer.reason)
            return self._told(tenant, answer, address)
        accepted = self._accepted(tenant, answer)
        if isinstance(accepted, Refusal):
            await self._store.refuse(token, accepted.reason)
            refusal = PasswordRefused(accepted.reason, accepted.reason.value, accepted.detail)
            return self._told(tenant, refusal, address)
        reason = await self._store.keep(tenant, token, checkpoint, accepted)
        if reason is not None:
            if reason is Reason.USER_BLOCKED:
                await self._store.refuse(token, reason)
            cause = "a block or a revocation stands against the user"
            return self._told(tenant, PasswordRefused(reason, reason.value, cause), address)
        POOL_PASSWORD_LOGINS.labels(tenant_label(tenant.id), "ok").inc()
        identity = accepted.identity
        _log.info(
            "pool_password_accepted",
            extra=fields(tenant=tenant.id, user=identity.sub, provider=identity.provider),
        )
        # What ended them since it was kept, ends them here.
        return await self._store.find(token) or Reason.SESSION_REVOKED

    async def _exhausted(self, limits: Sequence[tuple[str, int, str]]) -> PasswordRefused | None:
        for who, at_most, kind in limits:
            if await self._attempts.is_exhausted(who, at_most=at_most, kind=kind):
                return PasswordRefused(Reason.TOO_MANY_ATTEMPTS, kind, "too many wrong passwords")
        return None

    def _accepted(self, tenant: Tenant, answer: PasswordAccepted) -> Accepted | Refusal:
        provider = tenant.pool_provider
        if provider is None:
            return Refusal(Reason.NO_POOL_PASSWORD, "the tenant has no provider of kind cognito")
        return accept(answer.claims, tenant, provider, pool_id=self._pool_ids.get(tenant.pool, ""))

    def _told(self, tenant: Tenant, refused: PasswordRefused, address: str) -> Reason:
        """Who tried is not logged: what is typed as a name may be a password."""
        reason = refused.reason
        POOL_PASSWORD_LOGINS.labels(tenant_label(tenant.id), reason.value).inc()
        _log.log(
            logging.WARNING if reason is Reason.COGNITO_UNAVAILABLE else logging.INFO,
            "pool_password_refused",
            extra=fields(
                tenant=tenant.id,
                reason=reason.value,
                code=refused.code,
                cause=refused.cause,
                setting=refused.setting or None,
                client=address,
            ),
        )
        return reason

    async def close(self) -> None:
        """What is under way ends."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _refused_unasked(tenant: Tenant, provider: Provider | None, basic: Basic) -> Reason | None:
    """What no pool could accept, and who signs in elsewhere."""
    if provider is None:
        return Reason.NO_POOL_PASSWORD
    name, password = basic.username, basic.password
    if (
        not 0 < len(name) <= MAX_NAME_CHARACTERS
        or not 0 < len(password) <= MAX_PASSWORD_CHARACTERS
        or _NAME.fullmatch(name) is None
    ):
        return Reason.POOL_PASSWORD_INVALID
    others = [p for p in tenant.configured if p.kind is not ProviderKind.COGNITO]
    domain = email_domain(name) if "@" in name else None
    federated = any(name.lower().startswith(f"{p.cognito_name}_".lower()) for p in others)
    if not federated and domain is not None and domain not in provider.domains:
        federated = any(domain in p.domains for p in others)
    return Reason.NO_POOL_PASSWORD if federated else None
