"""From a body, a tenant as it is and what discovery said: the document and the resources it shall
have. Pure.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.cognito.desired import (
    CUSTOM_ATTRIBUTES,
    READABLE_STANDARD,
    UNDECIDING,
    OidcConnection,
    SamlConnection,
    Wanted,
    WantedClient,
    WantedPasswordClient,
    WantedProvider,
    kind_of_issuer,
    mapping_for,
    same_issuer,
    scopes_for,
    writable,
    writable_by_users,
)
from gateway.cognito.oidc_presets import CLAIMS, EXTRA_SCOPES
from gateway.cognito.pool_users import PoolUsers
from gateway.cognito.social import MAPPINGS as SOCIAL_MAPPINGS
from gateway.cognito.social import POOL_SOCIAL, SocialConnection
from gateway.config.types import parse_duration
from gateway.core.model import POOLS_OWN, ProviderKind, Secret
from gateway.core.pool_groups import members_group
from gateway.provisioning.addition import beside, said_access
from gateway.provisioning.discovery import looks_like
from gateway.provisioning.plan_rows import Difference, Resource, Step, Verb
from gateway.provisioning.pool_users import remembered_users
from gateway.provisioning.preflight import PreflightProblem, invalid
from gateway.provisioning.request import (
    OidcProviderBody,
    PoolUsersBody,
    SamlProviderBody,
    SocialProviderBody,
)
from gateway.provisioning.saml_metadata import SamlMetadata
from gateway.tenants.document import TenantDocument
from gateway.tenants.folder_plan import differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.cognito.desired import Attribute, Connection
    from gateway.config.model import Config
    from gateway.provisioning.request import AnyProviderBody, ProvisionBody

Json = dict[str, Any]
CALLBACK = "/_auth/callback"
SIGNED_OUT = "/_auth/signed-out"


@dataclass(frozen=True, slots=True)
class Recognised:
    """A provider of the body with its name and kind decided, and what it was found to be.
    ``issuer`` as its discovery document spells it.
    """

    name: str
    kind: ProviderKind
    issuer: str | None
    body: AnyProviderBody = field(repr=False)
    connection: Connection | PoolUsers


def recognise(
    body: ProvisionBody,
    tenant: str,
    published: Sequence[Mapping[str, object] | SamlMetadata | None],
    *,
    taken: frozenset[str] = frozenset(),
    held: frozenset[str] = frozenset(),
) -> tuple[Recognised, ...]:
    """``published``: discovery documents and SAML metadata in the body's order, or None.
    ``taken``: names that the pool's own users do not get. ``held``: names that no provider without
    one gets.
    """
    providers: list[Recognised] = []

    def names() -> set[str]:
        return {*held, *(p.name for p in providers)}

    for provider, publication in zip(body.all_providers, published, strict=True):
        if isinstance(provider, PoolUsersBody):
            name = provider.name or derived_name(tenant, ProviderKind.COGNITO, {*taken, *names()})
            own = PoolUsers(name, members_group(tenant))
            providers.append(Recognised(name, ProviderKind.COGNITO, None, provider, own))
            continue
        if isinstance(provider, SocialProviderBody):
            kind = ProviderKind(provider.kind)
            name = provider.name or derived_name(tenant, kind, names())
            social = SocialConnection(kind, provider.settings)
            providers.append(Recognised(name, kind, None, provider, social))
            continue
        if isinstance(provider, SamlProviderBody):
            name = provider.name or derived_name(tenant, ProviderKind.SAML, names())
            saml = _saml(provider, publication if isinstance(publication, SamlMetadata) else None)
            providers.append(Recognised(name, ProviderKind.SAML, None, provider, saml))
            continue
        document = None if isinstance(publication, SamlMetadata) else publication
        providers.append(_oidc(tenant, provider, document or {}, names()))
    return tuple(providers)


def _oidc(
    tenant: str, body: OidcProviderBody, document: Mapping[str, object], taken: set[str]
) -> Recognised:
    kind = (
        ProviderKind(body.kind)
        if body.kind
        else kind_of_issuer(body.oidc_issuer) or ProviderKind(looks_like(document) or "oidc")
    )
    scopes = document.get("scopes_supported")
    usual = scopes_for(
        kind, offered=frozenset(map(str, scopes)) if isinstance(scopes, list) else None
    )
    published_issuer = document.get("issuer")
    issuer = (
        published_issuer
        if isinstance(published_issuer, str) and same_issuer(published_issuer, body.oidc_issuer)
        else body.oidc_issuer
    )
    connection = OidcConnection(
        body.oidc_issuer,
        body.client_id,
        body.client_secret,
        body.scopes or (*usual, *EXTRA_SCOPES[body.preset]),
    )
    return Recognised(
        body.name or derived_name(tenant, kind, taken), kind, issuer, body, connection
    )


def _saml(body: SamlProviderBody, metadata: SamlMetadata | None) -> SamlConnection:
    return SamlConnection(
        entity_id="" if metadata is None else metadata.entity_id,
        metadata_url=body.metadata_url,
        metadata_file=body.metadata,
        certificates=()
        if metadata is None
        else tuple(certificate.fingerprint for certificate in metadata.certificates),
        sign_requests=body.sign_requests,
        encrypted=body.encrypted_assertions,
        sign_out=body.single_logout,
        idp_initiated=body.idp_initiated,
    )


def derived_name(tenant: str, kind: ProviderKind, taken: set[str]) -> str:
    """``acme-okta``, ``acme-okta-2``; at most 32 characters, and no dash where it was cut."""
    for number in range(1, 100):
        suffix = f"-{kind}" + (f"-{number}" if number > 1 else "")
        name = tenant[: 32 - len(suffix)].rstrip("-") + suffix
        if name not in taken:
            return name
    return tenant[:32]


def tenant_document(
    tenant: str,
    body: ProvisionBody,
    providers: Sequence[Recognised],
    existing: Mapping[str, Any] | None,
    *,
    shared_hosts: bool,
    known: Sequence[Json] = (),
) -> tuple[Json, tuple[PreflightProblem, ...]]:
    """What the registry shall hold. The body wins over what exists, and its providers are all there
    are, unless it adds; other things that it leaves out stay, and so do the pool's own users where
    they were not provisioned (``known``: what was).
    """
    adds = existing is not None and not body.prune
    document: Json = dict(
        existing or {"id": tenant, "name": tenant, "hosts": [], "allowed_roles": "any"}
    )
    document |= {"client": "managed", "client_id": None, "client_secret": None}
    findings = []
    _write_words(document, body, adds=adds)
    if not document.get("email_domains"):
        findings.append(
            invalid(
                "email_domains", "needed (or allowed_domain): without a domain nobody can sign in"
            )
        )
    if "allowed_groups" not in document:
        findings.append(
            invalid("groups", 'needed (or group): the groups that have access, or "any"')
        )
    if not document.get("hosts") and not shared_hosts:
        findings.append(invalid("hosts", "needed: this gateway has no shared hosts"))
    entries_before = {p["name"]: p for p in document.get("providers", ())}
    entries = [{**entries_before.get(p.name, {}), **_entry(p)} for p in providers]
    if adds:
        access = zip((p.name for p in providers), said_access(body), strict=True)
        document, problems = beside(document, entries, dict(access))
        return document, (*findings, *problems)
    own = unprovisioned_users(existing, known)
    if any(provider.kind is ProviderKind.COGNITO for provider in providers):
        own = []
    document["providers"] = entries + own
    _forget_leaving(document, body)
    return document, tuple(findings)


def _write_words(document: Json, body: ProvisionBody, *, adds: bool) -> None:
    """What the body says of the tenant itself. ``adds``: nothing that it has goes."""
    if body.name is not None:
        document["name"] = body.name
    if body.pool is not None:
        document["pool"] = body.pool
    if body.password_client is not None:
        settings = {"client": "managed", "client_id": None, "client_secret": None}
        document["password_client"] = {**settings, "secret": body.password_client.secret}
    if body.hosts is not None:
        before = document["hosts"] if adds else ()
        document["hosts"] = list(dict.fromkeys((*before, *body.hosts)))
    if body.domains is not None and not adds:
        document["email_domains"] = sorted(body.domains)
    if body.allowed_groups is not None and not adds:
        document["allowed_groups"] = body.allowed_groups
    if body.default_provider is not None:
        document["default_provider"] = body.default_provider
    if body.fallback_providers is not None:
        document["fallback_providers"] = list(body.fallback_providers)


def unprovisioned_users(existing: Mapping[str, Any] | None, known: Sequence[Json]) -> list[Json]:
    """The entry of a tenant's document for the pool's own users that somebody wrote there."""
    provisioned = {e["name"] for e in known}
    return [
        p
        for p in (existing or {}).get("providers", ())
        if p["kind"] == ProviderKind.COGNITO and p["name"] not in provisioned
    ]


def _forget_leaving(document: Json, body: ProvisionBody) -> None:
    """A provider that the tenant had and has not any more is none of those that it named before."""
    names = {p["name"] for p in document["providers"]}
    if body.default_provider is None and document.get("default_provider") not in names:
        document["default_provider"] = None
    if body.fallback_providers is None:
        fallbacks = [name for name in document.get("fallback_providers", ()) if name in names]
        document["fallback_providers"] = fallbacks


def _entry(provider: Recognised) -> Json:
    entry: Json = {"name": provider.name, "kind": str(provider.kind), "issuer": provider.issuer}
    if isinstance(provider.connection, PoolUsers):
        entry["members_only"] = True
    if isinstance(provider.connection, SamlConnection):
        entry["entity_id"] = provider.connection.entity_id
    if provider.body.label:
        entry["label"] = provider.body.label
    body = provider.body
    if isinstance(body, OidcProviderBody | SocialProviderBody) and body.accounts is not None:
        entry["accounts"] = [each.model_dump(mode="json") for each in body.accounts]
    if isinstance(body, OidcProviderBody) and body.secret_expires is not None:
        entry["secret_expires"] = body.secret_expires.isoformat()
    if body.domains is not None:
        entry["domains"] = sorted(body.domains)
    for name, value in (("active", body.active), ("hidden", body.hidden)):
        if value is not None:
            entry[name] = value
    for name, names in (("groups", body.groups), ("roles", body.roles)):
        if names is not None:
            entry[name] = names if names == "any" else sorted(set(names))
    return entry


def leaving(
    providers: Sequence[Recognised], existing: Mapping[str, Any] | None, known: Sequence[Json]
) -> dict[str, str | None]:
    """Names that the tenant has, by its document or by the journal's ``known``, and the body has
    not → our mark, None where we did not make it.
    """
    marks: dict[str, str | None] = {
        p["name"]: None for p in (existing or {}).get("providers", ()) if p["kind"] not in POOLS_OWN
    }
    marks |= {entry["name"]: entry.get("marker") for entry in known}
    return {
        name: mark
        for name, mark in sorted(marks.items())
        if name not in {p.name for p in providers}
    }


def wanted_providers(
    providers: Sequence[Recognised], *, required: frozenset[str]
) -> tuple[WantedProvider, ...]:
    """``required``: attributes that the pool demands of everybody."""
    return tuple(
        WantedProvider(
            name=p.name,
            kind=p.kind,
            connection=p.connection,
            mapping={
                **mapping_for(
                    p.kind,
                    preset=p.body.preset if isinstance(p.body, SamlProviderBody) else None,
                    required=required,
                    only_needed=p.body.only_attributes,
                ),
                **(_claims(p.body) if isinstance(p.body, OidcProviderBody) else {}),
                **p.body.attributes,
            },
            identifiers=p.body.identifiers,
        )
        for p in providers
        if not isinstance(p.connection, PoolUsers | SocialConnection)
        and not isinstance(p.body, PoolUsersBody | SocialProviderBody)
    )


def shared_providers(
    document: Mapping[str, Any], providers: Sequence[Recognised] = (), *, required: frozenset[str]
) -> tuple[WantedProvider, ...]:
    """Those of the document of which a pool has one, with the settings of the request."""
    connections = {
        p.kind: p.connection for p in providers if isinstance(p.connection, SocialConnection)
    }
    kinds = [ProviderKind(p["kind"]) for p in document["providers"] if p["kind"] in POOL_SOCIAL]
    return tuple(
        WantedProvider(
            POOLS_OWN[kind],
            kind,
            connections.get(kind, SocialConnection(kind)),
            {**{n: n for n in sorted(required)}, **SOCIAL_MAPPINGS[kind]},
        )
        for kind in kinds
    )


def _claims(body: OidcProviderBody) -> Mapping[str, str]:
    """What the preset maps otherwise than the kind does."""
    return {
        name: claim
        for name, claim in CLAIMS[body.preset].items()
        if not (body.only_attributes and name in UNDECIDING)
    }


def wanted_users(providers: Sequence[Recognised]) -> PoolUsers | None:
    """The pool's own, where the body names them."""
    return next((p.connection for p in providers if isinstance(p.connection, PoolUsers)), None)


