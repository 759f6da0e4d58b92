"""The session store on Redis or Valkey. The protocol is written down in docs/sessions.md; each
method is one step of it.

What a script must know is worked out here and passed in; what must not change meanwhile is decided
in the script.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections import OrderedDict
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, Final

from gateway.core.login import PENDING_LIFETIME_S, is_fresh
from gateway.core.model import PendingLogin, Secret, Session
from gateway.core.reason import Reason
from gateway.core.revocation import Who
from gateway.errors import UnavailableError
from gateway.sessions import app_passwords, bearer_links, codec, seal
from gateway.sessions.aliases import AliasIndex
from gateway.sessions.api import (
    MISS,
    OTHER_BROWSER,
    AppPasswordRefusal,
    AppPasswordView,
    LoginConsumed,
    LoginReplayed,
    LoginStarted,
    SessionCreated,
    SessionEnded,
    SessionRefused,
    SessionView,
    StoredAppPassword,
)
from gateway.sessions.codec import Record, Ticket
from gateway.sessions.connection import Script, in_order
from gateway.sessions.directory import StoreDirectory
from gateway.sessions.fair_share import FairShare
from gateway.sessions.idle_refresh import Touches
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.refresh_token import unseal_refresh
from gateway.sessions.session_writer import SessionWriter
from gateway.sessions.watermarks import Watermarks, revocation_keys
from gateway.tracing.spans import current

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gateway.core.model import AppPassword, Tenant
    from gateway.keys.ring import Key, KeyRing
    from gateway.sessions.api import (
        BearerLink,
        Miss,
        Names,
        NewAppPassword,
        NewSession,
        OtherBrowser,
    )
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.seal import Token

MAX_PENDING_BYTES: Final = 8_000_000
"""Of Redis, for logins that one process has begun in the last ten minutes: 10,000 with a short
return address, 17 a second all the time. Cognito's own quota for federated logins is 25 a second
for the whole pool.
"""
PENDING_OVERHEAD_BYTES: Final = 450
"""Of Redis beside the sealed value: the key, the hash and its fields (MEMORY USAGE)."""
MAX_SPENT_CODES_BYTES: Final = 4_000_000
SPENT_CODE_BYTES: Final = 160
TICKET_LIFETIME_S: Final = 30
"""One redirect from ``login_host`` to the application's host."""
_MAX_ELSEWHERE: Final = 1_000
_MAX_RECORDS: Final = 1_000

START_LOGIN, CONSUME_LOGIN = (Script.load(name) for name in ("start_login", "consume_login"))
TICKET, REDEEM, TOUCH, LOGOUT, REPLACED = (
    Script.load(name) for name in ("ticket", "redeem", "touch", "logout", "replaced")
)
UNLINK = Script.load("unlink")


def _spent(code: str) -> str:
    """Of no tenant's slot: where no login is open, nobody knows whose code it is."""
    return f"gw:code:{hashlib.sha256(code.encode('utf-8', 'surrogatepass')).hexdigest()}"


def wrong_place(owner: str, tenant: str | None) -> Reason:
    """Why a live session of ``owner`` is none here. ``tenant`` is None at a shared host."""
    return Reason.WRONG_HOST if tenant in (None, owner) else Reason.WRONG_TENANT


