"""The pool's own kinds of social providers: what Cognito returns, and whose login that is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from demo.cognito.pool import IdentityProvider
from gateway.core.login import Accepted, Refusal, accept
from gateway.core.model import POOLS_OWN, ProviderKind, SocialAccount
from gateway.core.reason import Reason
from tests.core.build import provider, tenant
from tests.support.browserless import Person

if TYPE_CHECKING:
    from demo.cloud import DemoCloud
    from gateway.core.model import Tenant
    from tests.demo.relying_party import RelyingParty

KINDS = {
    ProviderKind.APPLE: {"username": "sub", "email": "email", "email_verified": "email_verified"},
    ProviderKind.FACEBOOK: {"username": "id", "email": "email", "name": "name"},
    ProviderKind.AMAZON: {"username": "user_id", "email": "email", "name": "name"},
}


async def signed_in(cloud: DemoCloud, app: RelyingParty, kind: ProviderKind) -> dict[str, Any]:
    """Claims of somebody with the account 10158, who calls themselves the boss of both tenants."""
    name = POOLS_OWN[kind]
    cloud.cognito.pool.providers[name] = IdentityProvider(
        name,
        {
            "ProviderName": name,
            "ProviderType": name,
            "ProviderDetails": {"client_id": "x"},
            "AttributeMapping": KINDS[kind],
        },
    )
    app.client.settings["SupportedIdentityProviders"].append(name)
    async with Person() as person:
        page = await person.open(app.authorize_url(name))
        filled = {"account": "10158", "email": "boss@hooli.test", "name": "Dana"}
        status, tokens = await app.redeem(await person.submit(page, filled))
    assert status == 200, tokens
    return dict(app.verified(tokens["id_token"]))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_user_has_the_name_of_the_kind_and_of_the_account(
    cloud: DemoCloud, app: RelyingParty, kind: ProviderKind
) -> None:
    claims = await signed_in(cloud, app, kind)
    name = POOLS_OWN[kind]
    assert claims["cognito:username"] == f"{name}_10158"
    (identity,) = claims["identities"]
    assert (identity["userId"], identity["providerName"], identity["providerType"]) == (
        "10158",
        name,
        name,
    )
    assert identity["issuer"] is None
    # Only Apple says anything of the address, and not that it is anybody's here.
    assert claims.get("email_verified", False) is (kind is ProviderKind.APPLE)


def of(name: str, kind: ProviderKind, *accounts: str) -> Tenant:
    listed = {each: SocialAccount(each, f"dana@{name}.test") for each in accounts}
    domains = frozenset({f"{name}.test"})
    entry = replace(provider(f"{name}-x", kind), issuer=None, domains=domains, accounts=listed)
    return tenant(id=name, email_domains=domains, providers=(entry,))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_login_of_one_tenants_account_is_none_of_the_others(
    cloud: DemoCloud, app: RelyingParty, kind: ProviderKind
) -> None:
    """The same user of the pool, with an address of another tenant's domain."""
    claims = await signed_in(cloud, app, kind)
    initech, hooli = of("initech", kind, "10158"), of("hooli", kind, "999")
    pool = cloud.cognito.pool.pool_id
    made = accept(claims, initech, initech.providers[0], pool_id=pool)
    assert isinstance(made, Accepted) and made.identity.email == "dana@initech.test"
    refused = accept(claims, hooli, hooli.providers[0], pool_id=pool)
    assert isinstance(refused, Refusal) and refused.reason is Reason.EMAIL_DOMAIN
    # Listed by both, they are another person at each.
    both = of("hooli", kind, "10158")
    made = accept(claims, both, both.providers[0], pool_id=pool)
    assert isinstance(made, Accepted) and made.identity.email == "dana@hooli.test"
