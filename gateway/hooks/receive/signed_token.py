"""Signed messages: Universal Logout, OpenID back-channel logout, security event tokens. Each
answers as its specification says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.core.model import ProviderKind
from gateway.hooks.event import Delivery, DeliveryRejectedError, RejectionReason, Source
from gateway.hooks.issuer_keys import IssuerConfigError, Signers
from gateway.hooks.receive.delivery import MAX_TOKEN_BYTES, Reception, body, media_type
from gateway.hooks.receive.outcomes import STATUS
from gateway.hooks.sources import backchannel_logout as backchannel
from gateway.hooks.sources import credential, ssf, universal_logout
from gateway.hooks.sources.signed_token import UnknownKeyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.hook_target import HookTarget

FEDERATED = frozenset({ProviderKind.OKTA, ProviderKind.ENTRA, ProviderKind.OIDC})
_SET_ERRORS = {
    RejectionReason.UNAUTHENTICATED: "authentication_failed",
    RejectionReason.KEY: "invalid_key",
    RejectionReason.ISSUER: "invalid_issuer",
    RejectionReason.AUDIENCE: "invalid_audience",
}
"""RFC 8935 §2.4; everything else is ``invalid_request``."""


@dataclass(frozen=True, slots=True)
class SignedTokenRoutes:
    """Messages that their issuer signed: logout tokens and security events."""

    reception: Reception

    async def verified(
        self,
        request: web.Request,
        target: HookTarget,
        source: Source,
        parse: Callable[[Signers], Delivery],
    ) -> Delivery:
        """Parse with the issuer's keys; with fresh ones if the message names a key that is not
        among them. Raises ``UnavailableError``.
        """
        keys = self.reception.services.keys
        try:
            return parse(await keys.signers(target))
        except UnknownKeyError:
            signers = await keys.signers(target, again=True)
        try:
            return parse(signers)
        except UnknownKeyError:
            if isinstance(signers.missing, IssuerConfigError):
                self.reception.lacks(request, target, source, str(signers.missing))
            elif signers.missing is not None:
                raise signers.missing from None
            raise

    async def logout(self, request: web.Request) -> web.Response:
        target = self.reception.target(request, {ProviderKind.OKTA, ProviderKind.OIDC})
        token = credential.bearer(request.headers.get("Authorization", ""))
        endpoint = target.audience or self.reception.endpoint(request)
        if not token or not endpoint:
            raise DeliveryRejectedError(
                RejectionReason.UNAUTHENTICATED,
                "no bearer token"
                if not token
                else "hooks.url is not configured, so no token can be for this address",
            )
        media_type(request, {"application/json"})
        raw = await body(request, limit=MAX_TOKEN_BYTES)
        delivery = await self.verified(
            request,
            target,
            Source.UNIVERSAL_LOGOUT,
            lambda by: universal_logout.parse_delivery(
                raw,
                token=token,
                keys=by.keys,
                issuers=by.issuers,
                endpoint=endpoint,
                client_id=target.client_id,
                now=self.reception.services.clock(),
            ),
        )
        await self.reception.accept(request, target, delivery)
        return web.Response(status=204)

    async def backchannel_logout(self, request: web.Request) -> web.Response:
        target = self.reception.target(request, FEDERATED)
        audiences = frozenset(a for a in (target.client_id, target.audience) if a)
        audiences = audiences or frozenset(
            {
                self.reception.lacks(
                    request, target, Source.BACKCHANNEL, "hooks.client_id is not configured"
                )
            }
        )
        media_type(request, {"application/x-www-form-urlencoded"})
        raw = await body(request, limit=MAX_TOKEN_BYTES)
        delivery = await self.verified(
            request,
            target,
            Source.BACKCHANNEL,
            lambda by: backchannel.parse_delivery(
                raw,
                keys=by.keys,
                issuers=by.issuers,
                audiences=audiences,
                now=self.reception.services.clock(),
            ),
        )
        await self.reception.accept(request, target, delivery)
        return web.Response(status=200)

    async def security_event(self, request: web.Request) -> web.Response:
        target = self.reception.target(request, FEDERATED)
        audiences = frozenset(a for a in (target.audience, self.reception.endpoint(request)) if a)
        audiences = audiences or frozenset(
            {
                self.reception.lacks(
                    request,
                    target,
                    Source.SSF,
                    "neither hooks.audience nor hooks.url is configured",
                )
            }
        )
        if target.secrets and "Authorization" in request.headers:
            # RFC 8935 leaves it open whether a transmitter authenticates; if it tries, it must be
            # right.
            bearer_token = credential.bearer(request.headers["Authorization"])
            proof = credential.matched(bearer_token, target.secrets)
            if proof is None:
                raise DeliveryRejectedError(
                    RejectionReason.UNAUTHENTICATED,
                    "the Authorization header is not this provider's secret",
                )
            self.reception.proved(target, Source.SSF, proof)
        media_type(request, {"application/secevent+jwt"})
        raw = await body(request, limit=MAX_TOKEN_BYTES)
        delivery = await self.verified(
            request,
            target,
            Source.SSF,
            lambda by: ssf.parse_delivery(
                raw,
                keys=by.keys,
                issuers=by.issuers,
                audiences=audiences,
                now=self.reception.services.clock(),
                entra=target.kind is ProviderKind.ENTRA,
            ),
        )
        await self.reception.accept(request, target, delivery)
        return web.Response(status=202)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(
                "/hooks/universal-logout/{tenant}/{provider}",
                self.reception.handled(Source.UNIVERSAL_LOGOUT, self.logout),
            ),
            web.post(
                "/hooks/backchannel/{tenant}/{provider}",
                self.reception.handled(
                    Source.BACKCHANNEL, self.backchannel_logout, _backchannel_refused
                ),
            ),
            web.post(
                "/hooks/ssf/{tenant}/{provider}",
                self.reception.handled(Source.SSF, self.security_event, _set_refused),
            ),
        ]


def _backchannel_refused(error: DeliveryRejectedError) -> web.Response:
    # OpenID Connect Back-Channel Logout 1.0 §2.8
    return web.json_response(
        {"error": "invalid_request", "error_description": error.reason.value},
        status=STATUS[error.reason]
        if error.reason in {RejectionReason.TOO_LARGE, RejectionReason.CONTENT_TYPE}
        else 400,
    )


def _set_refused(error: DeliveryRejectedError) -> web.Response:
    code = _SET_ERRORS.get(error.reason, "invalid_request")
    return web.json_response(
        {"err": code, "description": error.reason.value},
        status=413 if error.reason is RejectionReason.TOO_LARGE else 400,
    )
