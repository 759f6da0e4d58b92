"""Who else is meant by what a login says: the same person in another user pool of the tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.cognito.relying_party import Tokens
from gateway.core.login import directory_oid
from gateway.core.model import AppClient, ProviderKind, Secret
from gateway.login.former_sessions import names_elsewhere
from tests.core.build import provider, tenant
from tests.ingress.stand import ACME, TENANTS
from tests.login.test_meanwhile import Rooms, ask

if TYPE_CHECKING:
    from gateway.core.model import PendingLogin, Tenant

OID = "6F2C8F6E-6f0e-4d2b-9a52-0f2b7f9a1c01"


class Denying(Rooms):
    """A SAML provider that says outright that the address is not verified."""

    def __init__(self, **claims: object) -> None:
        super().__init__()
        of_okta = TENANTS[0]["providers"][0]
        saml = {"kind": "saml", "issuer": None, "entity_id": "urn:acme"}
        self.narrow({"providers": [{**of_okta, **saml, "email_trust": "verified_claim"}]})
        self.table = self.newer
        self.claims, self.meant = claims, list[Any]()

    async def end_earlier(self, *_: Any, **more: Any) -> int:
        self.meant.append(more["names"])
        return 0

    async def unlink(self, *_: Any, **more: Any) -> None:
        self.meant.append(more["names"])

    async def exchange(self, tenant: Tenant, pending: PendingLogin, *, code: str) -> Tokens:
        found = await super().exchange(tenant, pending, code=code)
        return Tokens({**found.claims, "email_verified": False, **self.claims}, None)


@pytest.mark.parametrize(
    ("claims", "names"),
    [
        ({"custom:oid": OID}, (("idp_subject", "x"), ("oid", OID.lower()))),
        ({}, (("idp_subject", "x"),)),
        ({"custom:oid": ""}, (("idp_subject", "x"),)),
    ],
)
async def test_a_login_that_is_denied_speaks_of_the_directorys_own_name_and_of_no_address(
    claims: dict[str, object], names: tuple[tuple[str, str], ...]
) -> None:
    rooms = Denying(**claims)
    await ask(rooms, "/_auth/callback?state=state&code=code", host=ACME)
    assert rooms.meant == [names, names]


def test_where_the_subject_is_the_same_in_every_pool_nothing_else_is_asked() -> None:
    left = AppClient("former", Secret("s"), 2e9, "b")
    moved = tenant(retired=(left,))
    said = {"idp_subject": "x", "email": "a@acme.test", "oid": "o"}
    okta, saml = (provider(kind=kind) for kind in (ProviderKind.OKTA, ProviderKind.SAML))
    assert names_elsewhere(moved, okta, **said) == (("idp_subject", "x"),)
    assert names_elsewhere(moved, saml, **said) == (
        ("idp_subject", "x"),
        ("oid", "o"),
        ("email", "a@acme.test"),
    )
    assert directory_oid({"custom:oid": 7}) == ""
