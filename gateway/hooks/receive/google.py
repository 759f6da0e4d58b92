"""``/hooks/google/{tenant}/{provider}``: push notifications of Google's Directory API.

Google repeats what is answered 500, 502, 503 or 504 and drops everything else, so whatever is ours
and cannot be used is answered 200 like the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.core.model import GOOGLE_DIRECTORY_KINDS, Secret
from gateway.hooks.event import DeliveryRejectedError, RejectionReason, Source
from gateway.hooks.receive.delivery import Reception, body
from gateway.hooks.sources import credential, google

if TYPE_CHECKING:
    from gateway.core.hook_target import HookTarget

PATH = "/hooks/google/{tenant}/{provider}"
MAX_BODY_BYTES: Final = 64 * 1024
"""One user's id, etag and address."""
MAX_CHANNEL: Final = 64
"""Characters of a channel's id, by Google's own rule."""


@dataclass(frozen=True, slots=True)
class GoogleRoutes:
    """Notifications of Google's Directory API."""

    reception: Reception

    async def deliver(self, request: web.Request) -> web.Response:
        target = self.reception.target(request, GOOGLE_DIRECTORY_KINDS)
        self.reception.proved(target, Source.GOOGLE, self._prove(request, target))
        if request.headers.get("X-Goog-Resource-State") == google.SYNC:
            self.reception.shook_hands(request, target, Source.GOOGLE)
            return web.Response(status=200)
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DeliveryRejectedError(RejectionReason.CONTENT_TYPE, "send application/json")
        delivery = google.parse_delivery(request.headers, await body(request, limit=MAX_BODY_BYTES))
        await self.reception.accept(request, target, delivery)
        return web.Response(status=200)

    def _prove(self, request: web.Request, target: HookTarget) -> int:
        """By which secret, its place. Raises unless the token is this channel's, of this tenant and
        provider.
        """
        channels = request.headers.getall("X-Goog-Channel-ID", [])
        tokens = request.headers.getall("X-Goog-Channel-Token", [])
        channel = channels[0] if len(channels) == 1 and len(channels[0]) <= MAX_CHANNEL else ""
        secrets = target.secrets if target.service_account is not None else ()
        if not secrets:
            secrets = (
                Secret(
                    self.reception.lacks(
                        request,
                        target,
                        Source.GOOGLE,
                        "the provider has no hook secret, or no service account",
                    )
                ),
            )
        expected_tokens = [
            Secret(
                credential.channel_token(
                    secret, tenant=target.tenant, provider=target.provider, channel=channel
                )
            )
            for secret in secrets
        ]
        token = tokens[0] if len(tokens) == 1 and channel else ""
        proof = credential.matched(token, expected_tokens)
        if proof is None:
            raise DeliveryRejectedError(
                RejectionReason.UNAUTHENTICATED,
                "X-Goog-Channel-Token is not that of a channel of this provider",
            )
        return proof

    def routes(self) -> list[web.RouteDef]:
        return [web.post(PATH, self.reception.handled(Source.GOOGLE, self.deliver))]
