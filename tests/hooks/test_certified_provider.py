"""Logout tokens minted by a provider that is not ours: the npm ``oidc-provider``, certified by the
OpenID Foundation.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from demo.net import client_session
from gateway.core.model import ProviderKind
from tests.certified_provider import certified_provider
from tests.hooks.world import hooks_world, okta_target
from tests.support.browserless import Person

if TYPE_CHECKING:
    from gateway.database.engine import Database

PATH = "/hooks/backchannel/initech/initech-oidc"


async def test_signing_out_at_a_certified_provider_ends_the_sessions_here(
    database: Database,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(client_session())
        world = await stack.enter_async_context(hooks_world(database, http))
        person = await stack.enter_async_context(Person())
        client = {
            "client_id": "gateway",
            "client_secret": "s3cret",
            "redirect_uris": [f"{world.url}/back"],
            "backchannel_logout_uri": world.url + PATH,
        }
        certified = await stack.enter_async_context(
            certified_provider(
                clients=[client], accounts={"peter": {"email": "peter@initech.test"}}
            )
        )
        target = okta_target(
            certified.issuer,
            tenant="initech",
            provider="initech-oidc",
            kind=ProviderKind.OIDC,
            client_id="gateway",
        )
        world.targets.by_key[target.key] = target
        query = urlencode(
            {
                "client_id": "gateway",
                "response_type": "code",
                "scope": "openid",
                "redirect_uri": f"{world.url}/back",
                "state": "s",
            }
        )
        await certified.log_in(
            person, await person.open(f"{certified.issuer}/auth?{query}"), "peter"
        )
        confirm = await person.open(f"{certified.issuer}/session/end")
        # The button "Yes, sign me out" carries this; it stands outside the form and belongs to it.
        form = replace(confirm.forms[0], fields={**confirm.forms[0].fields, "logout": "yes"})
        await person.submit(replace(confirm, forms=(form,)))
        await world.until(lambda: bool(world.revoker.calls))
        await world.settled()
        assert world.revoker.said() == [("revoke", "end_sessions", "peter", None)]
        assert await world.states() == [("backchannel-logout", "applied", "")]
