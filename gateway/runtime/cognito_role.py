"""What the admin role does in Cognito: provisioning, the pools' users kept in step with what is
revoked, tenants between pools.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from gateway.background import background_task, forever
from gateway.cognito.api import open_cognito
from gateway.cognito.client_secrets import ClientSecrets
from gateway.cognito.users import CognitoUsers
from gateway.errors import ConfigError, UnavailableError
from gateway.log import fields
from gateway.provisioning.secret_follower import SecretFollower
from gateway.provisioning.wiring import members_over, onboarding_over
from gateway.revocation.cognito_sync import PoolPeople
from gateway.revocation.disabled_users import SqlDisabledUsers
from gateway.revocation.records import SqlRevocations
from gateway.sessions.watermarks import Watermarks
from gateway.tenants.stale_secrets import take_stale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AsyncExitStack

    from gateway.cognito.api import CognitoApi
    from gateway.config.model import Config
    from gateway.database.leader import Leader
    from gateway.keys.file import KeyFile
    from gateway.provisioning.member_changes import Members
    from gateway.provisioning.service import Onboarding
    from gateway.revocation.across_pools import RevokerAcrossPools
    from gateway.runtime.admin_stores import AdminStores
    from gateway.sessions.api import TenantSource
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.leader import RedisLeader

log = logging.getLogger(__name__)


async def over_cognito(
    config: Config,
    ring: KeyFile,
    redis: RedisClient,
    tenants: TenantSource,
    stores: AdminStores,
    apis: Mapping[str, CognitoApi],
    revoker: RevokerAcrossPools,
    leader: Leader,
    stack: AsyncExitStack,
    *,
    failed_over: Callable[[str], bool],
) -> tuple[Onboarding, Members]:
    """Onboarding, with its recovery of interrupted runs and the end of replaced clients; and the
    pool's users, kept in step.
    """
    secrets_manager = await _followed_secrets(config, redis, stores, stack)
    onboarding = onboarding_over(
        config,
        apis,
        secrets_manager,
        stores.database,
        stores.tenants,
        files=lambda: stores.publisher.file_records,
        in_force=stores.in_force,
        restrictions=revoker,
        failed_over=failed_over,
    )
    await stack.enter_async_context(
        background_task(forever(onboarding.provisioning.recover_forever))
    )
    if len(apis) > 1:
        await stack.enter_async_context(
            background_task(forever(onboarding.pool_move.carry_forever))
        )
        await stack.enter_async_context(
            background_task(forever(onboarding.move_trials.end_forever))
        )
    await stack.enter_async_context(background_task(forever(onboarding.rotation.retire_forever)))
    record, disabled = SqlRevocations(stores.database), SqlDisabledUsers(stores.database)
    people = PoolPeople(
        {name: CognitoUsers(api) for name, api in apis.items()},
        record,
        stores.revoker,
        Watermarks(redis, ring),
        disabled,
        table=lambda: tenants.table,
        clock=stores.database.clock,
        leads=leader.lead,
    )
    stack.push_async_callback(resign, leader)
    await stack.enter_async_context(background_task(forever(people.run)))
    members = members_over(
        onboarding, apis, people, revoker, stores.database, table=lambda: tenants.table
    )
    return onboarding, members


async def _followed_secrets(
    config: Config, redis: RedisClient, stores: AdminStores, stack: AsyncExitStack
) -> ClientSecrets:
    """Reads client secrets in Secrets Manager; those that are known are followed."""
    development = config.cognito.endpoint_url if config.development else None
    secrets_manager = await stack.enter_async_context(ClientSecrets(endpoint_url=development))
    follower = SecretFollower(
        credentials=lambda: stores.publisher.credentials,
        pool_ids={name: pool.user_pool_id for name, pool in config.cognito.all_pools.items()},
        secrets=secrets_manager,
        exchange=stores.tenants.exchange_secret,
        stale=lambda: take_stale(redis),
        exchanged=stores.publisher.wake,
    )
    await stack.enter_async_context(background_task(forever(follower.follow_forever)))
    return secrets_manager


async def open_pools(config: Config, stack: AsyncExitStack) -> Mapping[str, CognitoApi] | None:
    """Of each user pool. None where the AWS SDK is not installed, and then there are no routes that
    need it.
    """
    try:
        return {
            name: await stack.enter_async_context(open_cognito(config, pool=name))
            for name in config.cognito.all_pools
        }
    except ConfigError as error:
        log.warning("provisioning_off", extra=fields(detail=str(error)))
        return None


async def resign(leader: Leader | RedisLeader) -> None:
    with contextlib.suppress(UnavailableError):
        await leader.resign()
