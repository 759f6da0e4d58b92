"""Another secret, or other SAML metadata, for a connection that people sign in with.

Rules:
- What is new is tried first, with a provider of its own beside the connection: inactive and hidden,
  so that a sign-in with it makes no session.
- Exchanged are the secret or the metadata and nothing else. Name, client and issuer stay, so
  everybody stays who they are.
- The provider for tests has then what the connection had: exchanging once more puts it back. Either
  is held by the pool alone.
- Another issuer, client or entity ID is another connection: it is provisioned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.cognito.desired import OidcConnection, SamlConnection, marker
from gateway.core.model import POOLS_OWN, ProviderKind, Secret
from gateway.errors import PeerError
from gateway.provisioning.credentials import RegistryRejectedError
from gateway.provisioning.desired import (
    derived_name,
    describe,
    recalled,
    remembered,
    required_attributes,
    shared_providers,
    wanted,
)
from gateway.provisioning.former_pools import FormerPools
from gateway.provisioning.plan_rows import Resource, Step, Verb
from gateway.provisioning.pool_users import recalled_users
from gateway.provisioning.preflight import PreflightProblem, check_quotas, invalid
from gateway.provisioning.runner import Done
from gateway.provisioning.runs import RunKind, carried
from gateway.provisioning.saml_metadata import MetadataError, read_metadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import date

    from gateway.cognito.desired import Actual, ActualProvider, Wanted, WantedProvider
    from gateway.config.model import Config
    from gateway.core.json_types import Json
    from gateway.provisioning.credentials import ClientCredentials
    from gateway.provisioning.discovery import DiscoveryFetcher
    from gateway.provisioning.proposal import Basis, BasisReader
    from gateway.provisioning.runner import Outcome, Provisioning
    from gateway.provisioning.steps import Steps, Work

_TRIED: Final = "tried"
_RENEWED: Final = "renewed"
"""What a run remembers of a provider beside its settings: which run gave it what is tested, and
which exchanged. Provisioned again, both are gone.
"""
_MEANWHILE: Final = PreflightProblem(
    "conflict",
    "provider",
    "it was provisioned or renewed since the test: save and test the new values again",
)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """``expires``: when it ends."""

    client_secret: Secret
    expires: date | None = None


@dataclass(frozen=True, slots=True)
class NewMetadata:
    """By address, or the XML text."""

    url: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """``name``: of the provider for tests. ``run``: that made it. ``since``: the run that the
    connection was exchanged by before, "" without. ``keeps_certificate``: whether a signing
    certificate of today is among the new ones; None of a secret.
    """

    name: str
    run: str
    since: str
    keeps_certificate: bool | None = None


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a renewal begins from."""

    basis: Basis
    document: Json
    credentials: ClientCredentials
    known: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Renewal:
    """``clock`` of ``provisioning``: UTC epoch seconds."""

    config: Config
    provisioning: Provisioning
    bases: BasisReader
    discovery: DiscoveryFetcher

    async def begin(
        self, tenant: str, name: str, new: NewSecret | NewMetadata, *, owner: str, actor: str
    ) -> Trial | PreflightProblem | Outcome:
        """Makes the provider for tests, or gives the one of ``owner``, whose work it is, the new
        values; one of another kind makes room. Raises ``UnavailableError``.
        """
        standing = await self._standing(tenant)
        if isinstance(standing, PreflightProblem):
            return standing
        found = await self._with_new(standing, name, new)
        if isinstance(found, PreflightProblem):
            return found
        live, connection = found
        document, known = standing.document, standing.known
        taken = {*known, *(entry["name"] for entry in document["providers"])}
        trial = _of(owner, known)
        if trial and known[trial]["kind"] != live.kind:
            # A pool changes no provider into one of another type.
            outcome = await self.end(tenant, owner, actor=actor)
            if not isinstance(outcome, Done):
                return outcome
            return await self.begin(tenant, name, new, owner=owner, actor=actor)
        trial = trial or derived_name(tenant, live.kind, taken)
        tried = replace(live, name=trial, connection=connection, identifiers=())
        entries = [each for each in document["providers"] if each["name"] != trial]
        (entry,) = [each for each in entries if each["name"] == name]
        changed = {**document, "providers": [*entries, _beside(entry, trial, new)]}
        others = [each for each in recalled(list(known.values())) if each.name != trial]
        actual, target = await self._target(standing, changed, [*others, tried])
        if actual.client is None:
            return _gone(standing.credentials.client_id)
        pool = self.provisioning.pools.named(standing.credentials.pool)
        full = check_quotas(actual, pool.quotas, clients=0, providers=1, pool=pool.name)
        if trial not in actual.providers and (problem := next(full, None)) is not None:
            return problem
        run = self.provisioning.new_run()
        keeps = "client_secret" in known[name]
        mark = known[trial].get("marker") if trial in known else marker(run, trial)
        (kept,) = [e for e in remembered(target, keep_secrets=keeps) if e["name"] == trial]
        rows = {**known, trial: {**kept, "marker": mark, _TRIED: {"run": run, "owner": owner}}}
        verb = Verb.CHANGE if trial in actual.providers else Verb.CREATE
        step = Step(verb, Resource.PROVIDER, trial, f"new values of {name} are tested with it")
        outcome = await self._run(
            standing,
            lambda steps: _beginning(steps, standing, target, actual, tried, changed),
            run=run,
            actor=actor,
            rows=rows,
            plan=[step],
        )
        if not isinstance(outcome, Done):
            return outcome
        return Trial(trial, run, _renewed(known[name])[0], _keeps_certificate(live, connection))

    async def exchange(
        self, tenant: str, name: str, trial: Trial, *, expires: date | None, actor: str
    ) -> Trial | PreflightProblem | Outcome:
        """The connection has what was tried, and the provider for tests what the connection had.
        ``expires``: when the secret ends that the connection has then. The answer is for putting
        it back; asked once more, it is the same.
        """
        standing = await self._standing(tenant)
        if isinstance(standing, PreflightProblem):
            return standing
        known, document = dict(standing.known), standing.document
        entries = {each["name"]: each for each in document["providers"]}
        if not ({name, trial.name} <= known.keys() & entries.keys()):
            return _MEANWHILE
        if (known[trial.name].get(_TRIED) or {}).get("run") != trial.run:
            return _MEANWHILE
        since, by = _renewed(known[name])
        if since != trial.since:
            return replace(trial, since=since) if by == trial.run else _MEANWHILE
        run = self.provisioning.new_run()
        own, other = known[name], known[trial.name]
        known[name] = {**_exchanged(own, other), _RENEWED: {"run": run, "trial": trial.run}}
        known[trial.name] = _exchanged(other, own)
        ends = {name: None if expires is None else expires.isoformat(), trial.name: None}
        changed = {
            **document,
            "providers": [
                {**each, "secret_expires": ends.get(each["name"], each.get("secret_expires"))}
                for each in document["providers"]
            ],
        }
        fits = True

        async def works(steps: Steps) -> AsyncIterator[Work]:
            nonlocal fits
            # Read while the tenant is held: nobody's later change is written over.
            live, tried = await steps.pool.provider(name), await steps.pool.provider(trial.name)
            if live is None or tried is None or not _same_connection(live, tried):
                fits = False
                msg = f"{name} and {trial.name} are not the same connection in the pool any more"
                raise RegistryRejectedError("conflict", msg)
            yield steps.take_credentials(live, of=tried)
            yield steps.take_credentials(tried, of=live)
            yield steps.put_tenant(tenant, changed, standing.basis.before)

        step = Step(Verb.CHANGE, Resource.PROVIDER, name, f"what was tested as {trial.name}")
        outcome = await self._run(standing, works, run=run, actor=actor, rows=known, plan=[step])
        if not fits:
            return _MEANWHILE
        if not isinstance(outcome, Done):
            return outcome
        if former := standing.credentials.pools[1:]:
            # Logins that began there are completed there.
            formers = FormerPools(self.config, self.provisioning, self.bases)
            await formers.follow(tenant, former, actor=actor)
        return replace(trial, since=run)

    async def end(self, tenant: str, owner: str, *, actor: str) -> PreflightProblem | Outcome:
        """Deletes the provider for tests of ``owner``. ``not_found``: there is none any more."""
        standing = await self._standing(tenant)
        if isinstance(standing, PreflightProblem):
            return standing
        known = dict(standing.known)
        trial, document = _of(owner, known), standing.document
        if not trial:
            return PreflightProblem("not_found", "provider", "there is none for tests")
        entry = known.pop(trial)
        left = [each for each in document["providers"] if each["name"] != trial]
        changed = {**document, "providers": left}
        providers = recalled(list(known.values()))
        actual, target = await self._target(standing, changed, providers)

        async def works(steps: Steps) -> AsyncIterator[Work]:
            for client in (actual.client, *actual.retired):
                if client is not None and trial in client.strings("SupportedIdentityProviders"):
                    yield steps.update_client(target.client, client)
            yield steps.put_tenant(tenant, changed, standing.basis.before)

        ours = {"name": trial, "marker": entry["marker"], "kind": entry["kind"]}
        step = Step(Verb.REMOVE, Resource.PROVIDER, trial, "nothing is tested with it any more")
        return await self._run(
            standing,
            works,
            run=self.provisioning.new_run(),
            actor=actor,
            rows=known,
            plan=[step],
            deleting=[ours],
        )

    async def _standing(self, tenant: str) -> _Standing | PreflightProblem:
        if await self.bases.journal.busy(tenant) is not None:
            return PreflightProblem("busy", "tenant", "another run of this tenant is in progress")
        basis = await self.bases.read(tenant)
        if basis.filed:
            return PreflightProblem(
                "read_only", "tenant", f"{tenant} is a file of tenants.directory"
            )
        if basis.document is None or basis.credentials is None or basis.latest is None:
            return PreflightProblem("not_found", "tenant", f"{tenant} is not provisioned")
        known = {entry["name"]: entry for entry in basis.known}
        return _Standing(basis, basis.document, basis.credentials, known)

    async def _with_new(
        self, standing: _Standing, name: str, new: NewSecret | NewMetadata
    ) -> tuple[WantedProvider, OidcConnection | SamlConnection] | PreflightProblem:
        """The connection as it is, and with the new values."""
        is_active = any(
            each["name"] == name and each["active"] for each in standing.document["providers"]
        )
        entry = standing.known.get(name)
        if entry is None or not is_active:
            return PreflightProblem(
                "conflict", "provider", f"{name} is no active provider that was provisioned"
            )
        (live,) = recalled([entry]) or (None,)
        connection = None if live is None else live.connection
        if live is not None and isinstance(connection, OidcConnection):
            if not isinstance(new, NewSecret):
                return invalid("metadata", f"{name} is no SAML provider")
            return live, replace(connection, client_secret=new.client_secret)
        if live is not None and isinstance(connection, SamlConnection):
            if not isinstance(new, NewMetadata):
                return invalid("client_secret", f"{name} is a SAML provider: it has none")
            renewed = await self._with_metadata(connection, new)
            return renewed if isinstance(renewed, PreflightProblem) else (live, renewed)
        return PreflightProblem("conflict", "provider", f"{name} has no secret of the tenant's")

    async def _with_metadata(
        self, connection: SamlConnection, new: NewMetadata
    ) -> SamlConnection | PreflightProblem:
        where = "metadata" if new.url is None else "metadata_url"
        try:
            text: str | bytes = new.text or ""
            if new.url is not None:
                text = await self.discovery.fetch_metadata(new.url)
            read = read_metadata(
                text, now=self.provisioning.clock(), development=self.config.development
            )
        except (PeerError, MetadataError) as error:
            return invalid(where, str(error))
        if read.entity_id != connection.entity_id:
            return invalid(
                where,
                f"these metadata are of {read.entity_id[:200]}, and the connection is to "
                f"{connection.entity_id[:200]}: another identity provider is another connection",
            )
        return replace(
            connection,
            metadata_url=new.url,
            metadata_file=new.text,
            certificates=tuple(each.fingerprint for each in read.certificates),
            idp_initiated=False,
        )

    async def _target(
        self, standing: _Standing, document: Json, providers: Sequence[WantedProvider]
    ) -> tuple[Actual, Wanted]:
        credentials = standing.credentials
        pool = self.provisioning.pools.named(credentials.pool)
        actual = await pool.actual(
            providers=[each.name for each in providers],
            clients=credentials.ids_in(credentials.pool),
        )
        latest = carried(standing.basis.latest)
        target = wanted(
            str(document["id"]),
            document,
            providers,
            self.config,
            required=required_attributes(actual.attributes.values()),
            users=recalled_users(latest["providers"]),
            custom_attributes=latest["custom_attributes"],
            shared=shared_providers(document, required=frozenset()),
        )
        return actual, target

    async def _run(
        self,
        standing: _Standing,
        works: Any,
        *,
        run: str,
        actor: str,
        rows: Mapping[str, Json],
        plan: Sequence[Step],
        deleting: Sequence[Json] = (),
    ) -> Outcome:
        tenant = str(standing.document["id"])
        request = {**carried(standing.basis.latest), "providers": list(rows.values())}
        return await self.provisioning.run(
            tenant,
            works,
            run=run,
            kind=RunKind.RENEW,
            actor=actor,
            request=request,
            plan=[describe(step) for step in plan],
            pool=standing.credentials.pool,
            stands=lambda: self.bases.unchanged(tenant, standing.basis),
            follow_up={**request, "retire": {"clients": [], "providers": list(deleting)}}
            if deleting
            else None,
        )


