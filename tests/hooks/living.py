"""The stand-in Okta and Graph, and a gateway's hooks that know them: for what no event told. The
clock is the caller's.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from demo.clock import MovableClock
from demo.cloud import GLOBEX_TENANT_ID, DemoCloud
from demo.net import client_session
from gateway.core.model import Secret
from gateway.database.leader import Leader
from gateway.database.schema import graph_subscriptions
from gateway.hooks.group_names import GroupNames
from gateway.hooks.reconcile.cursors import Cursors
from gateway.hooks.reconcile.directories import Directories, GoogleDirectory
from gateway.hooks.reconcile.fetch import Fetch
from gateway.hooks.reconcile.google_addresses import GoogleAddresses
from gateway.hooks.reconcile.google_channels import GoogleChannels
from gateway.hooks.reconcile.google_client import GoogleClient
from gateway.hooks.reconcile.google_reading import GoogleReading
from gateway.hooks.reconcile.graph_client import GraphClient
from gateway.hooks.reconcile.graph_delta import GraphDelta
from gateway.hooks.reconcile.okta_backfill import OktaBackfill
from gateway.hooks.reconcile.schedule import PLACES, Places, Reconciliation
from gateway.hooks.reconcile.subscriptions import Subscriptions
from tests.hooks.world import entra_target, hooks_world, okta_target
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from demo.idp.directory import Person as Account
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.removal_limit import BrakeLimits
    from tests.hooks.world import World

INTERVAL_S = 300.0


@dataclass
class Living:
    """A cloud with both IdPs, and a gateway's hooks that know them."""

    cloud: DemoCloud
    world: World
    subscriptions: Subscriptions
    delta: GraphDelta
    backfill: OktaBackfill
    google: GoogleReading
    cursors: Cursors
    reconciliation: Reconciliation
    clock: MovableClock

    @property
    def graph(self) -> Any:
        return self.cloud.customers["globex-entra"].graph

    @property
    def okta(self) -> Any:
        return self.cloud.customers["acme-okta"].okta

    def person(self, email: str) -> Account:
        customer = self.cloud.customers[
            "acme-okta" if email.endswith("acme.test") else "globex-entra"
        ]
        found = customer.server.directory.by_email(email)
        assert found is not None
        return found

    def directory(self, name: str) -> Any:
        return self.cloud.customers[name].server.directory

    def group(self, name: str, provider: str) -> Any:
        return next(g for g in self.directory(provider).groups.values() if g.name == name)

    @property
    def entra(self) -> Any:
        return self.world.targets.by_key["globex", "globex-entra"]

    def refused(self) -> set[tuple[str, str]]:
        """(kind, whom) of what stands."""
        return {
            (r.group_overlay or r.kind.value, r.who.idp_subject or r.who.oid or "")
            for r in self.world.revoker.standing
        }

    def schedule(self, places: Places, *, interval_s: float) -> Reconciliation:
        """Another one over the same rooms."""
        leader = Leader(
            self.world.database,
            self.world.committer,
            name="reconciliation",
            holder="one",
            clock=self.clock,
        )
        return Reconciliation(
            leader=leader,
            targets=self.world.targets,
            readers=(self.delta, self.backfill, self.google),
            cursors=self.cursors,
            applier=self.world.applier,
            interval_s=interval_s,
            clock=self.clock,
            places=places,
        )

    def restarted(self) -> Living:
        """Another admin process over the same database: what the first one had in memory is
        gone.
        """
        world, fetch = self.world, Fetch(self.world.http, sleep=at_once)
        graph = GraphClient(fetch, clock=self.clock)
        cursors = Cursors(world.database, world.committer)
        subscriptions = Subscriptions(
            world.database,
            world.committer,
            graph,
            cursors,
            url=self.subscriptions._url,
            clock=self.clock,
        )
        names = GroupNames(world.database)
        made = replace(
            self,
            subscriptions=subscriptions,
            cursors=cursors,
            delta=GraphDelta(
                world.database,
                world.committer,
                graph,
                cursors,
                world.inbox,
                names,
                subscriptions,
                stored=world.applier.wake,
                clock=self.clock,
            ),
            backfill=OktaBackfill(
                fetch,
                world.committer,
                cursors,
                world.inbox,
                names,
                stored=world.applier.wake,
                clock=self.clock,
            ),
        )
        google = GoogleClient(fetch, clock=self.clock)
        made.google = google_reading(world, google, cursors, self.google._channels._url)
        made.reconciliation = made.schedule(PLACES, interval_s=INTERVAL_S)
        return made

    async def round(self) -> None:
        await self.reconciliation.round()
        await self.world.settled()

    async def rows(self) -> dict[str, Any]:
        async with self.world.database.read() as connection:
            return {r.resource: r for r in await connection.execute(select(graph_subscriptions))}


