"""One look at one provider: whether its metadata or discovery document can be used, and when what
the connection hangs on ends.

Rules:
- What somebody wrote into the document counts where nobody can be asked; what Microsoft Graph says
  of an application's secrets counts before that.
- What could not be found out is ``unknown``: what was known of it stays, and counts before what
  the document says.
- Signing certificates that differ from those of the last look are Cognito's to read at once, since
  it keeps metadata for up to six hours; the gateway only has it read them (``reload``).
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Protocol

from gateway.cognito.api import CognitoRejectedError
from gateway.core.expiry import Credential
from gateway.core.model import DEFAULT_POOL, ProviderKind, Secret
from gateway.errors import PeerError, UnavailableError
from gateway.log import fields
from gateway.metrics import SECRET_EXPIRY_UNREADABLE, tenant_label
from gateway.provisioning.saml_metadata import MetadataError, SamlMetadata, read_metadata

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.cognito.desired import ActualProvider
    from gateway.core.hook_target import HookTarget
    from gateway.provisioning.discovery import DiscoveryFetcher
    from gateway.tenants.document import ProviderDocument

_log = logging.getLogger(__name__)
Certificates = tuple[tuple[str, float], ...]
"""Fingerprint and end (UTC epoch seconds) of each."""


@dataclass(frozen=True, slots=True)
class Look:
    """``problem``: why nobody can sign in, or soon will not, in a sentence. ``asked`` False: there
    is nobody to ask. ``certificates`` None: there are none, or they are not known.
    """

    problem: str = ""
    asked: bool = True
    expiries: Mapping[Credential, float] = field(default_factory=dict)
    unknown: frozenset[Credential] = frozenset()
    certificates: Certificates | None = None
    exchanged: bool = False
    """Other certificates than at the last look, and Cognito has been told."""


class ReadsPool(Protocol):
    async def provider(self, name: str) -> ActualProvider | None: ...


class ReadsSecrets(Protocol):
    """A directory that knows when its applications' secrets end."""

    async def secret_expiry(
        self, target: HookTarget, app_id: str, secret: Secret
    ) -> float | None: ...


