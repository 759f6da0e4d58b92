"""``/hooks/okta/{tenant}/{provider}``: Event Hooks. GET is Okta's one-time verification, POST a
delivery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.core.model import ProviderKind
from gateway.hooks.event import DeliveryRejectedError, RejectionReason, Source
from gateway.hooks.receive.delivery import Reception, body, media_type
from gateway.hooks.sources import credential, okta

if TYPE_CHECKING:
    from gateway.core.hook_target import HookTarget

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
        proof = _proof(presented[0], target) if len(presented) == 1 else None
        if proof is None:
            raise DeliveryRejectedError(
                RejectionReason.UNAUTHENTICATED,
                "the Authorization header is not this provider's secret",
            )
        self.reception.proved(target, Source.OKTA, proof)
        media_type(request, {"application/json"})
        await self.reception.accept(request, target, okta.parse_delivery(await body(request)))
        return web.Response(status=200)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(PATH, self.reception.handled(Source.OKTA, self.verify), allow_head=False),
            web.post(PATH, self.reception.handled(Source.OKTA, self.deliver)),
        ]


def _proof(presented: str, target: HookTarget) -> int | None:
    """The secret itself, or as a bearer token: which, by its place."""
    plain = credential.matched(presented, target.secrets)
    token = credential.matched(credential.bearer(presented), target.secrets)
    return token if plain is None else plain
