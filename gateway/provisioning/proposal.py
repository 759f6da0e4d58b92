"""What would be done for a tenant: asked of its request, what stands now, the providers' discovery
and the pool. Changes nothing.

``Proposer.propose``: gate (may it be asked now) → discover → desired (the document and the
providers that it shall have) → plan (what differs from the pool).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.config.yaml import explain_validation
from gateway.core.model import DEFAULT_POOL, ProviderKind
from gateway.provisioning.addition import addition_notes, unprovisioned
from gateway.provisioning.bound_keys import bound_changes, bound_findings
from gateway.provisioning.client_secret_rows import with_client_secrets
from gateway.provisioning.credentials import retired_ids, same_clients
from gateway.provisioning.desired import (
    has_password_client,
    leaving,
    recalled,
    recognise,
    remembered,
    required_attributes,
    shared_providers,
    tenant_document,
    tenant_step,
    unprovisioned_users,
    wanted,
    wanted_providers,
    wanted_users,
)
from gateway.provisioning.discovery import Discovered
from gateway.provisioning.plan import plan
from gateway.provisioning.plan_rows import Plan
from gateway.provisioning.pool_choice import choose_pool
from gateway.provisioning.pool_users import has_pool_users, recalled_users
from gateway.provisioning.preflight import (
    PreflightProblem,
    check_discovery,
    check_provider,
    invalid,
)
from gateway.provisioning.publications import Publications
from gateway.provisioning.request import (
    OidcProviderBody,
    PoolUsersBody,
    SamlProviderBody,
    SocialProviderBody,
)
from gateway.tenants.document import TenantDocument
from gateway.tenants.validation import problems

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from gateway.cognito.desired import Actual, Wanted, WantedProvider
    from gateway.cognito.pools import Pools
    from gateway.config.model import Config
    from gateway.provisioning.credentials import ClientCredentials, Registrar
    from gateway.provisioning.desired import Recognised
    from gateway.provisioning.discovery import DiscoveryFetcher
    from gateway.provisioning.request import AnyProviderBody, ProvisionBody
    from gateway.provisioning.runs import Journal, Run
    from gateway.provisioning.saml_metadata import SamlMetadata
    from gateway.tenants.api import TenantRecords

Json = dict[str, Any]
CHANGED_MEANWHILE = "it was changed at the same moment: look at it, and ask again"


@dataclass(frozen=True, slots=True)
class Basis:
    """What is known of a tenant at one moment, before anything slow: what is built from it may be
    written only while it stands.
    """

    filed: bool
    document: Json | None
    """As it is shown."""
    version: str | None
    before: Json | None = field(repr=False)
    """What SQL holds, with its version and secrets."""
    credentials: ClientCredentials | None
    latest: Run | None = field(repr=False)
    proven: frozenset[str] = frozenset()
    """Domains that the tenant holds."""

    def same(self, now: Basis) -> bool:
        """Whether nobody has changed the document, its app clients or what is provisioned."""
        ran, runs = (None if basis.latest is None else basis.latest.id for basis in (self, now))
        return (self.filed, self.version, ran) == (now.filed, now.version, runs) and same_clients(
            self.credentials, now.credentials
        )

    @property
    def known(self) -> Sequence[Json]:
        """The providers that were provisioned for the tenant, each with our mark if we made it."""
        return tuple(self.latest.request.get("providers", ())) if self.latest is not None else ()

    @property
    def names(self) -> frozenset[str]:
        """Of ``known``, whatever is still the tenant's: where there is none, whoever is in a group
        of the pool is the user of one that was deleted.
        """
        return frozenset(
            e["name"]
            for e in self.known
            if self.document is not None or e["kind"] != ProviderKind.COGNITO
        )

    def adds(self, body: ProvisionBody) -> bool:
        """Whether what the tenant has and the request does not name stays."""
        return not body.prune and self.document is not None

    @property
    def custom_attributes(self) -> Sequence[str]:
        """That were declared before: the pool has them, and the client reads them."""
        return self.latest.request.get("custom_attributes", ()) if self.latest is not None else ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be done, or the findings that keep it from being done. ``document`` None: the
    tenant comes from a file.
    """

    tenant: str
    plan: Plan
    document: Json | None = None
    before: Json | None = field(default=None, repr=False)
    wanted: Wanted | None = field(default=None, repr=False)
    actual: Actual | None = field(default=None, repr=False)
    credentials: ClientCredentials | None = None
    request: Json = field(default_factory=dict, repr=False)
    leaving: Mapping[str, str | None] = field(default_factory=dict)
    """Providers that the tenant will not have any more → our mark, None for those that stay in the
    pool.
    """
    basis: Basis | None = field(default=None, repr=False)
    """What it was made from: if that has changed, it is not applied."""
    pool: str = DEFAULT_POOL
    """Where the tenant lives, or will."""
    if_held: frozenset[str] = frozenset()
    """Domains that the tenant has to hold when its document is written: it asks by itself."""

    @property
    def problems(self) -> tuple[PreflightProblem, ...]:
        return self.plan.problems


