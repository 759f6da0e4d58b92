"""Google's Directory API with a customer's own service account: what a directory says now.

Rules:
- The token is asked for with a signed assertion (domain-wide delegation: for an administrator) and
  kept until five minutes before it ends. Neither it nor the key is ever logged. What is remembered
  with a key that its provider has no more is dropped within ``FORGET_EVERY_S``.
- A quota that is used up comes as 403 as well as 429. Both end the call with a pause that doubles,
  plus jitter: several processes that share the quota do not come back together.
- Every other 403 is the customer's to fix (``PeerError`` with Google's own words). No answer of a
  list means that nobody is there.
- "Not found" counts for one user or group only while the same credential can list users: whoever
  may see nothing hears it of everybody.

Source: https://developers.google.com/workspace/admin/directory/reference/rest/v1
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from gateway.core.model import Secret
from gateway.core.person import Account
from gateway.errors import PeerError
from gateway.hooks.event import EntryError, address, text
from gateway.hooks.reconcile.fetch import MAX_AFTER_S, Reply, ThrottledError, said
from gateway.hooks.reconcile.google_signer import Signers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.core.hook_target import HookTarget
    from gateway.hooks.api import HookTargets
    from gateway.hooks.reconcile.fetch import Fetch

FORGET_EVERY_S: Final = 300.0
GOOGLE: Final = "https://admin.googleapis.com"
API: Final = "/admin/directory/v1"
AUDIENCE: Final = "https://oauth2.googleapis.com/token"
SCOPES: Final = (
    "https://www.googleapis.com/auth/admin.directory.user.readonly",
    "https://www.googleapis.com/auth/admin.directory.group.readonly",
    "https://www.googleapis.com/auth/admin.directory.group.member.readonly",
)
"""What a customer's administrator enters, exactly: one that lacks is a token for none of them."""
ASSERTION_S: Final = 3600
"""Google takes no assertion that is valid for longer."""
EARLY_S: Final = 300.0
LONGEST_PAUSE_S: Final = 64.0
"""Between two calls while the quota is used up: it is counted by the minute."""
LISTED_S: Final = 60.0
"""How long a list that was answered proves that the credential can list."""
USER_FIELDS: Final = "id,primaryEmail,aliases,nonEditableAliases,suspended,archived,deletionTime"
MAX_ALIASES: Final = 40
"""Google allows 30 for a user, and adds its own for a domain's second name."""
_QUOTA: Final = frozenset(
    {
        "userRateLimitExceeded",
        "rateLimitExceeded",
        "quotaExceeded",
        "dailyLimitExceeded",
        "userRateLimitExceededUnreg",
    }
)


@dataclass(frozen=True, slots=True)
class GoogleUser:
    """One entry of the directory. ``addresses``: the primary one first."""

    id: str
    addresses: tuple[str, ...]
    suspended: bool
    archived: bool
    deleted: bool

    @property
    def blocked(self) -> bool:
        return self.suspended or self.archived or self.deleted

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        return names_of(self.id, self.addresses)

    @classmethod
    def parse(cls, document: object) -> GoogleUser:
        """Raises ``EntryError``. A member that is absent is false: Google may leave out what is."""
        if not isinstance(document, dict):
            msg = "user is not an object"
            raise EntryError(msg)
        suspended, archived = document.get("suspended", False), document.get("archived", False)
        if not isinstance(suspended, bool) or not isinstance(archived, bool):
            msg = "suspended or archived is not a boolean"
            raise EntryError(msg)
        others: list[object] = []
        for name in ("aliases", "nonEditableAliases"):
            values = document.get(name, [])
            others += values if isinstance(values, list) else []
        addresses = (address(one) for one in (document.get("primaryEmail"), *others))
        return cls(
            text(document.get("id"), "id", limit=64),
            tuple(dict.fromkeys(one for one in addresses if one))[: MAX_ALIASES + 1],
            suspended,
            archived,
            bool(document.get("deletionTime")),
        )


