"""``gateway doctor cognito``: asks the pool, and without ``--provision`` only reads."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.cognito import shapes
from gateway.cognito.api import CognitoRejectedError, UnansweredError
from gateway.cognito.desired import HD, IDP_IAT, WantedClient
from gateway.cognito.native_sessions import login_reuse
from gateway.cognito.password_login import PasswordLogin, PasswordRefused
from gateway.cognito.pool import Pool
from gateway.core.authorization import Basic
from gateway.core.model import AppClient, Secret
from gateway.doctor import client_findings as clients
from gateway.doctor import cognito_findings as judge
from gateway.doctor.cognito_findings import (
    GATEWAY_PREFIX,
    TRIAL_PREFIX,
    unchecked,
    unexpected,
)
from gateway.errors import GatewayError
from gateway.http.client import request_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    import aiohttp

    from gateway.cognito.api import CognitoApi
    from gateway.cognito.client_secrets import ReadsClientSecrets
    from gateway.cognito.desired import ActualClient, ActualProvider
    from gateway.config.model import Config
    from gateway.config.user_pools import UserPool
    from gateway.doctor.cognito_findings import PoolFinding

AT_MOST: Final = 50
"""Providers and clients that are described: five calls a second are allowed."""
PROFILES: Final = 20
"""Of each provider, one page."""
_PAGE: Final = 60
_DISCOVERY: Final = "/.well-known/openid-configuration"
_NOT_ASKED: Final = "needs --provision --login PROVIDER and a browser"


async def _nobody(_token: str, _client_id: str, _pool: str) -> None:
    """No token is verified here."""


def _password() -> str:
    """That a pool may ask for, whatever its policy."""
    return f"Aa1!{secrets.token_hex(16)}"


@dataclass(frozen=True, slots=True)
class TrialClient:
    """An app client that exists for one examination."""

    client: ActualClient
    callback: str
    rotates: bool
    """Whether Cognito let it have refresh token rotation."""


@dataclass(slots=True)
class PoolDoctor:
    """``guarded``: for addresses that the pool names. Findings are in ``findings``, in order."""

    api: CognitoApi
    http: aiohttp.ClientSession
    guarded: aiohttp.ClientSession
    config: Config
    user_pool: UserPool
    """The one that is examined."""
    findings: list[PoolFinding] = field(default_factory=list)
    providers: dict[str, ActualProvider] = field(default_factory=dict)
    client_secrets: ReadsClientSecrets | None = None
    """Reads those that Secrets Manager keeps."""
    plan: str = "ESSENTIALS"

    async def read(self) -> None:
        """All that is known without changing anything."""
        await self._pool()
        await self._issuer(
            "issuer of the pool", self.user_pool.effective_issuer, "gateway.yaml", self.http
        )
        for provider in self.providers.values():
            await self._provider(provider)
        await self._clients()

    def not_tried(self) -> None:
        """What only a login shows, where there was none."""
        for name in (
            "resumption without identity_provider",
            "resumption with identity_provider",
            "auth_time of a resumed login",
            "refresh token rotation",
        ):
            self.findings.append(unchecked(name, _NOT_ASKED))

    async def _pool(self) -> None:
        try:
            answer = await self.api.call("DescribeUserPool", idempotent=True)
            names = await self._listed("ListIdentityProviders", "Providers", "ProviderName")
            await self._describe_providers(names)
        except GatewayError as error:
            self.findings.append(unchecked("pool", str(error)))
            return
        description = answer["UserPool"]
        self.plan = str(description.get("UserPoolTier", "ESSENTIALS")).upper()
        attributes = shapes.read_attributes(description)
        self.findings += [
            judge.plan(description),
            judge.user_names(description),
            *judge.schema(attributes),
            judge.required(attributes, list(self.providers.values())),
            judge.quota(
                "identity providers",
                len(names),
                self.user_pool.quotas.providers,
                "providers",
            ),
        ]
        if len(names) > AT_MOST:
            note = f"the first {AT_MOST} of {len(names)} were examined"
            self.findings.append(unchecked("other identity providers", note))

    async def _describe_providers(self, names: Sequence[str]) -> None:
        pool = Pool(self.api, self.user_pool.quotas)
        for name in names[:AT_MOST]:
            provider = await pool.provider(name)
            if provider is not None:
                self.providers[name] = provider

    async def _listed(self, operation: str, member: str, name: str) -> list[str]:
        names: list[str] = []
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            answer = await self.api.call(operation, idempotent=True, MaxResults=_PAGE, **more)
            names += [str(item[name]) for item in answer.get(member, ())]
            token = answer.get("NextToken")
            if not token:
                return names

    async def _issuer(self, name: str, issuer: str, who: str, http: aiohttp.ClientSession) -> None:
        url = issuer.removesuffix("/") + _DISCOVERY
        try:
            status, document = await request_json(http, "GET", url, what="discovery")
        except GatewayError as error:
            self.findings.append(unchecked(name, str(error)))
            return
        self.findings.append(
            judge.issuer(name, issuer, document, who=who)
            if status == 200
            else unchecked(name, f"discovery of {issuer} answers {status}")
        )

    async def _provider(self, provider: ActualProvider) -> None:
        name = provider.name
        if provider.type == "OIDC" and (issuer := provider.details.get("oidc_issuer")):
            await self._issuer(f"{name}: issuer", issuer, "the pool", self.guarded)
        self.findings.append(judge.freshness(provider))
        try:
            profiles = await self._profiles(name)
        except GatewayError as error:
            self.findings.append(unchecked(f"{name}: profiles", str(error)))
            return
        for attribute in (IDP_IAT, HD):
            if attribute in provider.mapping:
                self.findings.append(judge.stored(name, profiles, attribute))
        if HD in provider.mapping:
            self.findings.append(judge.absent_hd(name))

    async def _profiles(self, provider: str) -> list[dict[str, str]]:
        profiles: list[dict[str, str]] = []
        for prefix in dict.fromkeys((provider, provider.lower())):
            answer = await self.api.call(
                "ListUsers", idempotent=True, Filter=f'username ^= "{prefix}_"', Limit=PROFILES
            )
            profiles += [
                {str(a.get("Name")): str(a.get("Value", "")) for a in user.get("Attributes", ())}
                for user in answer.get("Users", ())
            ]
        return profiles

    async def _clients(self) -> None:
        pool = Pool(self.api, self.user_pool.quotas, secrets=self.client_secrets)
        logins: list[ActualClient] = []
        try:
            names_by_id = await self._clients_by_name()
            self.findings.append(
                judge.quota(
                    "app clients", len(names_by_id), self.user_pool.quotas.clients, "clients"
                )
            )
            ours = [i for i, name in names_by_id.items() if name.startswith(GATEWAY_PREFIX)]
            for client_id in ours[:AT_MOST]:
                client = await pool.whole_client(client_id)
                if client is None:
                    continue
                self.findings += clients.client_secret(client)
                if client.name.endswith(clients.PASSWORDS_SUFFIX):
                    self.findings += clients.password_client(client)
                    self.findings.append(await self._refused_secret(client))
                else:
                    self.findings += clients.client(client, self.providers)
                    logins.append(client)
            await self._sessions(logins)
        except GatewayError as error:
            self.findings.append(unchecked("app clients", str(error)))
            return
        if len(ours) > AT_MOST:
            note = f"the first {AT_MOST} of {len(ours)} were examined"
            self.findings.append(unchecked("other app clients", note))
        left_over = [name for name in names_by_id.values() if name.startswith(TRIAL_PREFIX)]
        if left_over:
            text = f"{', '.join(left_over)}: left by an interrupted run, deleted with --provision"
            self.findings.append(unexpected("temporary app clients", text))

    async def _sessions(self, logins: Sequence[ActualClient]) -> None:
        reuse = await login_reuse(self.api, self.plan, [c.client_id for c in logins])
        self.findings.append(clients.sessions(reuse))
        for found in logins:
            self.findings += clients.login_reuse(found, reuse)
        if reuse.tracked:
            self.findings.append(clients.ended_sessions())

    async def _refused_secret(self, found: ActualClient) -> PoolFinding:
        """Nobody has this name, and no password is sent that anybody has."""
        if not found.has_secret:
            return clients.refused_secret(found, "it has no client secret")
        nobody = AppClient(found.client_id, Secret(secrets.token_hex(26)))
        login = PasswordLogin(self.http, {nobody.pool: self.user_pool.api_url}, _nobody)
        answer = await login(nobody, Basic(f"nobody-{secrets.token_hex(16)}", _password()))
        if not isinstance(answer, PasswordRefused):
            return clients.refused_secret(found, "InitiateAuth gave no answer")
        return clients.refused_secret(found, answer)

    async def _clients_by_name(self) -> dict[str, str]:
        """Id → name, of all of the pool."""
        names_by_id: dict[str, str] = {}
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            answer = await self.api.call(
                "ListUserPoolClients", idempotent=True, MaxResults=_PAGE, **more
            )
            names_by_id |= {
                str(c["ClientId"]): str(c["ClientName"]) for c in answer["UserPoolClients"]
            }
            token = answer.get("NextToken")
            if not token:
                return names_by_id

    # -- what changes the pool, and changes it back

    @asynccontextmanager
    async def trial(
        self,
        provider: str,
        callback: str,
        *,
        random: Callable[[int], str] = secrets.token_hex,
    ) -> AsyncIterator[TrialClient]:
        """A client for ``provider`` alone, as provisioning makes it; deleted at the end, with those
        that earlier runs left. Raises ``CognitoRejectedError`` and ``UnansweredError``.
        """
        name = f"{TRIAL_PREFIX}{random(6)}"
        try:
            yield await self._made(name, provider, callback)
        finally:
            await self._delete_trials()

    async def _made(self, name: str, provider: str, callback: str) -> TrialClient:
        settings = WantedClient((provider,), (callback,), (callback,))
        request = shapes.create_client(settings, name=name, like=None)
        try:
            client = await self._created(request)
        except CognitoRejectedError as refused:
            if refused.code != "FeatureUnavailableInTierException":
                raise
            text = (
                "the pool's plan has none (FeatureUnavailableInTierException): gateway provision "
            )
            advice = "cannot make app clients here. Move the pool to Essentials"
            self.findings.append(unexpected("rotation in this plan", text + advice))
            client = await self._created(
                {
                    **{k: v for k, v in request.items() if k != "RefreshTokenRotation"},
                    "ExplicitAuthFlows": ["ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
                }
            )
            return TrialClient(client, callback, rotates=False)
        text = "an app client with refresh token rotation was made"
        self.findings.append(judge.verified("rotation in this plan", text))
        return TrialClient(client, callback, rotates=True)

    async def _created(self, request: dict[str, Any]) -> ActualClient:
        answer = await self.api.call("CreateUserPoolClient", idempotent=False, **request)
        return shapes.read_client(answer["UserPoolClient"])

    async def _delete_trials(self) -> None:
        """All of them: one whose creation went unanswered has no id here."""
        pool = Pool(self.api, self.user_pool.quotas)
        try:
            names_by_id = await self._clients_by_name()
            for client_id, name in names_by_id.items():
                if name.startswith(TRIAL_PREFIX):
                    await pool.delete_client(client_id)
        except (CognitoRejectedError, UnansweredError) as error:
            text = f"{error}: delete those whose names begin with {TRIAL_PREFIX} by hand"
            self.findings.append(unexpected("temporary app clients", text))