@dataclass(frozen=True, slots=True)
class BasisReader:
    """Reads what is known of a tenant."""

    records: TenantRecords
    registrar: Registrar
    journal: Journal

    async def read(self, tenant: str) -> Basis:
        """What stands now: a file as it is served, else what SQL holds in one version."""
        record = await self.records.get(tenant)
        filed = record if record is not None and record.origin == "file" else None
        before = None if filed is not None else await self.registrar.snapshot(tenant)
        document = (
            filed.document
            if filed is not None
            else before["document"]
            if before is not None
            else None
        )
        version = (
            filed.etag
            if filed is not None
            else str(before["version"])
            if before is not None
            else None
        )
        return Basis(
            filed is not None,
            document,
            version,
            before,
            await self.registrar.credentials(tenant),
            await self.journal.latest(tenant),
            await self.records.proven_domains(tenant),
        )

    async def unchanged(self, tenant: str, basis: Basis) -> bool:
        return basis.same(await self.read(tenant))


@dataclass(frozen=True, slots=True)
class _Desired:
    """``providers``: without the attributes that the pool requires, which are not known yet."""

    recognised: tuple[Recognised, ...]
    providers: Sequence[WantedProvider]
    document: Json
    left: Sequence[Json]
    """Of what was provisioned, whatever stays as it is."""


def _changed_domains(basis: Basis, desired: _Desired) -> frozenset[str]:
    before = (basis.document or {}).get("email_domains", ())
    return frozenset(before) ^ frozenset(desired.document["email_domains"])


