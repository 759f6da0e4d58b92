"""What a customer's administrator needs to set up the hooks of one provider, and what is still
missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.core.model import ProviderKind
from gateway.hooks.sources import okta

if TYPE_CHECKING:
    from gateway.core.hook_target import HookTarget


@dataclass(frozen=True, slots=True)
class Setup:
    """``addresses`` by sender; ``events`` to tick; ``missing``: keys of the configuration, and what
    each is for.
    """

    tenant: str
    provider: str
    kind: str
    secrets: int
    addresses: tuple[tuple[str, str], ...]
    events: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]


def setup(target: HookTarget, url: str | None) -> Setup:
    """``url``: the public address of the hooks listener."""
    base = url or "https://HOOKS-LISTENER"
    where = f"{target.tenant}/{target.provider}"
    addresses = {"scim": f"{base}/scim/v2/{where}"}
    if target.kind is not ProviderKind.COGNITO:
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
    events = tuple(sorted(okta.EFFECTS)) if target.kind is ProviderKind.OKTA else ()
    return Setup(
        target.tenant,
        target.provider,
        target.kind.value,
        len(target.secrets),
        tuple(addresses.items()),
        events,
        tuple(_missing(target, url).items()),
    )


def _missing(target: HookTarget, url: str | None) -> dict[str, str]:
    found: dict[str, str] = {}
    if url is None:
        found["hooks.url"] = (
            "the public address of the listener: Graph subscriptions and signed messages name it"
        )
    if not target.secrets:
        found["providers[].hooks.secrets"] = "how senders prove themselves"
    if target.kind is ProviderKind.OKTA and target.api_token is None:
        found["providers[].hooks.api_token"] = "reads the System Log for events that never arrived"
    if target.kind is ProviderKind.ENTRA:
        needed = {
            "directory_id": target.directory_id,
            "client_id": target.client_id,
            "client_secret": target.client_secret,
        }
        found |= {
            f"providers[].hooks.{name}": (
                "the gateway subscribes at Microsoft Graph and reads the directory with it"
            )
            for name, value in needed.items()
            if not value
        }
    if target.kind in {ProviderKind.OKTA, ProviderKind.OIDC} and target.client_id is None:
        found["providers[].hooks.client_id"] = (
            "audience of back-channel logout tokens, and this application's assignments"
        )
    return found