class RedisSessions:
    """Implements ``sessions.api.SessionStore`` without a cache. Clock and entropy are arguments."""

    def __init__(
        self,
        redis: RedisClient,
        ring: Callable[[], KeyRing],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        may_hold: Callable[[int, str], bool] = lambda _bucket, _host: True,
        in_use: Callable[[Record], None] | None = None,
        in_use_every_s: float = inf,
    ) -> None:
        """``ring`` is asked on every use: the key ring may be reloaded. ``may_hold``: whether
        sessions of a bucket may be of a host. ``in_use`` and ``in_use_every_s``: see ``Touches``.
        """
        self.redis = redis
        self._watermarks = Watermarks(redis, ring)
        self._writer = SessionWriter(
            redis, ring, clock=clock, entropy=entropy, created=self._created
        )
        self._ring = ring
        self._clock = clock
        self._entropy = entropy
        self._may_hold = may_hold
        self._elsewhere: OrderedDict[str, str] = OrderedDict()
        """Tenants of live sessions that were shown at a host that is not theirs, by cookie: for the
        log and the metrics.
        """
        self._records: OrderedDict[str, Record] = OrderedDict()
        """Those that were found or made last, by digest."""
        self._pending = FairShare(
            max_bytes=MAX_PENDING_BYTES, life_s=PENDING_LIFETIME_S, monotonic=monotonic
        )
        self._codes = FairShare(
            max_bytes=MAX_SPENT_CODES_BYTES, life_s=PENDING_LIFETIME_S, monotonic=monotonic
        )
        self.directory = StoreDirectory(redis, ring)
        self.touches = Touches(
            self._touch, monotonic=monotonic, in_use=in_use, in_use_every_s=in_use_every_s
        )
        self.uses = app_passwords.Uses(self._note_use, monotonic=monotonic)

    @property
    def _keys(self) -> tuple[Key, ...]:
        return self._ring().sealing

    def alias_index(self, tenant: str) -> AliasIndex:
        """The aliases of one tenant's people under every key of the ring."""
        return AliasIndex(tenant, self._keys)

    # --- reading ---------------------------------------------------------------------------------

    def cached(self, cookie: str, *, host: str) -> Session | Miss | None:  # noqa: ARG002 - the protocol's; there is no memory here
        return MISS

    def why_not(self, cookie: str, *, tenant: str | None) -> Reason:
        owner = self._elsewhere.get(cookie)
        if owner is not None:
            return wrong_place(owner, tenant)
        token = seal.parse_token(cookie)
        return (
            Reason.WRONG_TENANT
            if token is not None and tenant is not None and token.bucket != bucket_of(tenant)
            else Reason.NO_SESSION
        )

    def is_suspended(self, tenant: str) -> bool:  # noqa: ARG002 - the protocol's
        return False

    async def wait_for_snapshot(self, tenant: str) -> bool:  # noqa: ARG002 - the protocol's
        """Without leases nothing is acknowledged to be narrowed."""
        return True

    async def find(self, cookie: str, *, host: str) -> Session | None:
        token = seal.parse_token(cookie)
        if token is None or not self._may_hold(token.bucket, host):
            return None
        value = await self.fetch(token)
        record = None if value is None else self.open(token, value, host=host)
        if record is None:
            return None
        self._remember(record)
        return record.session

    def _remember(self, record: Record) -> None:
        self._records[record.session.digest] = record
        if len(self._records) > _MAX_RECORDS:
            self._records.popitem(last=False)

    def _created(self, record: Record) -> None:
        """Its idle time, and its parent's, began with what wrote it."""
        self._remember(record)
        self.touches.renewed(record.session.digest)

    def used(self, session: Session, *, active_s: float | None) -> None:
        record = self._record(session.digest)
        if record is None:
            return
        if active_s is None:
            self.touches.seen(record)
        else:
            self.touches.used(record, active_s=active_s)

    def _record(self, digest: str) -> Record | None:
        """Of a session that was found just now."""
        return self._records.get(digest)

    async def fetch(self, token: Token) -> bytes | None:
        """The sealed value, one GET; None once it idled out, reached its limit or was ended. Expiry
        is the server's.
        """
        return await self.redis.get(f"{prefix(token.bucket)}s:{token.digest}")

    def open(self, token: Token, value: bytes, *, host: str) -> Record | None:
        """What the value says, if it was sealed for this token and host by us, and its absolute
        limit lies ahead. No I/O.
        """
        payload = seal.unseal("session", token, value, keys=self._keys)
        if payload is None or bucket_of(payload.tenant) != token.bucket:
            return None
        if payload.host != host:
            self._elsewhere[token.text] = payload.tenant
            if len(self._elsewhere) > _MAX_ELSEWHERE:
                self._elsewhere.popitem(last=False)
            return None
        record = codec.load_record(
            payload.plaintext, digest=token.digest, tenant=payload.tenant, host=payload.host
        )
        return record if record is not None and record.session.expires_at > self._clock() else None

    async def _touch(self, record: Record, active_s: float) -> None:
        at = prefix(bucket_of(record.session.tenant))
        keys = [f"{at}s:{digest}" for digest in (record.session.digest, record.parent) if digest]
        await self.redis.run(
            TOUCH, keys, [int((active_s + record.idle_s) * 1000), record.session.expires_at]
        )

    # --- login -----------------------------------------------------------------------------------

    async def start_login(
        self, pending: PendingLogin, *, binding: str | None, client: str = ""
    ) -> LoginStarted:
        browser = (
            binding
            if binding is not None and seal.is_binding(binding)
            else seal.new_binding(self._entropy)
        )
        browser_id = seal.binding_id(browser)
        token = seal.new_token(bucket_of(pending.tenant), self._entropy)
        at = prefix(token.bucket)
        value = seal.seal(
            f"pending {browser_id}",
            token,
            codec.dump_pending(pending),
            tenant=pending.tenant,
            host=pending.host,
            key=self._keys[0],
            entropy=self._entropy,
        )
        key = f"{at}p:{token.digest}"
        async with self._kept(
            self._pending, key, client=client, size=len(value) + PENDING_OVERHEAD_BYTES
        ):
            await self.redis.run(
                START_LOGIN,
                [f"{at}c:{pending.tenant}", key],
                [value, browser_id, PENDING_LIFETIME_S, at],
            )
        return LoginStarted(Secret(token.text), Secret(browser))

    async def consume_login(
        self, state: str, *, bindings: Sequence[str]
    ) -> LoginConsumed | LoginReplayed | OtherBrowser | None:
        token = seal.parse_token(state)
        if token is None:
            return None
        browsers = self._browser_ids(bindings)
        answer = await self.redis.run(
            CONSUME_LOGIN, [f"{prefix(token.bucket)}p:{token.digest}"], browsers
        )
        if answer is None:
            return None
        if answer[0] == b"other" or (browser_id := answer[4].decode("ascii")) not in browsers:
            return OTHER_BROWSER
        pending = self._open_pending(token, answer[1], browser_id)
        if pending is None:
            return None
        return (
            LoginConsumed(pending, int(answer[2]), answer[3].decode("ascii"))
            if answer[0] == b"taken"
            else LoginReplayed(pending)
        )

    @contextlib.asynccontextmanager
    async def _kept(
        self, share: FairShare, key: str, *, client: str, size: int
    ) -> AsyncIterator[None]:
        """Around the command that makes the store keep ``key``: what has to go for it goes
        before.
        """
        for other in share.add(key, client=client, size=size):
            with contextlib.suppress(UnavailableError):  # it goes by itself then
                await self.redis.command("DEL", other)
        try:
            yield
        except BaseException:
            share.remove(key)
            raise

    async def spend_code(self, code: str, *, client: str = "") -> None:
        key = _spent(code)
        async with self._kept(self._codes, key, client=client, size=SPENT_CODE_BYTES):
            await self.redis.command("SET", key, "1", "EX", PENDING_LIFETIME_S)

    async def code_spent(self, code: str) -> bool:
        return bool(await self.redis.command("EXISTS", _spent(code)))

    def _open_pending(self, token: Token, value: bytes, browser_id: str) -> PendingLogin | None:
        payload = seal.unseal(f"pending {browser_id}", token, value, keys=self._keys)
        return None if payload is None else codec.load_pending(payload.plaintext)

    async def finish_login(self, new: NewSession) -> SessionCreated | SessionRefused:
        return await self._writer.finish_login(new)

    # --- bearer tokens of people -----------------------------------------------------------------

    async def bearer_link(self, tenant: str, *, user: str, auth_time: int) -> BearerLink | None:
        aliases = self.alias_index(tenant)
        return bearer_links.parse(
            await self.redis.run(
                bearer_links.BEARER_LINK,
                *bearer_links.read_args(aliases, user=user, auth_time=auth_time),
            ),
            aliases,
            user=user,
            keys=self._keys,
        )

    # --- app passwords ---------------------------------------------------------------------------

    def cached_app_password(self, text: str) -> AppPassword | Miss | None:  # noqa: ARG002 - as above
        return MISS

    async def app_password(self, text: str, *, host: str) -> AppPassword | None:
        parsed = app_passwords.parse_text(text, self._keys)
        if parsed is None or not self._may_hold(parsed.token.bucket, host):
            return None
        answer = await self.redis.run(
            app_passwords.READ_APP_PASSWORD, *app_passwords.read_args(parsed)
        )
        app_password = app_passwords.parse(answer, parsed, keys=self._keys, now=self._clock())
        if app_password is None:
            return None
        self.uses.used(app_password.session)
        return app_password

    async def _note_use(self, session: Session) -> None:
        await self.redis.run(
            app_passwords.USED, [f"{prefix(bucket_of(session.tenant))}f:{session.family}"], []
        )

    async def make_app_password(
        self, session: Session, *, cookie: str, tenant: Tenant, new: NewAppPassword
    ) -> StoredAppPassword | AppPasswordRefusal:
        parent = await self._reread(session, cookie)
        if parent is None:
            return AppPasswordRefusal.GONE
        key, now, limits = self._keys[0], int(self._clock()), tenant.app_passwords
        if not is_fresh(parent.session, now=now):
            return AppPasswordRefusal.STALE_LOGIN
        request = replace(new, lifetime_s=min(new.lifetime_s, limits.lifetime_s))
        text, parsed = app_passwords.new(bucket_of(session.tenant), key, self._entropy)
        keys, arguments, display = app_passwords.make_args(
            self.alias_index(session.tenant),
            parent,
            request,
            parsed=parsed,
            key=key,
            entropy=self._entropy,
            now=now,
            max_per_user=limits.max_per_user,
        )
        answer = await self.redis.run_durably(
            app_passwords.MAKE_APP_PASSWORD, keys, in_order(arguments)
        )
        if answer[0] != b"stored":
            return app_passwords.refusal(answer[0])
        scope = AppPasswordView(request.name, tuple(sorted(request.hosts)), request.paths, None)
        return StoredAppPassword(
            Secret(text),
            SessionView(
                parsed.family,
                session.tenant,
                display.user,
                display.email,
                display.provider,
                (),
                now,
                arguments.expires_at,
                "",
                app_password=scope,
            ),
        )

    async def list_app_passwords(self, session: Session) -> Sequence[SessionView]:
        return await self._all_of(session, app_passwords_meant=True)

    async def _all_of(self, session: Session, *, app_passwords_meant: bool) -> list[SessionView]:
        views = await self.directory.all_of(
            session.tenant, self.alias_index(session.tenant).users(session.identity)
        )
        return sorted(
            (view for view in views if (view.app_password is not None) is app_passwords_meant),
            key=lambda view: view.created_at,
            reverse=True,
        )

    # --- hand-over to another host ---------------------------------------------------------------

    def binding_id(self, binding: str) -> str | None:
        return seal.binding_id(binding) if seal.is_binding(binding) else None

    def _browser_ids(self, bindings: Sequence[str]) -> list[str]:
        return [seal.binding_id(binding) for binding in bindings if seal.is_binding(binding)]

    async def issue_ticket(
        self, parent: Session, *, cookie: str, host: str, return_to: str, binding_id: str
    ) -> Secret | None:
        # What is sealed under a digest never changes; whether it is there still, the script sees.
        record = self._shown(parent, cookie) or await self._reread(parent, cookie)
        if record is None:
            return None
        token = seal.new_token(bucket_of(parent.tenant), self._entropy)
        at = prefix(token.bucket)
        value = seal.seal(
            f"ticket {binding_id}",
            token,
            codec.dump_ticket(Ticket(record, return_to, current().traceparent)),
            tenant=parent.tenant,
            host=host,
            key=self._keys[0],
            entropy=self._entropy,
        )
        keys = [f"{at}t:{token.digest}", f"{at}s:{parent.digest}", f"{at}f:{parent.family}"]
        issued = await self.redis.run(TICKET, keys, [value, binding_id, host, TICKET_LIFETIME_S])
        return Secret(token.text) if issued else None

    async def redeem_ticket(
        self, ticket: str, *, host: str, bindings: Sequence[str], served: Callable[[str], bool]
    ) -> tuple[SessionCreated, str] | SessionRefused | OtherBrowser | None:
        token = seal.parse_token(ticket)
        if token is None:
            return None
        browsers = self._browser_ids(bindings)
        answer = await self.redis.run(
            REDEEM, [f"{prefix(token.bucket)}t:{token.digest}"], [host, *browsers]
        )
        if answer is None:
            return None
        if answer[0] == b"other" or (browser_id := answer[2].decode("ascii")) not in browsers:
            return OTHER_BROWSER
        payload = seal.unseal(f"ticket {browser_id}", token, answer[1], keys=self._keys)
        if (
            payload is None
            or payload.host != host
            or bucket_of(payload.tenant) != token.bucket
            or not served(payload.tenant)
        ):
            return None
        content = codec.load_ticket(payload.plaintext, tenant=payload.tenant)
        if content is None:
            return None
        current().continues(content.trace)
        parent = content.parent
        child = replace(parent.session, host=host, created_at=int(self._clock()))
        result = await self._writer.write_child(
            Record(child, parent.session.digest, parent.family_key, parent.idle_s)
        )
        return result if isinstance(result, SessionRefused) else (result, content.return_to)

    # --- ending and listing one's own ------------------------------------------------------------

    async def end_family(self, session: Session, *, cookie: str) -> SessionEnded:
        record = await self._reread(session, cookie)
        _, refresh = await self._logout(session, session.family)
        refresh_token = (
            unseal_refresh(record, refresh) if record is not None and refresh is not None else None
        )
        return SessionEnded(session, refresh_token)

    async def end_replaced(self, session: Session, *, cookie: str) -> SessionEnded:
        record = await self._reread(session, cookie)
        at = prefix(bucket_of(session.tenant))
        answer = await self._watermarks.redis.run_durably(
            REPLACED,
            [f"{at}f:{session.family}", f"{at}s:{session.digest}"],
            [at, session.family, session.tenant, session.digest],
        )
        self.touches.forget(session.digest)
        refresh = answer[1] if len(answer) > 1 else None
        return SessionEnded(
            session,
            unseal_refresh(record, refresh) if record is not None and refresh is not None else None,
        )

    async def _logout(self, session: Session, family: str) -> tuple[int, bytes | None]:
        at = prefix(bucket_of(session.tenant))
        aliases = self.alias_index(session.tenant)
        answer: list[Any] = [0]
        for user in aliases.users(
            session.identity
        ):  # the family may have been written under an older key of the ring
            keys = [
                f"{at}f:{family}",
                *(f"{at}i:{name}" for name in aliases.index(session.identity)),
            ]
            answer = await self._watermarks.redis.run_durably(
                LOGOUT, keys, [at, family, session.tenant, user, ""]
            )
            if answer[0]:
                break
        self.touches.forget(session.digest)
        return int(answer[0]), answer[1] if len(answer) > 1 else None

    def _shown(self, session: Session, cookie: str) -> Record | None:
        """As ``_reread``, from memory: of a session that was made here just now."""
        token = seal.parse_token(cookie)
        record = None if token is None else self._records.get(token.digest)
        return record if record is not None and record.session == session else None

    async def _reread(self, session: Session, cookie: str) -> Record | None:
        """The record behind a session that a request already showed, from the store itself."""
        token = seal.parse_token(cookie)
        if token is None or token.digest != session.digest:
            return None
        value = await self.fetch(token)
        return None if value is None else self.open(token, value, host=session.host)

    async def list_user(self, session: Session, *, cookie: str) -> Sequence[SessionView]:  # noqa: ARG002 - the protocol's; this store needs no key of the family to list
        return [
            replace(view, current=view.session == session.family)
            for view in await self._all_of(session, app_passwords_meant=False)
        ]

    async def end_own(self, session: Session, *, family: str | None) -> int:
        """All of them is a revocation of the person: it outdates logins in flight too, and what
        comes soon after shows that it is fresh.
        """
        if family is not None:
            count, _ = await self._logout(session, family)
            return 1 if count else 0
        identity, count = session.identity, 0
        everywhere = [Who(user=identity.sub)]
        if identity.idp_subject:
            # In another user pool the same person has another ``sub``.
            everywhere.append(Who(idp_subject=identity.idp_subject, provider=identity.provider))
        for who in everywhere:
            where = revocation_keys(self.alias_index(session.tenant), who)
            batch = await self._watermarks.revoke(session.tenant, where)
            count += len(batch.families)
            while batch.cursors:
                batch = await self._watermarks.sweep(session.tenant, where, batch)
                count += len(batch.families)
            await self._watermarks.confirm(session.tenant, server=batch.server)
        return count

    async def end_earlier(
        self,
        tenant: str,
        *,
        user: str,
        names: Names = (),
        began: int,
        outdated: Callable[[SessionView], bool],
    ) -> int:
        at, index = prefix(bucket_of(tenant)), self.alias_index(tenant)
        aliases = [alias for name in (("user", user), *names) for alias in index.named(*name)]
        count = 0
        for view in await self.directory.all_of(tenant, aliases):
            for alias in index.named("user", view.user) if outdated(view) else ():
                answer = await self._watermarks.redis.run_durably(
                    LOGOUT, [f"{at}f:{view.session}"], [at, view.session, tenant, alias, began]
                )
                count += min(1, int(answer[0]))
        return count

    async def unlink(
        self, tenant: str, *, user: str, names: Names = (), provider: str = "", began: int
    ) -> None:
        at, users = prefix(bucket_of(tenant)), {user: None}
        for name in names:
            last = await self.directory.last_login(tenant, *name)
            if last is not None and last.provider == provider:
                users[last.user] = None
        index = self.alias_index(tenant)
        await self._watermarks.redis.run_durably(
            UNLINK,
            [f"{at}k:{alias}" for each in users for alias in index.named("user", each)],
            [began, f"{at}c:{tenant}"],
        )

    async def close(self) -> None:
        await self.touches.close()
        await self.uses.close()
        await self.redis.close()
