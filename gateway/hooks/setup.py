"""For whoever connects a provider: where to send, which events to tick, what is still missing, and
whether anything arrived.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.core.model import POOLS_OWN, ProviderKind
from gateway.hooks.activity import read_activity
from gateway.hooks.sources import okta
from gateway.hooks.sources.credential import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.hook_target import HookTarget
    from gateway.core.model import Secret
    from gateway.database.engine import Database
    from gateway.hooks.activity import ActivityCounter, HookActivity
    from gateway.hooks.api import HookTargets


@dataclass(frozen=True, slots=True)
class SetupInstructions:
    """``addresses`` by sender; ``events`` to tick; ``missing``: keys of the configuration, and what
    each is for. ``tag``: of the secrets that are valid; another one with each change of them.
    """

    tenant: str
    provider: str
    kind: str
    secrets: int
    tag: str
    addresses: tuple[tuple[str, str], ...]
    events: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]


LAST_S = 86_400.0
"""A test is of what was set up today."""


class HookSetup:
    """``url``: the public address of the hooks listener, None where it is not configured;
    ``clock``: UTC epoch seconds.
    """

    def __init__(
        self,
        database: Database,
        counter: ActivityCounter,
        *,
        targets: HookTargets,
        url: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._counter = counter
        self._targets = targets
        self._url = url
        self._clock = clock

    def all_instructions(self, tenant: str) -> Sequence[SetupInstructions]:
        """One for each provider; none where the tenant is not served."""
        return [setup_instructions(target, self._url) for target in self._targets.of(tenant)]

    def instructions(self, tenant: str, provider: str) -> SetupInstructions | None:
        target = self._targets.find(tenant, provider)
        return setup_instructions(target, self._url) if target is not None else None

    async def activity(self, tenant: str, provider: str, *, since: float | None) -> HookActivity:
        """With what this process has counted and not yet written. ``since``: UTC epoch seconds,
        None for the last day.
        """
        await self._counter.flush()
        return await read_activity(
            self._database,
            tenant,
            provider,
            since=self._clock() - LAST_S if since is None else since,
            target=self._targets.find(tenant, provider),
        )


def secrets_tag(tenant: str, provider: str, secrets: Sequence[Secret]) -> str:
    """Tells which they are, and nothing of them."""
    names = [fingerprint(each, tenant=tenant, provider=provider) for each in secrets]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def setup_instructions(target: HookTarget, url: str | None) -> SetupInstructions:
    """``url``: the public address of the hooks listener."""
    base = url or "https://HOOKS-LISTENER"
    where = f"{target.tenant}/{target.provider}"
    addresses = {"scim": f"{base}/scim/v2/{where}"}
    if target.kind not in POOLS_OWN:
        addresses |= {
            "backchannel": f"{base}/hooks/backchannel/{where}",
            "ssf": f"{base}/hooks/ssf/{where}",
        }
    if target.kind in {ProviderKind.OKTA, ProviderKind.OIDC}:
        addresses["universal-logout"] = f"{base}/hooks/universal-logout/{where}"
    if target.kind is ProviderKind.OKTA:
        addresses = {"okta": f"{base}/hooks/okta/{where}", **addresses}
    if target.kind is ProviderKind.ENTRA:
        addresses = {
            "entra": f"{base}/hooks/entra/{where}",
            "entra lifecycle": f"{base}/hooks/entra/{where}/lifecycle",
            **addresses,
        }
    if target.service_account is not None or target.kind is ProviderKind.GOOGLE:
        # Opened by the gateway itself: nobody enters it anywhere.
        addresses = {"google": f"{base}/hooks/google/{where}", **addresses}
    events = tuple(sorted(okta.EFFECTS)) if target.kind is ProviderKind.OKTA else ()
    return SetupInstructions(
        target.tenant,
        target.provider,
        target.kind.value,
        len(target.secrets),
        secrets_tag(target.tenant, target.provider, target.secrets),
        tuple(addresses.items()),
        events,
        tuple(_missing(target, url).items()),
    )


def _missing(target: HookTarget, url: str | None) -> dict[str, str]:
    settings: dict[str, str] = {}
    if url is None:
        settings["hooks.url"] = (
            "the public address of the listener: Graph subscriptions and signed messages name it"
        )
    if not target.secrets:
        settings["providers[].hooks.secrets"] = "how senders prove themselves"
    if target.kind is ProviderKind.OKTA and target.api_token is None:
        settings["providers[].hooks.api_token"] = (
            "reads the System Log for events that never arrived"
        )
    if target.kind is ProviderKind.ENTRA:
        credentials = {
            "directory_id": target.directory_id,
            "client_id": target.client_id,
            "client_secret": target.client_secret,
        }
        settings |= {
            f"providers[].hooks.{name}": (
                "the gateway subscribes at Microsoft Graph and reads the directory with it"
            )
            for name, value in credentials.items()
            if not value
        }
    if target.kind is ProviderKind.GOOGLE and target.service_account is None:
        settings["providers[].hooks.service_account"] = (
            "reads the users and groups of the Workspace directory, and hears of their changes"
        )
    if target.kind in {ProviderKind.OKTA, ProviderKind.OIDC} and target.client_id is None:
        settings["providers[].hooks.client_id"] = (
            "audience of back-channel logout tokens, and this application's assignments"
        )
    return settings