def names_of(user: str, addresses: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """What tokens may call a user: Google's own carry the id as ``sub``; the NameID of a SAML
    application is an address most of the time.
    """
    return (
        ("idp_subject", user),
        *(("idp_subject", one) for one in addresses),
        *(("email", one) for one in addresses),
    )


@dataclass(frozen=True, slots=True)
class _Token:
    value: Secret
    until: float


@dataclass(slots=True)
class _Quota:
    failures: int = 0
    quiet_until: float = 0.0


class GoogleClient:
    """All tenants' directories. ``clock``: UTC epoch seconds; ``jitter``: 0 to 1."""

    def __init__(
        self,
        fetch: Fetch,
        *,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._jitter = jitter
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._signers = Signers()
        self._quotas: dict[tuple[str, ...], _Quota] = {}
        self._listed_at: dict[tuple[str, ...], float] = {}
        self._used: dict[tuple[str, str], tuple[str, ...]] = {}
        """By provider: the credential that it was last asked with."""

    async def forget_forever(self, targets: HookTargets) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            self.forget_gone(targets)

    def forget_gone(self, targets: HookTargets) -> None:
        """Keys, and tokens got with them, that no provider has any more."""
        for key, credential in [*self._used.items()]:
            target = targets.find(*key)
            if target is None or _credential(target) != credential:
                del self._used[key]
                self._signers.forget(key)
        known = {*self._used.values()}
        for memory in (self._tokens, self._quotas, self._listed_at):
            for credential in memory.keys() - known:
                del memory[credential]

    @staticmethod
    def configured(target: HookTarget) -> bool:
        """Whether there is anything to ask with."""
        return target.service_account is not None

    def rest(self, target: HookTarget, *, until: float) -> None:
        """Another process was told to leave Google alone until then."""
        self._used[target.key] = credential = _credential(target)
        self._quota(credential).quiet_until = until

    async def get(self, target: HookTarget, path: str, query: Mapping[str, str]) -> Reply:
        """``path`` below ``/admin/directory/v1``. See ``call``."""
        return await self.call(
            target, "GET", f"{API}{path}{'?' if query else ''}{urlencode(query)}"
        )

    async def call(self, target: HookTarget, method: str, path: str, *, body: Any = None) -> Reply:
        """401 is asked once more with a new token. Raises ``ThrottledError``, ``UnavailableError``,
        and ``PeerError`` for 401 and for 403 that is no quota.
        """
        self._used[target.key] = credential = _credential(target)
        quota = self._quota(credential)
        remaining_s = quota.quiet_until - self._clock()
        if remaining_s > 0:
            raise ThrottledError(remaining_s)
        url = f"{target.api_url or GOOGLE}{path}"
        try:
            reply = await self._once(target, method, url, body)
            if reply.status == 401:
                self._tokens.pop(credential, None)
                reply = await self._once(target, method, url, body)
        except ThrottledError as error:
            raise self._paused(quota, at_least_s=error.named_s) from None
        if reply.status == 403 and _reasons(reply) & _QUOTA:
            raise self._paused(quota)
        quota.failures = 0
        if reply.status in {401, 403}:
            raise PeerError("directory_forbidden", f"Google answered {reply.status}: {said(reply)}")
        return reply

    def _quota(self, credential: tuple[str, ...]) -> _Quota:
        return self._quotas.setdefault(credential, _Quota())

    def _paused(self, quota: _Quota, *, at_least_s: float = 0.0) -> ThrottledError:
        pause = min(LONGEST_PAUSE_S, 2.0**quota.failures) + self._jitter()
        quota.failures = min(quota.failures + 1, 16)
        pause = min(MAX_AFTER_S, max(pause, at_least_s))
        quota.quiet_until = self._clock() + pause
        return ThrottledError(pause)

    async def _once(self, target: HookTarget, method: str, url: str, body: Any) -> Reply:
        headers = {
            "Authorization": f"Bearer {(await self._token(target)).reveal()}",
            "Accept": "application/json",
        }
        return await self._fetch.call(method, url, headers=headers, body=body)

    async def _token(self, target: HookTarget) -> Secret:
        entry = self._tokens.get(_credential(target))
        if entry is not None and entry.until > self._clock():
            return entry.value
        asked_at = self._clock()
        reply = await self._fetch.call(
            "POST",
            AUDIENCE if target.api_url is None else f"{target.api_url}/token",
            headers={"Accept": "application/json"},
            form={
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": self._assertion(target, int(asked_at)),
            },
        )
        document = reply.document if isinstance(reply.document, dict) else {}
        value = document.get("access_token")
        if reply.status != 200 or not isinstance(value, str) or not value:
            raise PeerError("directory_forbidden", _token_refused(target, reply))
        lifetime = document.get("expires_in")
        token = _Token(
            Secret(value),
            asked_at
            + max(0.0, (float(lifetime) if isinstance(lifetime, int | float) else 0.0) - EARLY_S),
        )
        self._tokens[_credential(target)] = token
        return token.value

    def _assertion(self, target: HookTarget, now: int) -> str:
        claims = {
            "scope": " ".join(SCOPES),
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + ASSERTION_S,
        }
        if target.admin_email is not None:
            claims["sub"] = target.admin_email
        return self._signers.of(target).sign(claims)

    # --- what is asked about one user or group ---

    async def user(self, target: HookTarget, user: str) -> GoogleUser | None:
        """None: the directory does not know the user, though it lists others. Raises ``PeerError``,
        ``UnavailableError``.
        """
        reply = await self.get(
            target, f"/users/{quote(user, safe='')}", {"projection": "basic", "fields": USER_FIELDS}
        )
        if reply.status == 404:
            await self._can_list(target)
            return None
        try:
            google_user = GoogleUser.parse(_object(reply))
        except EntryError as error:
            raise PeerError("malformed_answer", f"Google answered a user whose {error}") from error
        if google_user.id != user:
            # An alias or an address leads to its owner, who is another one.
            raise PeerError("malformed_answer", "Google answered another user than was asked for")
        return google_user

    async def account(self, target: HookTarget, user: str) -> Account | None:
        google_user = await self.user(target, user)
        if google_user is None:
            return None
        primary = google_user.addresses[0] if google_user.addresses else ""
        return Account(not google_user.blocked, primary, google_user.names)

    async def group_exists(self, target: HookTarget, group: str) -> bool:
        """Raises as ``user`` does."""
        reply = await self.get(target, f"/groups/{quote(group, safe='')}", {"fields": "id"})
        if reply.status == 404:
            await self._can_list(target)
            return False
        _object(reply)
        return True

    async def has_member(self, target: HookTarget, user: str, group: str) -> bool | None:
        """Nested membership counts. None: Google cannot tell of this user (of another domain).
        Raises as ``user`` does.
        """
        reply = await self.get(
            target, f"/groups/{quote(group, safe='')}/hasMember/{quote(user, safe='')}", {}
        )
        if reply.status == 404:
            await self._can_list(target)
            return False
        if reply.status == 400:
            return None
        member = _object(reply).get("isMember")
        if not isinstance(member, bool):
            raise PeerError("malformed_answer", "Google did not say isMember")
        return member

    async def _can_list(self, target: HookTarget) -> None:
        """Raises ``PeerError`` unless the credential lists somebody."""
        credential = _credential(target)
        if self._clock() - self._listed_at.get(credential, float("-inf")) < LISTED_S:
            return
        reply = await self.get(
            target,
            "/users",
            {"customer": customer(target), "maxResults": "1", "fields": "users(id)"},
        )
        if reply.status != 200 or not _object(reply).get("users"):
            raise PeerError(
                "directory_forbidden",
                "Google says that somebody is not found, and lists nobody at all: it is not "
                "believed",
            )
        self.listed(target)

    def listed(self, target: HookTarget) -> None:
        """A list of users was answered with somebody in it."""
        self._listed_at[_credential(target)] = self._clock()


def customer(target: HookTarget) -> str:
    """Whose users and groups are listed: the administrator's own customer unless it is named."""
    return target.directory_id or "my_customer"


def _object(reply: Reply) -> dict[str, Any]:
    if reply.status != 200 or not isinstance(reply.document, dict):
        raise PeerError("malformed_answer", f"Google answered {reply.status}: {said(reply)}")
    return reply.document


def _reasons(reply: Reply) -> set[str]:
    """``error.errors[].reason``, and ``error.status`` of newer APIs."""
    error = reply.document.get("error") if isinstance(reply.document, dict) else None
    if not isinstance(error, dict):
        return set()
    entries = error.get("errors")
    reasons = {
        entry["reason"]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("reason"), str)
    }
    return reasons | ({"quotaExceeded"} if error.get("status") == "RESOURCE_EXHAUSTED" else set())


def _token_refused(target: HookTarget, reply: Reply) -> str:
    """What Google says, and whose it is to mend: never a word about a user of the directory."""
    error = reply.document.get("error") if isinstance(reply.document, dict) else None
    hint = ""
    if error == "unauthorized_client":
        hint = (
            "; enter the service account's client id with exactly the three scopes under "
            "Security, API controls, Domain-wide delegation (up to 24 hours to take effect)"
        )
    elif error == "invalid_grant" and target.admin_email is not None:
        hint = (
            "; is hooks.admin_email an active administrator, the key not deleted, and this "
            "machine's clock right?"
        )
    return f"Google's token endpoint answered {reply.status}: {said(reply)}{hint}"


def _credential(target: HookTarget) -> tuple[str, ...]:
    """A token belongs to the key and the administrator that it was got with."""
    return (
        target.api_url or "",
        target.service_account.reveal() if target.service_account is not None else "",
        target.admin_email or "",
        target.directory_id or "",
    )