@dataclass(frozen=True, slots=True)
class Proposer:
    """``name_conflict``: which name of a document another tenant holds."""

    config: Config
    bases: BasisReader
    pools: Pools
    discovery: DiscoveryFetcher
    name_conflict: Callable[[TenantDocument], Awaitable[str | None]]

    async def propose(
        self, tenant: str, body: ProvisionBody, *, update: bool, bound: bool
    ) -> Proposal:
        """``update`` False: a tenant that is provisioned already is a problem.

        ``bound``: for a key of the tenant's own, which changes nothing that is an operator's.
        """
        busy = await self._busy(tenant)
        if busy is not None:
            return _rejected(tenant, busy)
        basis = await self.bases.read(tenant)
        findings = tuple(_gate(tenant, body, basis, update=update, bound=bound))
        if findings:
            return _rejected(tenant, *findings)
        desired, findings = await self._desired(tenant, body, basis, bound=bound)
        if findings:
            return _rejected(tenant, *findings)
        proposal = await self._plan(tenant, body, basis, desired)
        return replace(proposal, if_held=_changed_domains(basis, desired)) if bound else proposal

    async def _busy(self, tenant: str) -> PreflightProblem | None:
        busy = await self.bases.journal.busy(tenant)
        if busy is None:
            return None
        state = "was interrupted and is being rolled back" if busy.interrupted else "is going on"
        return PreflightProblem("busy", "tenant", f"run {busy.run} of this tenant {state}")

    async def _desired(
        self, tenant: str, body: ProvisionBody, basis: Basis, *, bound: bool
    ) -> tuple[_Desired, tuple[PreflightProblem, ...]]:
        discovered, unreachable = await self._discover(body)
        adds = basis.adds(body)
        taken = frozenset(p["name"] for p in unprovisioned_users(basis.document, basis.known))
        recognised = recognise(
            body,
            tenant,
            [d.document if isinstance(d, Discovered) else d for d in discovered],
            # With another name, nobody whom it let in before stays signed in.
            taken=taken,
            held=_names(basis) if adds else frozenset(),
        )
        findings = [
            *unreachable,
            *itertools.chain.from_iterable(
                _checks(p.name, p.body.oidc_issuer, d)
                for p, d in zip(recognised, discovered, strict=True)
                if isinstance(p.body, OidcProviderBody) and isinstance(d, Discovered)
            ),
        ]
        if len({p.name for p in recognised}) != len(recognised):
            findings.append(invalid("providers", "two have the same name"))
        providers = wanted_providers(recognised, required=frozenset())
        findings += itertools.chain.from_iterable(
            check_provider(p, development=self.config.development) for p in providers
        )
        document, document_findings = tenant_document(
            tenant,
            body,
            recognised,
            basis.document,
            shared_hosts=bool(self.config.shared_hosts),
            known=basis.known,
        )
        findings += document_findings
        left, left_findings = _left(basis, recognised, document) if adds else ((), ())
        findings += left_findings
        # A message about a field that is wrong in itself says more than the registry's about the
        # whole document.
        if not findings:
            findings += await self._admissible(tenant, document, basis)
        if bound and basis.document is not None and not findings:
            findings += bound_changes(basis.document, document, proven=basis.proven)
        adopted = _adopted(body, basis)
        if adopted is not None and not findings:
            findings += await self._admissible(
                tenant,
                {**document, "client": None, "client_id": adopted, "client_secret": "of no matter"}
                | ({"password_client": None} if has_password_client(document) else {}),
                None,
            )
        passwords = _adopted_for_passwords(body)
        if passwords is not None and not findings:
            findings += await self._admissible(
                tenant, {**document, "password_client": {"client_id": passwords}}, None
            )
        return _Desired(recognised, providers, document, left), tuple(findings)

    async def _plan(
        self, tenant: str, body: ProvisionBody, basis: Basis, desired: _Desired
    ) -> Proposal:
        credentials, adopted = basis.credentials, _adopted(body, basis)
        users = wanted_users(desired.recognised) or recalled_users(desired.left)
        served_names = {p["name"] for p in desired.document["providers"]}
        left = [p for p in recalled(desired.left) if p.name in served_names]
        names = [p.name for p in (*desired.providers, *left)]
        choice = await choose_pool(
            self.pools,
            said=body.pool or (basis.document or {}).get("pool"),
            held=credentials,
            providers=names,
            adopt=body.adopt,
            adopt_client=adopted,
        )
        if isinstance(choice, PreflightProblem):
            return _rejected(tenant, choice)
        pool = self.pools.named(choice)
        pool_providers = shared_providers(desired.document, required=frozenset())
        password_client_id = None if credentials is None else credentials.password_client_id
        passwords = _adopted_for_passwords(body) or password_client_id
        actual = await pool.actual(
            providers=[*names, *(p.name for p in pool_providers)],
            clients=credentials.ids_in(choice) if credentials else [adopted] if adopted else (),
            group=None if users is None else users.group,
            pages=has_pool_users(desired.document),
            sessions=True,
            password_client=passwords,
            counted=password_client_id is None and has_password_client(desired.document),
        )
        if adopted is not None and (actual.client is None or actual.client.secret is None):
            return _rejected(
                tenant,
                invalid(
                    "adopt_client",
                    f"{adopted} is not an app client of the pool"
                    if actual.client is None
                    else actual.client.unreadable
                    or f"{adopted} has no secret: the gateway needs one",
                ),
            )
        wrong = _wrong_for_passwords(body, credentials, adopted, actual)
        if wrong is not None:
            return _rejected(tenant, invalid("password_client.adopt", wrong))
        required = required_attributes(actual.attributes.values())
        custom = tuple(dict.fromkeys((*basis.custom_attributes, *body.custom_attributes)))
        target = wanted(
            tenant,
            desired.document,
            wanted_providers(desired.recognised, required=required),
            self.config,
            required=required,
            users=users,
            custom_attributes=custom,
            shared=shared_providers(desired.document, desired.recognised, required=required),
            left=left,
        )
        adds = basis.adds(body)
        leave = {} if adds else leaving(desired.recognised, basis.document, basis.known)
        proposed = plan(
            target,
            actual,
            quotas=pool.quotas,
            pool=choice,
            known=basis.names,
            adopt=body.adopt,
            retired=retired_ids(credentials),
            leaving=leave,
            adopt_client=adopted is not None,
            password_client=passwords,
            adopt_password_client=passwords is not None and password_client_id is None,
        )
        proposed = with_client_secrets(proposed, credentials, actual)
        if adds and basis.document is not None:
            notes = addition_notes(basis.document, desired.document)
            proposed = replace(proposed, notes=(*proposed.notes, *notes))
        if not basis.filed:
            step = tenant_step(tenant, basis.document, desired.document)
            proposed = replace(proposed, steps=(*proposed.steps, step))
        marks = {e["name"]: e.get("marker") for e in basis.known}
        left_names = {entry["name"] for entry in desired.left}
        request: Json = {
            "providers": [
                *desired.left,
                *(
                    {"marker": marks.get(e["name"]), **e}
                    for e in remembered(target, keep_secrets=body.keep_secrets)
                    if e["name"] not in left_names
                ),
            ],
            "custom_attributes": list(custom),
        }
        if not await self.bases.unchanged(tenant, basis):
            # The customer's server and the pool set the pace of all this.
            return _rejected(tenant, PreflightProblem("conflict", "tenant", CHANGED_MEANWHILE))
        return Proposal(
            tenant,
            proposed,
            None if basis.filed else desired.document,
            basis.before,
            target,
            actual,
            credentials,
            request,
            leave,
            basis,
            choice,
        )

    async def _discover(
        self, body: ProvisionBody
    ) -> tuple[list[Discovered | SamlMetadata | None], list[PreflightProblem]]:
        """At most four at once; an issuer that is wrong in itself is not asked."""
        limit = asyncio.Semaphore(4)
        publications = Publications(self.discovery, time.time, self.config.development)
        findings: list[PreflightProblem] = []

        async def one(number: int, provider: AnyProviderBody) -> Discovered | SamlMetadata | None:
            if isinstance(provider, PoolUsersBody | SocialProviderBody):
                return None
            async with limit:
                if isinstance(provider, SamlProviderBody):
                    url = provider.metadata_url
                    where = "metadata" if url is None else "metadata_url"
                    judged = await publications.metadata(url, provider.metadata or "")
                else:
                    where = "oidc_issuer"
                    judged = await publications.discover(provider.oidc_issuer)
            findings.extend(invalid(f"providers.{number}.{where}", p) for p in judged.problems)
            return judged.publication

        return list(
            await asyncio.gather(*(one(n, p) for n, p in enumerate(body.all_providers)))
        ), findings

    async def _admissible(
        self, tenant: str, document: Json, basis: Basis | None
    ) -> list[PreflightProblem]:
        try:
            new_document = TenantDocument.model_validate(document)
        except ValidationError as error:
            return [invalid("tenant", explain_validation(tenant, error))]
        if (
            basis is not None
            and basis.filed
            and _compared(new_document) != _compared(TenantDocument.model_validate(basis.document))
        ):
            return [
                PreflightProblem(
                    "read_only",
                    "tenant",
                    (
                        f"{tenant} is a file of tenants.directory: write these providers, domains, "
                        "groups and hosts there first"
                    ),
                )
            ]
        findings = [
            invalid(p.key, f"{p.value}: {p.allowed}" if p.value else p.allowed)
            for p in problems(new_document, self.config)
        ]
        if (conflict := await self.name_conflict(new_document)) is not None:
            findings.append(PreflightProblem("taken", "tenant", conflict))
        return findings


