"""``/hooks/entra/{tenant}/{provider}`` and ``…/lifecycle``: Microsoft Graph notifications.

Graph slows down and then drops what is answered late or with an error, so whatever is not ours is
answered 202 like the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.core.model import ProviderKind, Secret
from gateway.hooks.event import DeliveryRejectedError, RejectionReason, Source
from gateway.hooks.receive.delivery import Reception, body, media_type
from gateway.hooks.sources import credential, entra

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.core.hook_target import HookTarget
    from gateway.hooks.event import Delivery

PATH = "/hooks/entra/{tenant}/{provider}"


def client_states(target: HookTarget) -> tuple[Secret, ...]:
    """What our subscriptions carry: one for each secret that is accepted."""
    return tuple(
        Secret(credential.client_state(s, tenant=target.tenant, provider=target.provider))
        for s in target.secrets
    )


@dataclass(frozen=True, slots=True)
class EntraRoutes:
    """Notifications of Microsoft Graph."""

    reception: Reception

    def receiver(
        self,
        parse: Callable[..., Delivery],
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def receive(request: web.Request) -> web.Response:
            target = self.reception.target(request, {ProviderKind.ENTRA})
            if "validationToken" in request.query:
                response = _handshake(request)
                self.reception.shook_hands(request, target, Source.ENTRA)
                return response
            states = client_states(target) or (
                Secret(
                    self.reception.lacks(
                        request, target, Source.ENTRA, "the provider has no hook secret"
                    )
                ),
            )
            media_type(request, {"application/json"})
            delivery = parse(
                await body(request), client_states=states, directory_id=target.directory_id
            )
            for proof in delivery.proven_by:
                self.reception.proved(target, Source.ENTRA, proof)
            await self.reception.accept(request, target, delivery)
            return web.Response(status=202)

        return receive

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(
                PATH, self.reception.handled(Source.ENTRA, self.receiver(entra.parse_delivery))
            ),
            web.post(
                f"{PATH}/lifecycle",
                self.reception.handled(Source.ENTRA, self.receiver(entra.parse_lifecycle)),
            ),
        ]


def _handshake(request: web.Request) -> web.Response:
    """The token back, as plain text and nothing else: whatever it holds must not become a page."""
    tokens = request.query.getall("validationToken")
    if len(tokens) != 1:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, "validationToken is repeated")
    text = entra.handshake(tokens[0])
    return web.Response(
        text=text,
        content_type="text/plain",
        headers={"Content-Security-Policy": "default-src 'none'", "Content-Disposition": "inline"},
    )
