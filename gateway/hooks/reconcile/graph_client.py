"""Microsoft Graph with the tenant's own app registration: what a directory says now.

Rules:
- The token is asked for by client credentials at the tenant's own issuer, kept until five minutes
  before it ends, and never logged.
- 401 and 403 are the customer's to fix (a secret ran out, a permission is missing): ``PeerError``
  with Graph's own words.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from gateway.core.canonical import canonical_id
from gateway.core.model import Secret
from gateway.core.person import Account
from gateway.errors import PeerError
from gateway.hooks.event import address
from gateway.hooks.reconcile.fetch import Reply, ThrottledError, said

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.hook_target import HookTarget
    from gateway.hooks.reconcile.fetch import Fetch

GRAPH = "https://graph.microsoft.com"
NATIONAL = frozenset(
    {
        "https://graph.microsoft.us",
        "https://dod-graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
    }
)
"""Clouds whose tokens are for their own address."""
EARLY_S = 300.0
NAME_LIFE_S = 600.0


@dataclass(frozen=True, slots=True)
class _Token:
    value: Secret
    until: float


class GraphClient:
    """All tenants' directories; ``clock``: UTC epoch seconds."""

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._quiet_until: dict[tuple[str, ...], float] = {}
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._names: dict[tuple[str, str, str], tuple[str, float]] = {}

    @staticmethod
    def configured(target: HookTarget) -> bool:
        """Whether there is anything to ask with."""
        return bool(
            target.directory_id and target.client_id and target.client_secret and target.issuer
        )

    def url(self, target: HookTarget, path: str) -> str:
        return f"{target.api_url or GRAPH}/v1.0{path}"

    def rest(self, target: HookTarget, *, until: float) -> None:
        """Another process was told to leave Graph alone until then."""
        self._quiet_until[_credential(target)] = until

    async def call(self, target: HookTarget, method: str, url: str, *, body: Any = None) -> Reply:
        """A full address of this directory's Graph. 401 is asked once more with a new token. Raises
        ``PeerError`` for 401 and 403.
        """
        base = urlsplit(target.api_url or GRAPH)
        if urlsplit(url)[:2] != base[:2]:
            # A nextLink leads on within Graph; anywhere else it would carry the token away.
            raise PeerError("malformed_answer", "Graph named an address outside itself")
        credential = _credential(target)
        remaining_s = self._quiet_until.get(credential, 0.0) - self._clock()
        if remaining_s > 0:
            raise ThrottledError(remaining_s)
        try:
            reply = await self._fetch.call(
                method, url, headers=await self._headers(target), body=body
            )
            if reply.status == 401:
                self._tokens.pop(credential, None)
                reply = await self._fetch.call(
                    method, url, headers=await self._headers(target), body=body
                )
        except ThrottledError as error:
            # For look-ups of single events too: whoever asks again before then is told to wait
            # longer.
            self._quiet_until[credential] = self._clock() + error.after_s
            raise
        if reply.status in {401, 403}:
            raise PeerError("directory_forbidden", f"Graph answered {reply.status}: {said(reply)}")
        return reply

    async def _headers(self, target: HookTarget) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {(await self._token(target)).reveal()}",
            "Accept": "application/json",
        }

    async def _token(self, target: HookTarget) -> Secret:
        entry = self._tokens.get(_credential(target))
        if entry is not None and entry.until > self._clock():
            return entry.value
        if not self.configured(target) or target.client_secret is None or target.issuer is None:
            raise PeerError(
                "directory_not_configured",
                "hooks.directory_id, client_id and client_secret are needed to ask the directory",
            )
        scope = f"{target.api_url if target.api_url in NATIONAL else GRAPH}/.default"
        form = {
            "grant_type": "client_credentials",
            "client_id": str(target.client_id),
            "client_secret": target.client_secret.reveal(),
            "scope": scope,
        }
        asked_at = self._clock()
        reply = await self._fetch.call(
            "POST",
            f"{target.issuer.removesuffix('/').removesuffix('/v2.0')}/oauth2/v2.0/token",
            headers={"Accept": "application/json"},
            form=form,
        )
        value = reply.document.get("access_token") if isinstance(reply.document, dict) else None
        if reply.status != 200 or not isinstance(value, str) or not value:
            raise PeerError(
                "directory_forbidden", f"the token endpoint answered {reply.status}: {said(reply)}"
            )
        lifetime = reply.document.get("expires_in")
        token = _Token(
            Secret(value),
            asked_at
            + max(0.0, (float(lifetime) if isinstance(lifetime, int | float) else 0.0) - EARLY_S),
        )
        self._tokens[_credential(target)] = token
        return token.value

    # --- what is asked about one person or group ---

    async def account(self, target: HookTarget, oid: str) -> Account | None:
        """None: unknown, and not among the deleted either."""
        reply = await self.call(
            target,
            "GET",
            self.url(
                target,
                f"/users/{quote(oid, safe='')}?$select=id,accountEnabled,mail,userPrincipalName",
            ),
        )
        if reply.status == 404:
            return Account(enabled=False) if await self._is_deleted(target, oid) else None
        document = _object(reply, 200)
        if not isinstance(document.get("accountEnabled"), bool):
            raise PeerError("malformed_answer", "Graph did not say accountEnabled")
        return Account(
            document["accountEnabled"],
            address(document.get("mail")) or address(document.get("userPrincipalName")),
        )

    async def _is_deleted(self, target: HookTarget, oid: str) -> bool:
        """Whether the person is in the directory's recycle bin. An app that may not look there does
        not know.
        """
        with contextlib.suppress(PeerError):
            return (
                await self.call(
                    target,
                    "GET",
                    self.url(target, f"/directory/deletedItems/{quote(oid, safe='')}?$select=id"),
                )
            ).status == 200
        return False

    async def is_member(self, target: HookTarget, oid: str, group_id: str) -> bool | None:
        """None: Graph does not know the person."""
        reply = await self.call(
            target,
            "POST",
            self.url(target, f"/users/{quote(oid, safe='')}/checkMemberGroups"),
            body={"groupIds": [group_id]},
        )
        if reply.status == 404:
            return None
        group_ids = _object(reply, 200).get("value")
        return isinstance(group_ids, list) and canonical_id(group_id) in {
            canonical_id(one) for one in group_ids if isinstance(one, str)
        }

    async def group_name(self, target: HookTarget, group_id: str, *, again: bool = False) -> str:
        """Empty where the group is gone. ``again``: not from memory."""
        key = (*target.key, group_id)
        entry = self._names.get(key)
        if not again and entry is not None and entry[1] > self._clock():
            return entry[0]
        reply = await self.call(
            target,
            "GET",
            self.url(target, f"/groups/{quote(group_id, safe='')}?$select=id,displayName"),
        )
        name = "" if reply.status == 404 else str(_object(reply, 200).get("displayName") or "")
        if len(self._names) > 10_000:
            self._names.clear()
        self._names[key] = (name, self._clock() + NAME_LIFE_S)
        return name

    async def secret_expiry(self, target: HookTarget, app_id: str, secret: Secret) -> float | None:
        """When the application's ``secret`` ends (UTC epoch seconds); None where the directory does
        not list it. Needs Application.Read.All. Graph shows the first characters of each secret
        (``hint``): of several that begin alike, the first that ends counts. Raises as ``call``.
        """
        path = f"/applications(appId='{quote(app_id, safe='')}')?$select=passwordCredentials"
        reply = await self.call(target, "GET", self.url(target, path))
        if reply.status == 404:
            return None
        credentials = _object(reply, 200).get("passwordCredentials")
        ends = [
            expiry
            for one in (credentials if isinstance(credentials, list) else ())
            if isinstance(one, dict)
            and isinstance(hint := one.get("hint"), str)
            and hint
            and secret.reveal().startswith(hint)
            and (expiry := _moment(one.get("endDateTime"))) is not None
        ]
        return min(ends, default=None)


def _moment(text: object) -> float | None:
    """UTC epoch seconds of a DateTimeOffset."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _object(reply: Reply, status: int) -> dict[str, Any]:
    if reply.status != status or not isinstance(reply.document, dict):
        raise PeerError("malformed_answer", f"Graph answered {reply.status}: {said(reply)}")
    return reply.document


def _credential(target: HookTarget) -> tuple[str, ...]:
    """A token belongs to the secret it was got with."""
    return (
        target.issuer or "",
        target.api_url or "",
        target.client_id or "",
        target.client_secret.reveal() if target.client_secret is not None else "",
    )
