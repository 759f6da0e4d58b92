"""``/hooks/okta/{tenant}/{provider}``: Event Hooks. GET is Okta's one-time verification, POST a
delivery.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from gateway.core.model import ProviderKind
from gateway.hooks.event import DeliveryRejectedError, RejectionReason, Source
from gateway.hooks.receive.delivery import Reception, body, media_type
from gateway.hooks.sources import credential, okta

PATH = "/hooks/okta/{tenant}/{provider}"


@dataclass(frozen=True, slots=True)
class OktaRoutes:
    """Okta event hooks."""

    reception: Reception

    async def verify(self, request: web.Request) -> web.Response:
        target = self.reception.target(request, {ProviderKind.OKTA})
        answer = okta.verification(request.headers.get("X-Okta-Verification-Challenge", ""))
        self.reception.shook_hands(request, target, Source.OKTA)
        return web.json_response(answer)

    async def deliver(self, request: web.Request) -> web.Response:
        target = self.reception.target(request, {ProviderKind.OKTA})
        presented = request.headers.getall("Authorization", [])
        if len(presented) != 1 or not (
            credential.matches(presented[0], target.secrets)
            or credential.matches(credential.bearer(presented[0]), target.secrets)
        ):
            raise DeliveryRejectedError(
                RejectionReason.UNAUTHENTICATED,
                "the Authorization header is not this provider's secret",
            )
        media_type(request, {"application/json"})
        await self.reception.accept(request, target, okta.parse_delivery(await body(request)))
        return web.Response(status=200)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(PATH, self.reception.handled(Source.OKTA, self.verify), allow_head=False),
            web.post(PATH, self.reception.handled(Source.OKTA, self.deliver)),
        ]