async def _beginning(
    steps: Steps,
    standing: _Standing,
    target: Wanted,
    actual: Actual,
    tried: WantedProvider,
    document: Json,
) -> AsyncIterator[Work]:
    found = actual.providers.get(tried.name)
    if found is None:
        yield steps.create_provider(tried)
    else:
        yield steps.update_provider(tried, found)
    client = actual.client
    if client is not None and tried.name not in client.strings("SupportedIdentityProviders"):
        yield steps.update_client(target.client, client)
    if document != standing.document:
        yield steps.put_tenant(target.tenant, document, standing.basis.before)


def trials(known: Sequence[Json]) -> tuple[str, ...]:
    """Names of the providers for tests among those that were provisioned."""
    return tuple(str(entry["name"]) for entry in known if _TRIED in entry)


def _beside(entry: Json, trial: str, new: NewSecret | NewMetadata) -> Json:
    """The provider for tests in the tenant's document, by the connection's ``entry``."""
    expires = new.expires if isinstance(new, NewSecret) else None
    return {
        **{key: value for key, value in entry.items() if key != "hooks"},
        "name": trial,
        "active": False,
        "hidden": True,
        "secret_expires": None if expires is None else expires.isoformat(),
    }


def _of(owner: str, known: Mapping[str, Json]) -> str:
    """Name of the provider for tests that was made for ``owner``; "" where there is none."""
    owners = {name: (entry.get(_TRIED) or {}).get("owner") for name, entry in known.items()}
    return next((name for name, who in owners.items() if who == owner), "")