def _names(basis: Basis) -> frozenset[str]:
    """Of providers that the tenant has, or that were provisioned for it."""
    served = (basis.document or {}).get("providers", ())
    return frozenset(str(entry["name"]) for entry in (*served, *basis.known))


def _left(
    basis: Basis, recognised: Sequence[Recognised], document: Json
) -> tuple[Sequence[Json], tuple[PreflightProblem, ...]]:
    """What was provisioned, and the request does not name."""
    names = frozenset(p.name for p in recognised)
    left = tuple(entry for entry in basis.known if entry["name"] not in names)
    known = names.union(str(entry["name"]) for entry in left)
    return left, tuple(unprovisioned(document, known))


def _adopted(body: ProvisionBody, basis: Basis) -> str | None:
    """The client of the pool that becomes the tenant's."""
    return body.adopt_client if basis.credentials is None else None


def _adopted_for_passwords(body: ProvisionBody) -> str | None:
    return None if body.password_client is None else body.password_client.adopt


def _wrong_for_passwords(
    body: ProvisionBody,
    credentials: ClientCredentials | None,
    login: str | None,
    actual: Actual,
) -> str | None:
    """Why the client that the request names cannot become the one for passwords."""
    client_id, actual_client = _adopted_for_passwords(body), actual.password_client
    if client_id is None or body.password_client is None:
        return None
    client = None if credentials is None else credentials.password_client
    if client is not None and client.client_id != client_id:
        return f"the tenant has {client.client_id}: rotate it, or take it out of the document first"
    logins = (
        (credentials.client_id, *(c.client_id for c in credentials.retired)) if credentials else ()
    )
    if client_id in {login, *logins}:
        return f"{client_id} is a client of logins: passwords need one of their own"
    if actual_client is None:
        return f"{client_id} is not an app client of the pool"
    if actual_client.has_secret is not body.password_client.secret:
        return (
            f"{client_id} has a secret: leave secret out"
            if actual_client.has_secret
            else f"{client_id} has no secret: say secret: false"
        )
    return actual_client.unreadable or None