def google_reading(
    world: World, google: GoogleClient, cursors: Cursors, url: str | None
) -> GoogleReading:
    return GoogleReading(
        world.database,
        world.committer,
        google,
        cursors,
        world.inbox,
        GroupNames(world.database),
        GoogleAddresses(world.database),
        GoogleChannels(
            world.database, world.committer, google, cursors, url=url, clock=world.clock
        ),
        stored=world.applier.wake,
        clock=world.clock,
    )


async def at_once(_: float) -> None:
    """Another attempt without the wait before it."""


@contextlib.asynccontextmanager
async def living_hooks(
    database: Database, *, brake: BrakeLimits | None = None
) -> AsyncIterator[Living]:
    """Both stand-ins, the listener, applier and reconciliation over ``database``; the clock moves
    when told.
    """
    clock = MovableClock()
    async with contextlib.AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(DemoCloud(clock=clock, new_key=spare_keys()))
        http: aiohttp.ClientSession = await stack.enter_async_context(client_session())
        fetch = Fetch(http, sleep=at_once)
        graph = GraphClient(fetch, clock=clock)
        rooms: dict[str, Any] = {}

        google = GoogleClient(fetch, clock=clock)

        def ask(committer: GroupCommitter, url: str) -> Directories:
            rooms["url"] = url.replace("127.0.0.1", "gateway.localhost")
            rooms["cursors"] = Cursors(database, committer)
            rooms["subscriptions"] = Subscriptions(
                database,
                committer,
                graph,
                rooms["cursors"],
                url=rooms["url"],
                clock=clock,
            )
            rooms["google"] = GoogleDirectory(
                database, google, rooms["cursors"], GoogleAddresses(database), clock=clock
            )
            return Directories(rooms["subscriptions"], rooms["google"])

        world = await stack.enter_async_context(
            hooks_world(database, http, clock=clock, ask=ask, brake=brake)
        )
        okta, entra = cloud.customers["acme-okta"], cloud.customers["globex-entra"]
        assert okta.okta is not None
        world.targets.by_key = {
            ("acme", "acme-okta"): okta_target(
                okta.issuer,
                api_token=Secret(okta.okta.log.api_token),
                groups_used=frozenset({"app-users", "admins"}),
                allowed_groups=frozenset({"app-users"}),
            ),
            ("globex", "globex-entra"): entra_target(
                issuer=entra.issuer,
                directory_id=GLOBEX_TENANT_ID,
                client_id=entra.app.client_id,
                client_secret=Secret(entra.app.client_secret),
                api_url=entra.server.origin,
                groups_used=frozenset({"app-users"}),
                allowed_groups=frozenset({"app-users"}),
            ),
        }
        delta = GraphDelta(
            database,
            world.committer,
            graph,
            rooms["cursors"],
            world.inbox,
            GroupNames(database),
            rooms["subscriptions"],
            stored=world.applier.wake,
            clock=clock,
        )
        reading = google_reading(world, google, rooms["cursors"], rooms["url"])
        backfill = OktaBackfill(
            fetch,
            world.committer,
            rooms["cursors"],
            world.inbox,
            GroupNames(database),
            stored=world.applier.wake,
            clock=clock,
        )
        leader = Leader(database, world.committer, name="reconciliation", holder="one", clock=clock)
        reconciliation = Reconciliation(
            leader=leader,
            targets=world.targets,
            readers=(delta, backfill, reading),
            cursors=rooms["cursors"],
            applier=world.applier,
            interval_s=INTERVAL_S,
            clock=clock,
        )
        rooms["subscriptions"].wake = rooms["google"].wake = reconciliation.wake
        yield Living(
            cloud,
            world,
            rooms["subscriptions"],
            delta,
            backfill,
            reading,
            rooms["cursors"],
            reconciliation,
            clock,
        )