class Looker:
    """``pool``: by its name; None: there is no AWS SDK. ``reload``: of tenant, provider and
    name of the pool, whether Cognito took the metadata. ``clock``: UTC epoch seconds.
    """

    def __init__(
        self,
        discovery: DiscoveryFetcher,
        directory: ReadsSecrets,
        *,
        pool: Callable[[str], ReadsPool] | None,
        reload: Callable[[str, str, str], Awaitable[bool]],
        development: bool,
        clock: Callable[[], float],
    ) -> None:
        self._discovery, self._directory, self._pool = discovery, directory, pool
        self._reload, self._development, self._clock = reload, development, clock

    async def look(
        self,
        provider: ProviderDocument,
        target: HookTarget,
        known: Certificates | None,
        *,
        pool: str = DEFAULT_POOL,
    ) -> Look:
        """``known``: the certificates of the last look; ``pool``: in which the tenant lives. Raises
        ``UnavailableError`` where the pool does not answer: that is not the provider's fault.
        """
        if provider.kind is ProviderKind.SAML:
            look = await self._saml(provider, target.tenant, known, pool)
        elif provider.issuer is not None:
            look = Look(await self._discovered(provider.issuer))
        else:
            look = Look(asked=False)
        secrets, unknown = await self._secrets(provider, target, pool)
        return Look(
            look.problem,
            look.asked,
            {**secrets, **look.expiries},
            look.unknown | unknown,
            look.certificates,
            look.exchanged,
        )

    async def _discovered(self, issuer: str) -> str:
        try:
            await self._discovery.fetch(issuer)
        except PeerError as error:
            return str(error)
        return ""

    # --- SAML ---

    async def _saml(
        self, provider: ProviderDocument, tenant: str, known: Certificates | None, pool: str
    ) -> Look:
        unknown = frozenset({Credential.SAML_CERTIFICATE})
        if self._pool is None:
            return Look(asked=False, unknown=unknown)
        pool_provider = await self._in_pool(provider.name, pool)
        if pool_provider is None:
            return Look(f"provider {provider.name} is not in the user pool", unknown=unknown)
        url = pool_provider.details.get("MetadataURL")
        try:
            metadata = await self._metadata(url, pool_provider.details.get("MetadataFile", ""))
        except (PeerError, MetadataError) as error:
            return Look(str(error), unknown=unknown, certificates=known)
        return await self._compared(provider, tenant, metadata, known, reload=pool if url else "")

    async def _in_pool(self, name: str, pool: str) -> ActualProvider | None:
        if self._pool is None:
            return None
        try:
            return await self._pool(pool).provider(name)
        except CognitoRejectedError as refused:
            msg = f"Cognito does not show provider {name}: {refused}"
            raise UnavailableError(msg) from refused

    async def _metadata(self, url: str | None, file: str) -> SamlMetadata:
        text = await self._discovery.fetch_metadata(url) if url else file
        # The end of a certificate is told apart from metadata that cannot be used.
        return read_metadata(text, now=0, development=self._development)

    async def _compared(
        self,
        provider: ProviderDocument,
        tenant: str,
        metadata: SamlMetadata,
        known: Certificates | None,
        *,
        reload: str,
    ) -> Look:
        certificates = tuple(
            sorted(
                (each.fingerprint, each.expires_at.timestamp()) for each in metadata.certificates
            )
        )
        ends = {Credential.SAML_CERTIFICATE: metadata.expires_at.timestamp()}
        if metadata.entity_id != provider.entity_id:
            return Look(
                "the metadata name another entityID than the tenant's document; if that is meant, "
                "provision the tenant again",
                expiries=ends,
                certificates=known,
            )
        if ends[Credential.SAML_CERTIFICATE] <= self._clock():
            return Look(
                "a signing certificate of the metadata has expired, and Cognito refuses such "
                "metadata",
                expiries=ends,
                certificates=known,
            )
        exchanged = False
        if reload and known is not None and known != certificates:
            exchanged = await self._reload(tenant, provider.name, reload)
            if not exchanged:
                # Remembered as they were: the next look tries again.
                return Look(expiries=ends, certificates=known)
        return Look(expiries=ends, certificates=certificates, exchanged=exchanged)

    # --- secrets ---

    async def _secrets(
        self, provider: ProviderDocument, target: HookTarget, pool: str
    ) -> tuple[dict[Credential, float], frozenset[Credential]]:
        dates = {
            Credential.CLIENT_SECRET: provider.secret_expires,
            Credential.HOOK_SECRET: provider.hooks.secrets_expire,
            Credential.DIRECTORY_SECRET: provider.hooks.client_secret_expires,
        }
        ends = {name: _begin_of(day) for name, day in dates.items() if day is not None}
        unknown: set[Credential] = set()
        if provider.kind is ProviderKind.ENTRA and target.directory_id and target.client_secret:
            for credential, app_id, secret in await self._registered(provider, target, pool):
                try:
                    expiry = await self._directory.secret_expiry(target, app_id, secret)
                except UnavailableError:
                    unknown.add(credential)
                    continue
                except PeerError as error:
                    # It may not read applications, or the secret has ended: what was said counts.
                    SECRET_EXPIRY_UNREADABLE.labels(tenant_label(target.tenant)).inc()
                    _log.warning(
                        "secret_expiry_unreadable",
                        extra=fields(
                            tenant=target.tenant,
                            provider=provider.name,
                            credential=credential.value,
                            code=error.code,
                            error=str(error),
                            document=credential in ends,
                        ),
                    )
                    continue
                if expiry is not None:
                    ends[credential] = expiry
        return ends, frozenset(unknown)

    async def _registered(
        self, provider: ProviderDocument, target: HookTarget, pool: str
    ) -> list[tuple[Credential, str, Secret]]:
        """Applications at Entra whose secrets the gateway can ask about, and the secret in use."""
        applications, pool_provider = [], None
        if target.client_id and target.client_secret:
            applications.append(
                (Credential.DIRECTORY_SECRET, target.client_id, target.client_secret)
            )
        with contextlib.suppress(
            UnavailableError
        ):  # the other secret can be asked about all the same
            pool_provider = await self._in_pool(provider.name, pool)
        if pool_provider is not None and pool_provider.details.get("client_secret"):
            secret = Secret(pool_provider.details["client_secret"])
            applications.append(
                (Credential.CLIENT_SECRET, pool_provider.details.get("client_id", ""), secret)
            )
        return applications


def _begin_of(day: date) -> float:
    """UTC epoch seconds."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
