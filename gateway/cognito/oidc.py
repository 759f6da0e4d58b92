"""Cognito's OIDC side: where a login goes, what the code is worth, and whether a token is what it
says.

Signatures, issuers and times are verified in ``endpoint``, the rest of a token here, and neither
anywhere else. Sources: OpenID Connect Core 1.0 §3.1.3.7; RFC 7636.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import aiohttp
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from gateway.cognito.endpoint import PoolEndpoint, read_claimed
from gateway.cognito.error_diagnosis import diagnose
from gateway.cognito.oidc_messages import form_headers, half_hash, token_query, words_of
from gateway.cognito.relying_party import Tokens
from gateway.cognito.secret_exchange import with_either_secret
from gateway.core.model import MachineToken, Secret
from gateway.errors import PeerError, UnavailableError
from gateway.http.body import read_beginning
from gateway.http.client import request_json
from gateway.http.connection_error import why_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.cognito.endpoint import PoolAddress
    from gateway.cognito.secret_exchange import ExchangedSecrets
    from gateway.core.model import AppClient, PendingLogin, Tenant

_CLIENT_REFUSED = 401
"""What the revocation endpoint answers for a client secret that it does not take."""
_EXCHANGING = (
    "Cognito takes neither the client secret nor the one before: it has exchanged it, and the new "
    "one is not known here yet"
)
_PAGE_BYTES, _PAGE_WORDS = 64 * 1024, 200


def _never(pool: str) -> bool:  # noqa: ARG001 - a default
    return False


class CognitoRelyingParty:
    """One per process, for every pool; the tenant brings its own client, and during a rotation also
    those that were replaced.

    A code and a refresh token are good only with the client that they were made for, and at its
    pool, so whoever asks says with which.
    """

    def __init__(
        self,
        client: aiohttp.ClientSession,
        pools: Mapping[str, PoolAddress],
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        failed_over: Callable[[str], bool] = _never,
        secrets: ExchangedSecrets | None = None,
    ) -> None:
        """``failed_over``: whether logins and token requests of the pool of that name go to its
        replica. ``secrets``: of clients whose secret Cognito exchanges by itself.
        """
        self._client, self._failed_over, self._secrets = client, failed_over, secrets
        self._pools = {
            name: PoolEndpoint(client, address, clock=clock, monotonic=monotonic)
            for name, address in pools.items()
        }

    def _pool(self, name: str) -> PoolEndpoint:
        """Raises ``UnavailableError``: another replica may have a newer configuration."""
        pool = self._pools.get(name)
        if pool is None:
            msg = f"user pool {name} is not in this process's cognito.pools"
            raise UnavailableError(msg)
        return pool

    def _domain(self, name: str) -> str:
        """Where logins and token requests go at this moment. Raises ``UnavailableError``."""
        pool = self._pool(name)
        return pool.secondary if pool.secondary and self._failed_over(name) else pool.domain

    def authorize_url(
        self,
        tenant: Tenant,
        pending: PendingLogin,
        *,
        state: Secret,
        login_hint: str = "",
        lang: str = "",
        prompt: str = "",
    ) -> str:
        """The authorization request. ``identity_provider`` is always sent, so Cognito never shows a
        page of its own choosing. Raises ``UnavailableError`` where this process does not know the
        pool.
        """
        provider = tenant.configured_provider(pending.provider)
        parameters = {
            "redirect_uri": pending.redirect_uri,
            "scope": " ".join(tenant.scopes),
            "state": state.reveal(),
            "nonce": pending.nonce,
            "code_challenge": create_s256_code_challenge(pending.code_verifier),
            "code_challenge_method": "S256",
            "identity_provider": pending.provider if provider is None else provider.cognito_name,
            **{
                name: value
                for name, value in (("login_hint", login_hint), ("lang", lang), ("prompt", prompt))
                if value
            },
        }
        uri: str = prepare_grant_uri(
            f"{self._domain(pending.pool)}/oauth2/authorize",
            pending.client_id,
            "code",
            **parameters,
        )
        return uri

    async def own_error_page(self, authorize_url: str) -> str | None:
        """What the error page of Cognito says on which this request would end: whoever ends there
        is sent back to nobody. None where it leads on.

        Also None where Cognito does not answer: the browser will see for itself.
        """
        try:
            async with self._client.get(
                authorize_url, headers={"Accept": "text/html"}, allow_redirects=False
            ) as response:
                status, location = response.status, response.headers.get("Location", "")
                page = (
                    b"" if location else await read_beginning(response.content, limit=_PAGE_BYTES)
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
        if 400 <= status < 500 and not location:
            return words_of(page.decode("utf-8", "replace"))[:_PAGE_WORDS]
        try:
            parts = urlsplit(location)
        except ValueError:
            return None
        request_url = urlsplit(authorize_url)
        ours = (parts.scheme, parts.netloc) in {("", ""), (request_url.scheme, request_url.netloc)}
        return (
            (parse_qs(parts.query).get("error") or ["an error"])[0][:_PAGE_WORDS]
            if 300 <= status < 400 and ours and parts.path == "/error"
            else None
        )

    def logout_url(self, tenant: Tenant, *, logout_uri: str, client_id: str = "") -> str:
        """Cognito's /logout, which ends its own one-hour session and comes back to ``logout_uri``.
        ``client_id``: of the session that ends; its pool is the one that has that session. Raises
        ``UnavailableError`` where this process does not know the pool.
        """
        former = tenant.client(client_id)
        pool = tenant.pool if former is None else former.pool
        client = tenant.client_id if former is None or pool == tenant.pool else former.client_id
        return f"{self._domain(pool)}/logout?{token_query(client_id=client, logout_uri=logout_uri)}"

    async def exchange(self, tenant: Tenant, pending: PendingLogin, *, code: str) -> Tokens:
        """Exchange the code (client secret, PKCE) and validate the ID token. ``UnavailableError``
        when Cognito is down.
        """
        client = _client(tenant, pending.client_id, pool=pending.pool)
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=pending.redirect_uri,
            code=code,
            code_verifier=pending.code_verifier,
            client_id=client.client_id,
        )
        status, answer = await self._token_request(client, body)
        if _secret_refused((status, answer)) and client.rotated is not None and self._secrets:
            # Somebody waits for this page, and whether the code is good still is Cognito's to say.
            newer = await self._secrets.newer(tenant.id, client)
            if newer is not None:
                status, answer = await self._token_once(newer, body)
        if status != 200:
            raise _refusal(answer, status)
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise PeerError(
                "malformed_answer", "the token endpoint answered 200 without an ID token"
            )
        claims = await self.validate_id_token(
            id_token,
            access_token=access_token,
            client_id=pending.client_id,
            nonce=pending.nonce,
            pool=pending.pool,
        )
        refresh = answer.get("refresh_token")
        return Tokens(claims, Secret(refresh) if isinstance(refresh, str) and refresh else None)

    async def refresh(
        self, tenant: Tenant, refresh_token: Secret, *, client_id: str
    ) -> Secret | None:
        """Whether Cognito still honours the token: its successor where it rotates, else None;
        ``PeerError("invalid_grant")`` when it does not.

        The tokens that come with it are not read: a refresh does not ask the identity provider.
        """
        client = _client(tenant, client_id)
        body = prepare_token_request(
            "refresh_token", refresh_token=refresh_token.reveal(), client_id=client.client_id
        )
        status, answer = await self._token_request(client, body)
        if status == 400 and answer.get("error") == "invalid_grant":
            raise PeerError("invalid_grant", "Cognito does not honour this refresh token any more")
        if _secret_refused((status, answer)) and client.rotated is not None:
            raise UnavailableError(_EXCHANGING)
        if status != 200:
            raise _refusal(answer, status)
        successor = answer.get("refresh_token")
        return (
            Secret(successor)
            if isinstance(successor, str) and successor and successor != refresh_token.reveal()
            else None
        )

    async def validate_id_token(
        self, token: str, *, access_token: str, client_id: str, nonce: str, pool: str
    ) -> dict[str, object]:
        """Claims of a valid ID token of this pool for this client and this login;
        ``PeerError("id_token_invalid")`` otherwise.
        """
        claims = await self._pool(pool).verify(token, audience=client_id)
        if claims is None or claims.get("token_use") != "id":
            raise PeerError(
                "id_token_invalid",
                "signature, issuer, audience, expiry or token_use of the ID token is wrong",
            )
        token_nonce = claims.get("nonce")
        if not isinstance(token_nonce, str) or not hmac.compare_digest(
            token_nonce.encode(), nonce.encode()
        ):
            raise PeerError(
                "id_token_invalid", "the nonce of the ID token is not the one of this login"
            )
        if claims.get("azp", client_id) != client_id:
            raise PeerError("id_token_invalid", "the ID token was issued for another party (azp)")
        if "at_hash" in claims and claims["at_hash"] != half_hash(access_token):
            raise PeerError("id_token_invalid", "at_hash does not match the access token")
        return claims

    async def verify_id_token(
        self, token: str, client_id: str, pool: str
    ) -> Mapping[str, object] | None:
        """Claims of a token of this pool for this client, of no login here; None otherwise. Raises
        ``UnavailableError``.
        """
        return await self._pool(pool).verify(token, audience=client_id)

    async def verify_access_token(self, tenant: Tenant, token: str) -> MachineToken | None:
        """Signature, iss, exp, token_use=access; None if it is not one of the tenant's pools', or
        of a client of the tenant that is in another pool. Client and scopes are the rule's
        business.
        """
        claimed = read_claimed(token)
        issuer = claimed.issuer
        pool = next((name for name in tenant.pools if self._pool(name).issues(issuer)), None)
        if pool is None:
            return None
        claims = await self._pool(pool).verify(token, audience=None, claimed=claimed)
        if claims is None or claims.get("token_use") != "access":
            return None
        client_id, sub, scope = claims.get("client_id"), claims.get("sub"), claims.get("scope", "")
        if (
            not isinstance(client_id, str)
            or not client_id
            or not isinstance(sub, str)
            or not sub
            or not isinstance(scope, str)
        ):
            return None
        own = tenant.client(client_id)
        if own is not None and own.pool != pool:
            return None
        auth_time, username = claims.get("auth_time", 0), claims.get("username", "")
        if (
            not isinstance(auth_time, int)
            or isinstance(auth_time, bool)
            or not isinstance(username, str)
        ):
            return None
        person = sub if sub != client_id else ""
        return MachineToken(
            client_id, frozenset(scope.split()), person, username or person, auth_time, pool=pool
        )

    async def revoke(self, tenant: Tenant, refresh_token: Secret, *, client_id: str) -> None:
        """Revoke at Cognito; raises ``PeerError`` or ``UnavailableError``."""
        client = _client(tenant, client_id)
        # Whether a replica takes it is not documented: what it forgets would go on.
        domain = self._pool(client.pool).domain
        body = token_query(token=refresh_token.reveal(), client_id=client.client_id)
        status = await with_either_secret(
            client,
            lambda tried: self._revoke_once(tried, domain, body),
            refused=lambda status: status == _CLIENT_REFUSED,
            secrets=self._secrets,
        )
        if status >= 500:
            raise UnavailableError(f"the revocation endpoint answered {status}")
        if status == _CLIENT_REFUSED and client.rotated is not None:
            raise UnavailableError(_EXCHANGING)
        if status != 200:
            raise PeerError(
                "revoke_refused",
                (
                    f"the revocation endpoint answered {status} (is token revocation enabled "
                    "for the client?)"
                ),
            )

    async def _revoke_once(self, client: AppClient, domain: str, body: str) -> int:
        try:
            async with self._client.post(
                f"{domain}/oauth2/revoke",
                data=body,
                headers=form_headers(client),
                allow_redirects=False,
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(
                f"the revocation endpoint cannot be reached: {why_at(domain, error)}"
            ) from error

    async def _token_request(self, client: AppClient, body: str) -> tuple[int, dict[str, object]]:
        return await with_either_secret(
            client,
            lambda tried: self._token_once(tried, body),
            refused=_secret_refused,
            secrets=self._secrets,
        )

    async def _token_once(self, client: AppClient, body: str) -> tuple[int, dict[str, object]]:
        return await request_json(
            self._client,
            "POST",
            f"{self._domain(client.pool)}/oauth2/token",
            what="the token endpoint",
            data=body,
            headers=form_headers(client),
        )


def _client(tenant: Tenant, client_id: str, *, pool: str | None = None) -> AppClient:
    """Raises ``PeerError("client_gone")``: it was retired, or is not of the ``pool`` with which the
    login was begun, and what was begun with it cannot go on.
    """
    client = tenant.client(client_id)
    if client is None or pool not in {None, client.pool}:
        raise PeerError(
            "client_gone", "the app client of this login or session is not the tenant's any more"
        )
    return client


def _secret_refused(answered: tuple[int, dict[str, object]]) -> bool:
    status, answer = answered
    return status != 200 and answer.get("error") == "invalid_client"


def _refusal(answer: dict[str, object], status: int) -> PeerError:
    error, description = answer.get("error"), answer.get("error_description")
    diagnosis = diagnose(
        error if isinstance(error, str) else "", description if isinstance(description, str) else ""
    )
    return PeerError(
        diagnosis.code,
        f"the token endpoint answered {status}: {diagnosis.cause} ({diagnosis.setting})",
        setting=diagnosis.setting,
    )
