"""From a tenant's document to the tenant as the core decides by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.types import folded_name, source_of
from gateway.core.app_cookies import AppCookie
from gateway.core.idle_counts import IdleCounts
from gateway.core.model import (
    DEFAULT_POOL,
    SOCIAL,
    VENDORS,
    AppClient,
    Branding,
    EmailTrust,
    HeaderSpec,
    Provider,
    ProviderKind,
    RotatedSecret,
    Secret,
    SessionLimits,
    SocialAccount,
    Tenant,
)
from gateway.core.pool_groups import members_group
from gateway.core.rule import BearerRule, Rule
from gateway.tenants.document import (
    NEVER_OF_A_RULE,
    IdleCountsDocument,
    ProviderDocument,
    RuleDocument,
    TenantDocument,
    provider_domains,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta

    from gateway.config.model import Config


def compile_tenant(
    document: TenantDocument,
    config: Config,
    *,
    client_id: str,
    client_secret: Secret,
    pool: str = DEFAULT_POOL,
    retired: tuple[AppClient, ...] = (),
    password_client: AppClient | None = None,
    rotated: RotatedSecret | None = None,
    generation: int = 0,
) -> Tenant:
    """Everything that can be computed once, computed once. ``client_id``, secret and ``pool`` come
    from the document or from SQL, ``retired``, ``rotated`` and a managed ``password_client`` from
    SQL alone.

    Of the document's headers only those count that the gateway declares open to tenants, and of a
    rule's identity what ``speaks_for`` permits: a stored document may be older than the
    declaration.
    """
    header_sources = {folded_name(name): source for name, source in document.headers.items()}
    headers = tuple(
        HeaderSpec(name, *source_of(source))
        for name, source in (
            *config.headers.items(),
            *(
                (name, header_sources.get(folded_name(name), source))
                for name, source in config.tenant_headers.items()
            ),
        )
    )
    own_clients = frozenset({client_id, *(client.client_id for client in retired)})
    spoken = speaks_for(headers)
    rules = tuple(_rule(rule, own_clients, spoken) for rule in document.rules)
    domains = provider_domains(
        document.email_domains, {p.name: p.domains for p in document.providers}
    )
    active, inactive = (
        tuple(_provider(p, document, domains[p.name]) for p in document.providers if p.active is on)
        for on in (True, False)
    )
    limits = document.session
    absolute = limits.max_lifetime or config.session.max_lifetime
    return Tenant(
        id=document.id,
        name=document.name,
        active=document.active,
        hosts=frozenset(h for h in document.hosts if not h.startswith("*.")),
        wildcards=frozenset(h[2:] for h in document.hosts if h.startswith("*.")),
        email_domains=document.email_domains,
        allowed_groups=document.allowed_groups,
        allowed_roles=document.allowed_roles,
        client_id=client_id,
        client_secret=client_secret,
        pool=pool,
        scopes=document.scopes,
        providers=active,
        inactive_providers=inactive,
        default_provider=document.default_provider or "",
        fallback_providers=document.fallback_providers,
        rules=rules,
        shadow_rules=tuple(_rule(rule, own_clients, spoken) for rule in document.shadow_rules),
        headers=headers,
        session=SessionLimits(
            idle_s=int(
                min(limits.idle_timeout or config.session.idle_timeout, absolute).total_seconds()
            ),
            absolute_s=int(absolute.total_seconds()),
            max_per_user=limits.max_per_user or config.session.max_per_user,
            counts=_idle_counts(limits.idle_counts, absolute),
        ),
        app_passwords=document.app_passwords.limits(),
        password_client=_password_client(document, pool, password_client),
        paths=document.paths.reader(),
        app_cookies=tuple(map(AppCookie.parse, document.app_cookies)),
        clear_domain_cookies=document.clear_domain_cookies,
        branding=Branding(
            document.branding.logo,
            document.branding.color,
            document.branding.support,
            tuple(sorted(document.branding.group_labels.items())),
        ),
        group_header_names=_policy_groups(document)
        if config.groups_header == "referenced"
        else None,
        assertion_group_names=_policy_groups(document)
        if config.assertion.groups == "referenced"
        else None,
        generation=generation,
        retired=retired,
        rotated=rotated,
    )


def _password_client(
    document: TenantDocument, pool: str, managed: AppClient | None
) -> AppClient | None:
    client = document.password_client
    if client is None:
        return None
    if client.client_id is None:
        return managed
    return AppClient(client.client_id, client.client_secret or Secret(""), pool=pool)


def _idle_counts(document: IdleCountsDocument, absolute: timedelta) -> IdleCounts:
    return IdleCounts(
        document.exclude,
        int(min(document.websocket, absolute).total_seconds()) if document.websocket else 0,
    )


def _provider(
    document: ProviderDocument, tenant: TenantDocument, domains: frozenset[str]
) -> Provider:
    trust = document.email_trust
    if trust is None:
        # Google's issuer is everybody's.
        own_issuer = document.kind not in {ProviderKind.COGNITO, ProviderKind.GOOGLE, *SOCIAL} and (
            document.issuer is not None or document.entity_id is not None
        )
        trust = EmailTrust.TENANT_IDP if own_issuer else EmailTrust.VERIFIED_CLAIM
    return Provider(
        document.name,
        document.kind,
        document.label or _default_label(document, tenant),
        document.issuer,
        domains,
        trust,
        document.url_decode_groups,
        members_group(tenant.id) if document.members_only else "",
        document.groups,
        document.roles,
        document.hidden,
        {
            each.id: SocialAccount(each.id, each.email, each.groups, each.roles)
            for each in document.accounts
        },
    )


def _default_label(document: ProviderDocument, tenant: TenantDocument) -> str:
    """The vendor's name where it is the tenant's only one of its kind."""
    alone = sum(other.kind is document.kind for other in tenant.providers) == 1
    return VENDORS.get(document.kind, document.name) if alone else document.name


def _policy_groups(document: TenantDocument) -> frozenset[str]:
    groups = set(document.allowed_groups or ())
    for provider in document.providers:
        groups |= provider.groups or set()
    for rule in document.rules:
        if isinstance(rule.groups, frozenset):
            groups |= rule.groups
    return frozenset(groups)


def speaks_for(headers: Iterable[HeaderSpec]) -> dict[str, str]:
    """Headers that a rule's ``identity`` may fill: folded name to the name that is sent."""
    return {
        folded_name(spec.name): spec.name for spec in headers if spec.source not in NEVER_OF_A_RULE
    }


def _rule(document: RuleDocument, own_clients: frozenset[str], spoken: Mapping[str, str]) -> Rule:
    def names(value: frozenset[str] | str | None) -> frozenset[str] | None:
        return value if isinstance(value, frozenset) else None

    bearer = document.bearer
    return Rule(
        path=document.path,
        methods=document.methods,
        public=document.allow == "public",
        deny=document.allow == "deny",
        groups=names(document.groups),
        any_group=document.groups is None,
        roles=names(document.roles),
        any_role=document.roles is None,
        override_tenant_groups=document.override_tenant_groups,
        bearer=BearerRule(own_clients if bearer.clients is None else bearer.clients, bearer.scopes)
        if bearer
        else None,
        browser_sessions=document.browser_sessions,
        hosts=document.hosts,
        identity=tuple(
            sorted(
                (header, text)
                for name, text in document.identity.items()
                if (header := spoken.get(folded_name(name))) is not None
            )
        ),
        app_passwords=document.app_passwords,
        pool_passwords=document.basic == "cognito",
    )