def wanted(
    tenant: str,
    document: Mapping[str, Any],
    providers: Sequence[WantedProvider],
    config: Config,
    *,
    required: frozenset[str],
    users: PoolUsers | None,
    custom_attributes: Sequence[str] = (),
    shared: Sequence[WantedProvider] = (),
    left: Sequence[WantedProvider] = (),
) -> Wanted:
    """The providers to look after, and the client that uses them and all others of the document.
    ``left``: of these, whose attributes the client reads and writes.
    """
    origins = (
        [config.origin(config.login_host)]
        if config.login_host
        else [config.origin(h) for h in (*document.get("hosts", ()), *config.shared_hosts)]
    )
    names = tuple(POOLS_OWN.get(ProviderKind(p["kind"]), p["name"]) for p in document["providers"])
    mapped = frozenset(name for p in (*providers, *left) for name in p.mapping)
    read_attributes = tuple(
        dict.fromkeys(
            [
                *READABLE_STANDARD,
                *CUSTOM_ATTRIBUTES,
                *custom_attributes,
                *sorted(mapped - {"username"}),
            ]
        )
    )
    client = WantedClient(
        providers=names,
        callback_urls=tuple(f"{o}{CALLBACK}" for o in origins),
        logout_urls=tuple(f"{o}{SIGNED_OUT}" for o in origins),
        scopes=tuple(document.get("scopes") or ("openid",)),
        read=read_attributes,
        write=writable(mapped | frozenset(custom_attributes), required),
        refresh_days=_days(document, config),
    )
    return Wanted(
        tenant,
        tuple(providers),
        client,
        users,
        tuple(dict.fromkeys((*CUSTOM_ATTRIBUTES, *custom_attributes))),
        tuple(shared),
        WantedPasswordClient(
            read_attributes,
            writable_by_users(required),
            secret=document["password_client"].get("secret", True),
        )
        if has_password_client(document)
        else None,
        tuple(left),
    )