def _gate(
    tenant: str, body: ProvisionBody, basis: Basis, *, update: bool, bound: bool
) -> Iterable[PreflightProblem]:
    """What of the request itself, and of what stands already, keeps it from being looked into."""
    existing, credentials = basis.document, basis.credentials
    if bound and (not_theirs := bound_findings(body, existing, basis.known, proven=basis.proven)):
        return not_theirs
    if credentials is not None and not update:
        return [
            PreflightProblem(
                "exists",
                "tenant",
                (
                    f"{tenant} is provisioned already (client {credentials.client_id}); "
                    "PUT changes it"
                ),
            )
        ]
    if credentials is not None and body.adopt_client not in {None, credentials.client_id}:
        return [
            PreflightProblem(
                "exists",
                "adopt_client",
                f"{tenant} has client {credentials.client_id}: rotate or destroy it first",
            )
        ]
    if existing is not None and existing.get("client_id") not in {None, _adopted(body, basis)}:
        return [
            PreflightProblem(
                "exists",
                "tenant",
                (
                    f"{tenant} has an app client of its own ({existing['client_id']}): say "
                    "client: managed first, or adopt it (adopt_client)"
                ),
            )
        ]
    return ()


def _checks(name: str, issuer: str, discovered: Discovered) -> Iterable[PreflightProblem]:
    return check_discovery(
        discovered.document,
        discovered.keys,
        issuer=issuer,
        where=f"providers.{name}.oidc_issuer",
    )


def _compared(document: TenantDocument) -> Mapping[str, Any]:
    content: dict[str, Any] = document.model_dump(
        mode="json",
        include={
            "hosts": True,
            "email_domains": True,
            "allowed_groups": True,
            "providers": True,
            "password_client": {"client", "client_id", "secret"},
        },
    )
    # A file may spell an issuer with or without the slash at its end.
    content["providers"] = [
        {**p, "issuer": (p["issuer"] or "").removesuffix("/")} for p in content["providers"]
    ]
    return {n: sorted(map(str, v)) if isinstance(v, list) else v for n, v in content.items()}


def _rejected(tenant: str, *found: PreflightProblem) -> Proposal:
    return Proposal(tenant, Plan((), found))
