"""The service over real parts: Cognito's API of each pool, the journal, the registry."""

from __future__ import annotations

import ipaddress
import secrets
from typing import TYPE_CHECKING

from gateway.cognito.own_users import OwnUsers
from gateway.cognito.pool import Pool
from gateway.cognito.pools import Pools
from gateway.cognito.users import CognitoUsers
from gateway.errors import UnavailableError
from gateway.provisioning.creations import Creations, interrupted
from gateway.provisioning.discovery import DiscoveryFetcher
from gateway.provisioning.journal import SqlJournal
from gateway.provisioning.member_changes import MemberChanges, Members
from gateway.provisioning.members import MemberDirectory
from gateway.provisioning.move import JournaledPools
from gateway.provisioning.registrar import RegistryOfProvisioning
from gateway.provisioning.runner import Provisioning
from gateway.provisioning.service import Onboarding
from gateway.revocation.across_pools import PersonNames, RevokerAcrossPools
from gateway.revocation.records import SqlRevocations
from gateway.tenants.admin_records import RegistryRecords

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.cognito.api import CognitoApi
    from gateway.cognito.client_secrets import ReadsClientSecrets
    from gateway.config.model import Config
    from gateway.core.model import Tenant
    from gateway.core.tenants import TenantTable
    from gateway.database.engine import Database
    from gateway.provisioning.move import StandingRestrictions
    from gateway.revocation.cognito_sync import PoolPeople
    from gateway.revocation.service import StoreRevoker
    from gateway.sessions.api import Revoker
    from gateway.tenants.database import TenantDatabase
    from gateway.tenants.snapshot_record import Record


def onboarding_over(
    config: Config,
    apis: Mapping[str, CognitoApi],
    secrets_manager: ReadsClientSecrets,
    database: Database,
    tenants: TenantDatabase,
    *,
    files: Callable[[], Mapping[str, Record]],
    in_force: Callable[[str], Awaitable[None]],
    restrictions: StandingRestrictions,
    failed_over: Callable[[str], bool],
) -> Onboarding:
    registrar = RegistryOfProvisioning(tenants, files=files, in_force=in_force)
    journal = SqlJournal(database, holder=secrets.token_hex(8), clock=database.clock)
    provisioning = Provisioning(
        Pools(
            {
                name: Pool(apis[name], pool.quotas, name=name, secrets=secrets_manager)
                for name, pool in config.cognito.all_pools.items()
            },
            failed_over,
        ),
        journal,
        registrar,
        new_run=lambda: secrets.token_hex(6),
        clock=database.clock,
    )
    records = RegistryRecords(tenants, files=files, in_force=in_force)
    return Onboarding(
        config,
        records,
        provisioning,
        discovery_over(config),
        registrar.name_conflict,
        restrictions,
        lambda tenant: interrupted(database, tenant, now=database.clock()),
    )


def revoker_over(
    config: Config,
    apis: Mapping[str, CognitoApi],
    database: Database,
    tenants: TenantDatabase,
    revoker: StoreRevoker,
    *,
    table: Callable[[], TenantTable],
) -> RevokerAcrossPools:
    """``revoker``, for tenants that move from pool to pool. It only reads what provisioning
    writes.
    """

    async def never(_tenant: str) -> None:
        msg = "not for writing"
        raise UnavailableError(msg)

    pools = JournaledPools(
        SqlJournal(database, holder="", clock=database.clock),
        RegistryOfProvisioning(tenants, files=dict, in_force=never),
    )
    users = {name: CognitoUsers(apis[name]) for name in config.cognito.all_pools}
    return RevokerAcrossPools(revoker, SqlRevocations(database), PersonNames(users, pools, table))


def members_over(
    onboarding: Onboarding,
    apis: Mapping[str, CognitoApi],
    people: PoolPeople,
    revoker: Revoker,
    database: Database,
    *,
    table: Callable[[], TenantTable],
) -> Members:
    """Tenants' users of the pools that ``onboarding`` works with."""

    def tenant(name: str) -> Tenant | None:
        return table().by_id(name)

    by_pool = {}
    for name, pool in onboarding.provisioning.pools.by_name.items():
        api = apis[name]
        directory = MemberDirectory(
            pool,
            CognitoUsers(api),
            OwnUsers(api),
            people,
            Creations(database, name, database.clock),
            tenant,
        )
        by_pool[name] = MemberChanges(directory, revoker)
    return Members(by_pool, tenant)


def discovery_over(config: Config) -> DiscoveryFetcher:
    return DiscoveryFetcher(
        development=config.development,
        networks=[ipaddress.ip_network(each) for each in config.hooks.private_networks],
    )
