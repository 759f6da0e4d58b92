"""Addresses that pages of the check listener and of ``/_auth/`` link to, made from values alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from gateway.core.model import ProviderKind

if TYPE_CHECKING:
    from gateway.core.model import Provider


def change_address(origin: str, return_to: str) -> str:
    """The form for the e-mail address at a shared host."""
    return (
        f"{origin}/_auth/login?"
        f"{urlencode({k: v for k, v in {'rd': return_to, 'change': '1'}.items() if v})}"
    )


def provider_sign_out(provider: Provider | None) -> str | None:
    """Where the person signs out at the identity provider itself, for those whose address is known.

    Source: Okta, "End a user session" (``/login/signout``); Microsoft identity platform, OpenID
    Connect, "Send a sign-out request".
    """
    if provider is None or provider.issuer is None:
        return None
    parts = urlsplit(provider.issuer)
    if provider.kind is ProviderKind.OKTA:
        return f"{parts.scheme}://{parts.netloc}/login/signout"
    if provider.kind is ProviderKind.ENTRA and parts.path.endswith("/v2.0"):
        return (
            f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/v2.0')}/oauth2/v2.0/logout"
        )
    return None
