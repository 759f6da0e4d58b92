"""A whole onboarding bench: the stand-in cloud, SQL, the registry and the service over them, in one
process.
"""

from __future__ import annotations

import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from demo.cloud import DemoCloud
from gateway.cognito.api import open_cognito
from gateway.cognito.client_secrets import ClientSecrets
from gateway.cognito.pool import Pool
from gateway.cognito.pools import Pools
from gateway.config.model import Config
from gateway.database.engine import Database, open_database
from gateway.errors import UnavailableError
from gateway.keys import ring as keys
from gateway.provisioning.creations import interrupted
from gateway.provisioning.discovery import DiscoveryFetcher
from gateway.provisioning.journal import SqlJournal
from gateway.provisioning.registrar import RegistryOfProvisioning
from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.runner import Provisioning, Timing
from gateway.provisioning.service import Onboarding
from gateway.tenants.admin_records import RegistryRecords
from gateway.tenants.database import TenantDatabase
from tests.database.template import embedded_database
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from gateway.provisioning.credentials import Registrar
    from gateway.provisioning.runner import Outcome
    from gateway.provisioning.runs import Journal
    from gateway.tenants.snapshot_record import Record

VISIBLE_S = 0.4
READ_S = 0.5
TIMING = Timing(visible_s=VISIBLE_S, beat_s=0.2, recover_every_s=0.1)


def config_for(
    state_dir: Path,
    *,
    endpoint_url: str,
    domain: str,
    issuer: str,
    pool_id: str,
    pools: Mapping[str, object] | None = None,
    **more: object,
) -> Config:
    document: dict[str, object] = {
        "development": True,
        "public_scheme": "http",
        "ingress": {"trusted_proxies": ["127.0.0.1/32"]},
        "cognito": {
            "region": "eu-north-1",
            "user_pool_id": pool_id,
            "domain": domain,
            "issuer": issuer,
            "endpoint_url": endpoint_url,
            "pools": pools or {},
        },
        "state_dir": str(state_dir),
        **more,
    }
    return Config(**document)  # type: ignore[arg-type]  # the settings class validates untyped input


@dataclass(slots=True)
class Gate:
    """In-force waits, counted."""

    waited: int = 0

    async def __call__(self, _tenant: str) -> None:
        self.waited += 1


@dataclass(slots=True)
class Restrictions:
    """What keeps people out, carried from pool to pool: whether after the switch, each time."""

    carried: list[bool] = field(default_factory=list)
    fails: int = 0

    async def carry(self, tenant: str, *, moved: bool) -> int:
        if self.fails:
            self.fails -= 1
            msg = f"the users of {tenant} cannot be read"
            raise UnavailableError(msg)
        self.carried.append(moved)
        return 0


