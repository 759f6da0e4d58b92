"""The hooks' part of the composition root: inbox, applier, reconciliation, outgoing webhooks and
their listener. Admin role only.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.background import background_task, forever
from gateway.database.group_commit import GroupCommitter
from gateway.database.leader import Leader
from gateway.hooks.activity import ActivityCounter
from gateway.hooks.applier import Applier
from gateway.hooks.coverage_records import CoverageRecords
from gateway.hooks.deliveries import InboxRecords
from gateway.hooks.group_names import GroupNames
from gateway.hooks.inbox import Inbox
from gateway.hooks.issuer_keys import IssuerKeys
from gateway.hooks.operator_actions import ByHand
from gateway.hooks.people_register import PeopleRegister
from gateway.hooks.receive import application
from gateway.hooks.receive.services import HookServices
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
from gateway.hooks.reconcile.schedule import Reconciliation
from gateway.hooks.reconcile.subscriptions import Subscriptions
from gateway.hooks.removal_limit import Brake, BrakeLimits
from gateway.hooks.retention import Retention
from gateway.hooks.scim.store import ScimStore
from gateway.hooks.scim.usage import ScimLimits
from gateway.hooks.setup import HookSetup
from gateway.hooks.sign_in_recorder import SignInRecorder
from gateway.hooks.webhooks.messages import OutboxRecords
from gateway.hooks.webhooks.outbox import Outbox
from gateway.http.ssrf_guard import guarded_session
from gateway.revocation.records import SqlRevocations

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from contextlib import AsyncExitStack

    from aiohttp import web

    from gateway.config.model import Config
    from gateway.database.engine import Database
    from gateway.hooks.api import HookTargets, People
    from gateway.sessions.api import Revoker
    from gateway.sessions.sign_ins import SignIns


@dataclass(frozen=True, slots=True)
class HookRole:
    """What the hooks add to a process: the listener's application, and the admin API's view of the
    inbox.
    """

    app: web.Application
    deliveries: InboxRecords
    setup: HookSetup
    messages: OutboxRecords
    people: PeopleRegister
    leader: Callable[[str], Leader]
    """Which of several admin processes does the periodic work of a name."""
    committer: GroupCommitter
    outbox: Outbox
    graph: GraphClient
    coverage: CoverageRecords


async def hook_role(
    config: Config,
    database: Database,
    *,
    targets: HookTargets,
    revoker: Revoker,
    people: People,
    sign_ins: SignIns,
    tenants: Callable[[], Collection[str]],
    leads: Callable[[], Awaitable[bool]],
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    stack: AsyncExitStack,
) -> HookRole:
    """Build and start. What begins last ends first: the listener is the caller's and closes before
    any of this.
    """
    holder = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
    committer = GroupCommitter(database)
    await stack.enter_async_context(committer.running())
    http = await stack.enter_async_context(
        guarded_session(
            development=config.development,
            networks=[ipaddress.ip_network(n) for n in config.hooks.private_networks],
        )
    )
    inbox = Inbox(database, committer, holder=holder)
    register = PeopleRegister(database)
    outbox = Outbox(database, committer, targets=targets, http=http, clock=clock, register=register)
    url = config.hooks.url.rstrip("/") if config.hooks.url is not None else None
    fetch = Fetch(http)
    graph = GraphClient(fetch, clock=clock)
    cursors = Cursors(database, committer)
    names = GroupNames(database)
    subscriptions = Subscriptions(database, committer, graph, cursors, url=url, clock=clock)
    google = GoogleClient(fetch, clock=clock)
    addresses = GoogleAddresses(database)
    google_directory = GoogleDirectory(database, google, cursors, addresses, clock=clock)
    quota = config.hooks.scim
    scim = ScimStore(
        database,
        committer,
        inbox,
        clock=clock,
        limits=ScimLimits(
            users=quota.users,
            groups=quota.groups,
            members=quota.members,
            bytes=quota.megabytes * 1024 * 1024,
        ),
        wants=outbox.wants,
    )
    limits = config.hooks.mass_removal
    brake = Brake(
        database,
        BrakeLimits(people=limits.people, percent=limits.percent, unknown=limits.unknown),
        clock=clock,
    )
    applier = Applier(
        inbox,
        committer,
        names=names,
        records=scim.people,
        targets=targets,
        revoker=revoker,
        people=people,
        directory=Directories(subscriptions, google_directory),
        outbox=outbox,
        clock=clock,
        brake=brake,
    )
    readers = (
        GraphDelta(
            database,
            committer,
            graph,
            cursors,
            inbox,
            names,
            subscriptions,
            stored=applier.wake,
            clock=clock,
        ),
        OktaBackfill(fetch, committer, cursors, inbox, names, stored=applier.wake, clock=clock),
        GoogleReading(
            database,
            committer,
            google,
            cursors,
            inbox,
            names,
            addresses,
            GoogleChannels(database, committer, google, cursors, url=url, clock=clock),
            stored=applier.wake,
            clock=clock,
        ),
    )
    interval_s = config.hooks.reconcile_interval.total_seconds()
    reconciliation = Reconciliation(
        leader=Leader(database, committer, name="reconciliation", holder=holder, clock=clock),
        targets=targets,
        readers=readers,
        cursors=cursors,
        applier=applier,
        interval_s=interval_s,
        clock=clock,
    )
    subscriptions.wake = google_directory.wake = reconciliation.wake
    activity_counter = ActivityCounter(database, committer, clock=clock)
    covering = Leader(database, committer, name="coverage", holder=holder, clock=clock)
    covered = CoverageRecords(
        database, targets=targets, interval_s=interval_s, leads=covering.lead, clock=clock
    )
    by_hand = ByHand(
        SqlRevocations(database),
        committer,
        inbox,
        outbox,
        targets=targets,
        people=people,
        stored=applier.wake,
        clock=clock,
    )
    for room in (
        activity_counter,
        outbox,
        applier,
        by_hand,
        SignInRecorder(
            sign_ins, register, committer, outbox, tenants=tenants, leads=leads, clock=clock
        ),
        reconciliation,
        covered,
        Retention(committer, clock=clock),
    ):
        await stack.enter_async_context(room.running())
    forgetting = partial(google.forget_forever, targets)
    await stack.enter_async_context(background_task(forever(forgetting)))
    services = HookServices(
        targets=targets,
        accept=applier.accept,
        scim=scim,
        keys=IssuerKeys(http, monotonic=monotonic),
        activity_counter=activity_counter,
        stored=applier.wake,
        url=url,
        clock=clock,
    )
    setup = HookSetup(database, activity_counter, targets=targets, url=url, clock=clock)
    return HookRole(
        application(services),
        InboxRecords(database, committer, clock=clock, wake=applier.wake),
        setup,
        OutboxRecords(database, committer, clock=clock, wake=outbox.wake),
        register,
        leader=lambda name: Leader(database, committer, name=name, holder=holder, clock=clock),
        committer=committer,
        outbox=outbox,
        graph=graph,
        coverage=covered,
    )