def has_password_client(document: Mapping[str, Any]) -> bool:
    """Whether provisioning keeps one for the tenant."""
    return (document.get("password_client") or {}).get("client") == "managed"


def _days(document: Mapping[str, Any], config: Config) -> int:
    """Of a session at most, rounded up: revalidation asks with the refresh token as long as the
    session lasts.
    """
    own = (document.get("session") or {}).get("max_lifetime")
    absolute = parse_duration(own) if own is not None else config.session.max_lifetime
    return max(1, math.ceil(absolute.total_seconds() / 86_400))


def remembered(target: Wanted, *, keep_secrets: bool) -> list[Json]:
    """For the journal, so that a later look knows what was wanted."""
    return [
        {
            "name": p.name,
            "kind": str(p.kind),
            **_remembered(p.connection, keep_secrets=keep_secrets),
            "mapping": dict(p.mapping),
            "identifiers": list(p.identifiers),
        }
        for p in target.providers
    ] + remembered_users(target.users)


def _remembered(connection: Connection, *, keep_secrets: bool) -> Json:
    if isinstance(connection, SamlConnection):
        return {"saml": asdict(connection)}
    if isinstance(connection, SocialConnection):
        return {}  # it is the pool's, and no tenant's to look after
    secret = connection.client_secret
    return {
        "issuer": connection.issuer,
        "client_id": connection.client_id,
        "scopes": list(connection.scopes),
        **({"client_secret": secret.reveal()} if keep_secrets and secret else {}),
    }