def _renewed(entry: Json) -> tuple[str, str]:
    """By which run a connection has what it has, and which one had given it to be tested."""
    found = entry.get(_RENEWED) or {}
    return str(found.get("run", "")), str(found.get("trial", ""))


def _gone(client_id: str) -> PreflightProblem:
    return PreflightProblem(
        "conflict", "client", f"app client {client_id} is not in the pool: verify the tenant"
    )


def _keeps_certificate(
    live: WantedProvider, connection: OidcConnection | SamlConnection
) -> bool | None:
    now = live.connection
    if not isinstance(now, SamlConnection) or not isinstance(connection, SamlConnection):
        return None
    return not set(now.certificates).isdisjoint(connection.certificates)


def _same_connection(live: ActualProvider, tried: ActualProvider) -> bool:
    names = ("client_id", "oidc_issuer")
    return live.type == tried.type and all(
        live.details.get(name) == tried.details.get(name) for name in names
    )


def _exchanged(own: Json, other: Json) -> Json:
    """What a run remembers of a provider that has the other's secret or metadata now."""
    if "saml" in own:
        names = ("metadata_url", "metadata_file", "certificates")
        return {**own, "saml": {**own["saml"], **{name: other["saml"][name] for name in names}}}
    if "client_secret" in own and "client_secret" in other:
        return {**own, "client_secret": other["client_secret"]}
    return own


def can_renew(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the providers of a tenant's document that have a secret or metadata of its own."""
    return tuple(
        str(each["name"])
        for each in document["providers"]
        if each["active"] and ProviderKind(each["kind"]) not in POOLS_OWN
    )