@dataclass(slots=True)
class Bench:
    """``async with Bench(tmp_path) as bench``; ``files`` are the tenants of a GitOps folder."""

    state_dir: Path
    options: dict[str, object] = field(default_factory=dict)
    hold_s: float = 5.0
    per_second: float = 1000.0
    wrap_journal: Callable[[Journal], Journal] = lambda journal: journal
    wrap_registrar: Callable[[Registrar], Registrar] = lambda registrar: registrar
    files: dict[str, Record] = field(default_factory=dict)
    second: str = ""
    """Name of a second user pool; "" for one."""
    in_force: Gate = field(default_factory=Gate)
    restrictions: Restrictions = field(default_factory=Restrictions)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    cloud: DemoCloud = field(init=False)
    config: Config = field(init=False)
    database: Database = field(init=False)
    tenants: TenantDatabase = field(init=False)
    service: Onboarding = field(init=False)
    secrets_manager: ClientSecrets = field(init=False)

    async def __aenter__(self) -> Self:
        try:
            self.cloud = await self.stack.enter_async_context(
                DemoCloud(people=False, new_key=spare_keys())
            )
            cognito = self.cloud.cognito
            if self.second:
                await self.cloud.add_pool(self.second, "eu-north-1_Demo67890")
            further = {
                name: {
                    "region": "eu-north-1",
                    "user_pool_id": pool.pool.pool_id,
                    "domain": pool.url,
                    "issuer": pool.issuer,
                    "endpoint_url": pool.endpoint_url,
                }
                for name, pool in self.cloud.further_pools.items()
            }
            self.config = config_for(
                self.state_dir,
                endpoint_url=cognito.endpoint_url,
                domain=cognito.url,
                issuer=cognito.issuer,
                pool_id=cognito.pool.pool_id,
                pools=further,
                **self.options,
            )
            ring = keys.load(self.config.key_file, create=True)
            embedded_database(self.state_dir)
            self.database = open_database(self.config, lambda: ring.database)
            self.stack.push_async_callback(self.database.close)
            await self.database.prepare()
            self.secrets_manager = await self.stack.enter_async_context(
                ClientSecrets(endpoint_url=cognito.endpoint_url)
            )
            self.service = await self.replica()
        except BaseException:
            await self.stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stack.aclose()

    async def replica(self) -> Onboarding:
        """Another admin process over the same SQL and the same pool."""
        pools = {}
        for name, pool in self.config.cognito.all_pools.items():
            api = await self.stack.enter_async_context(
                open_cognito(self.config, pool=name, read_s=READ_S, per_second=self.per_second)
            )
            pools[name] = Pool(api, pool.quotas, name=name, secrets=self.secrets_manager)
        self.tenants = TenantDatabase(self.database, self.config)
        journal = SqlJournal(
            self.database, holder=secrets.token_hex(8), clock=time.time, hold_s=self.hold_s
        )
        registrar = RegistryOfProvisioning(
            self.tenants, files=lambda: self.files, in_force=self.in_force
        )
        provisioning = Provisioning(
            Pools(pools),
            self.wrap_journal(journal),
            self.wrap_registrar(registrar),
            new_run=lambda: secrets.token_hex(6),
            clock=time.time,
            timing=TIMING,
        )
        records = RegistryRecords(self.tenants, files=lambda: self.files, in_force=self.in_force)
        return Onboarding(
            self.config,
            records,
            provisioning,
            DiscoveryFetcher(development=True),
            registrar.name_conflict,
            self.restrictions,
            lambda tenant: interrupted(self.database, tenant, now=time.time()),
        )

    async def body(
        self, tenant: str = "initech", *, kind: str = "okta", idp: str | None = None, **more: Any
    ) -> ProvisionBody:
        """What the customer ``tenant`` sends, with an IdP of that kind really running."""
        name = idp or f"{tenant}-idp"
        customer = self.cloud.customers.get(name) or await self.cloud.add_idp(name, kind=kind)  # type: ignore[arg-type]  # okta or entra
        provider = {
            "client_id": customer.app.client_id,
            "client_secret": customer.app.client_secret,
            "oidc_issuer": customer.issuer,
        }
        return ProvisionBody.model_validate(
            {
                "provider": provider,
                "group": "app-users",
                "allowed_domain": f"{tenant}.test",
                "hosts": [f"{tenant}.localhost"],
                **more,
            }
        )

    async def apply(
        self,
        tenant: str = "initech",
        body: ProvisionBody | None = None,
        *,
        update: bool = False,
        service: Onboarding | None = None,
    ) -> Outcome:
        onboarding = service or self.service
        proposal = await onboarding.propose(tenant, body or await self.body(tenant), update=update)
        assert proposal.problems == (), [str(problem) for problem in proposal.problems]
        return await onboarding.apply(proposal, actor="test")

    # --- what is there
    # ------------------------------------------------------------------------------

    @property
    def providers(self) -> set[str]:
        return set(self.cloud.cognito.pool.providers)

    @property
    def clients(self) -> set[str]:
        return set(self.cloud.cognito.pool.clients)

    async def left_behind(self) -> dict[str, object]:
        """Everything that a failed run must not leave."""
        tenants = await self.tenants.all()
        credentials = {
            t for t in ("initech", "hooli", *tenants) if await self.tenants.credentials(t)
        }
        found: dict[str, object] = {
            "providers": self.providers,
            "clients": self.clients,
            "tenants": set(tenants),
            "credentials": credentials,
        }
        return {name: what for name, what in found.items() if what}