def _recalled(entry: Json) -> Connection:
    if "saml" in entry:
        saml = entry["saml"]
        return SamlConnection(**{**saml, "certificates": tuple(saml["certificates"])})
    return OidcConnection(
        entry["issuer"],
        entry["client_id"],
        Secret(entry["client_secret"]) if entry.get("client_secret") else None,
        tuple(entry["scopes"]),
    )


def recalled(entries: Sequence[Json]) -> tuple[WantedProvider, ...]:
    """Inverse of ``remembered``; a secret that was not kept is None: Cognito's own stays."""
    return tuple(
        WantedProvider(
            name=e["name"],
            kind=ProviderKind(e["kind"]),
            connection=_recalled(e),
            mapping=dict(e["mapping"]),
            identifiers=tuple(e["identifiers"]),
        )
        for e in entries
        if e["kind"] != ProviderKind.COGNITO
    )


def required_attributes(attributes: Iterable[Attribute]) -> frozenset[str]:
    """Names of those that the pool demands of everybody."""
    return frozenset(a.name for a in attributes if a.required and a.name != "sub")


def tenant_step(tenant: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Step:
    """What becomes of the document, key by key."""
    if before is None:
        return Step(Verb.CREATE, Resource.TENANT, tenant, "the gateway does not know it yet")
    changes = tuple(
        Difference(d.key, d.before, d.after)
        for d in differences(
            TenantDocument.model_validate(before), TenantDocument.model_validate(after)
        )
    )
    if changes:
        return Step(
            Verb.CHANGE,
            Resource.TENANT,
            tenant,
            f"{', '.join(d.setting for d in changes)} differ",
            changes,
        )
    return Step(Verb.KEEP, Resource.TENANT, tenant, "it is as wanted")


def describe(step: Step) -> Json:
    """For answers and the journal."""
    changes = [{"setting": d.setting, "now": d.now, "wanted": d.wanted} for d in step.differences]
    return {
        "verb": str(step.verb),
        "resource": str(step.resource),
        "name": step.name,
        "why": step.why,
        "changes": changes,
    }
