"""One user pool behind one origin: hosted pages, token endpoints, issuer documents, and the API
that boto speaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import ClientSession, web

from demo.cognito.control.plane import ControlPlane
from demo.cognito.federation import Federation
from demo.cognito.hosted import HostedSide
from demo.cognito.minting import Mint
from demo.cognito.pool import Pool
from demo.cognito.saml import SamlFederation
from demo.cognito.tokens import TokenSide
from demo.faults import Faults
from demo.jose import NewKey, SigningKey

if TYPE_CHECKING:
    from demo.clock import Clock


class Cognito:
    """The server. ``url`` is the pool's domain as browsers and applications see it; ``http``
    reaches the IdPs.
    """

    def __init__(
        self,
        *,
        pool_id: str,
        url: str,
        port: int,
        clock: Clock,
        http: ClientSession,
        new_key: NewKey = SigningKey.generate,
        issuer: str | None = None,
    ) -> None:
        self.url = url
        self.issuer = issuer or f"{url}/{pool_id}"
        """Of the pool's tokens; its documents are served at its path, whatever the host."""
        self.endpoint_url = f"http://127.0.0.1:{port}"
        """Where boto finds the API: by address, since its resolver may not know ``*.localhost``."""
        self.pool = Pool(pool_id, clock, new_key)
        self.faults = Faults()
        self.app = web.Application()
        self.control = ControlPlane(self.pool, http, Mint(self.pool, self.issuer, self.faults))
        self.control.add_routes(self.app)
        federation = Federation(self.pool, http, callback=self.idp_callback)
        self.saml = SamlFederation(self.pool, http, acs=f"{url}/saml2/idpresponse")
        HostedSide(self.pool, federation, self.saml, port=port, faults=self.faults).add_routes(
            self.app
        )
        TokenSide(self.pool, domain=url, issuer=self.issuer, faults=self.faults).add_routes(
            self.app
        )

    @property
    def idp_callback(self) -> str:
        """The redirect URI to register at a customer's IdP."""
        return f"{self.url}/oauth2/idpresponse"
