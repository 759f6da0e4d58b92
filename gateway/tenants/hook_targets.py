"""What the hooks know of each tenant, from its document. Built once for each version of a
tenant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.hook_target import HookTarget, WebhookTarget
from gateway.core.model import GOOGLE_DIRECTORY_KINDS, POOLS_OWN, ProviderKind
from gateway.errors import UnavailableError
from gateway.tenants.offload import in_background
from gateway.tenants.snapshot_record import document_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.tenants.document import TenantDocument
    from gateway.tenants.snapshot_record import Record


def groups_named(document: TenantDocument) -> frozenset[str] | None:
    """Groups that the tenant's policy mentions, in ``shadow_rules`` and of its providers too. None
    where it mentions none: then any may matter to the app.
    """
    groups = set(document.allowed_groups or ())
    for provider in document.providers:
        groups |= provider.groups or set()
    for rule in (*document.rules, *document.shadow_rules):
        if isinstance(rule.groups, frozenset):
            groups |= rule.groups
    return None if document.allowed_groups is None and not groups else frozenset(groups)


def hook_targets(document: TenantDocument) -> tuple[HookTarget, ...]:
    """One for each provider."""
    groups = groups_named(document)
    return tuple(
        HookTarget(
            tenant=document.id,
            provider=p.name,
            kind=p.kind,
            issuer=p.issuer,
            secrets=p.hooks.secrets,
            directory_id=p.hooks.directory_id,
            client_id=p.hooks.client_id,
            client_secret=p.hooks.client_secret,
            api_token=p.hooks.api_token,
            api_url=p.hooks.api_url,
            audience=p.hooks.audience,
            groups_used=groups,
            allowed_groups=document.allowed_groups,
            provider_groups=p.groups,
            service_account=p.hooks.service_account,
            admin_email=p.hooks.admin_email,
        )
        for p in document.providers
    )


def can_say(target: HookTarget, source: str) -> bool:
    """Whether the provider, as it is configured, can speak as ``source`` (of a block: ``okta``,
    ``scim:RECORD`` …), and so give back what it took.
    """
    readable = {
        "okta": target.api_token is not None,
        "entra": bool(target.directory_id and target.client_id and target.client_secret),
    }
    source = source.partition(":")[0]
    kinds = _SPEAKERS[source]
    if source == "google":
        # Its pushes come through channels that the service account opens.
        return target.kind in GOOGLE_DIRECTORY_KINDS and target.service_account is not None
    return (kinds is None or target.kind in kinds) and (
        bool(target.secrets) or source in _SIGNED or readable.get(source, False)
    )


def source_is_gone(source: str, provider: str | None, targets: Iterable[HookTarget]) -> bool:
    """Whether nothing of the tenant's ``targets`` says any more what ``source`` said (of
    ``provider``, where it named one): only an operator lifts it then.
    """
    return source.partition(":")[0] in _SPEAKERS and not any(
        provider in (None, target.provider) and can_say(target, source) for target in targets
    )


_FEDERATED = frozenset(ProviderKind) - POOLS_OWN.keys()
_SPEAKERS: Mapping[str, frozenset[ProviderKind] | None] = {
    "okta": frozenset({ProviderKind.OKTA}),
    "entra": frozenset({ProviderKind.ENTRA}),
    "google": GOOGLE_DIRECTORY_KINDS,
    "scim": None,
    "backchannel": _FEDERATED,
    "ssf": _FEDERATED,
    "universal-logout": frozenset({ProviderKind.OKTA, ProviderKind.OIDC}),
}
"""Whose hooks each source comes from; None: any provider's. Other sources are operators and the
gateway itself.
"""
_SIGNED = frozenset({"backchannel", "ssf", "universal-logout"})
"""They prove themselves by the provider's own keys."""


def webhook_target(document: TenantDocument) -> WebhookTarget | None:
    if document.webhook is None:
        return None
    previous = (
        (document.webhook.previous_secret,) if document.webhook.previous_secret is not None else ()
    )
    return WebhookTarget(
        document.id,
        document.webhook.url,
        (document.webhook.secret, *previous),
        frozenset(document.webhook.events) if document.webhook.events is not None else None,
        document.webhook.format == "cloudevents",
    )


class RecordedHookTargets:
    """``HookTargets`` over the records that are being served. ``records``: by tenant id, as they
    are now.
    """

    def __init__(self, records: Callable[[], Mapping[str, Record]]) -> None:
        self._records = records
        self._built: dict[str, tuple[str, bool, tuple[HookTarget, ...], WebhookTarget | None]] = {}

    def _of(
        self, tenant: str
    ) -> tuple[str, bool, tuple[HookTarget, ...], WebhookTarget | None] | None:
        record = self._records().get(tenant)
        if record is None:
            self._built.pop(tenant, None)
            return None
        entry = self._built.get(tenant)
        if entry is None or entry[0] != record.digest:
            try:
                document, _ = document_of(record)
            except ValueError as error:
                msg = f"the record of tenant {tenant} cannot be read"
                raise UnavailableError(msg) from error
            entry = self._built[tenant] = (
                record.digest,
                document.active,
                hook_targets(document),
                webhook_target(document),
            )
        return entry

    def find(self, tenant: str, provider: str) -> HookTarget | None:
        """Inactive tenants too: what is taken away while a tenant sleeps stays away when it
        wakes.
        """
        entry = self._of(tenant)
        return (
            next((t for t in entry[2] if t.provider == provider), None)
            if entry is not None
            else None
        )

    def of(self, tenant: str) -> Sequence[HookTarget]:
        entry = self._of(tenant)
        return entry[2] if entry is not None else ()

    async def all(self) -> Sequence[HookTarget]:
        hooked = [record.id for record in self._records().values() if record.hooked]
        return await in_background(self._built_of, hooked)

    def _built_of(self, tenants: Sequence[str]) -> list[HookTarget]:
        entries = (self._of(tenant) for tenant in tenants)
        return [
            target for entry in entries if entry is not None and entry[1] for target in entry[2]
        ]

    def webhook(self, tenant: str) -> WebhookTarget | None:
        entry = self._of(tenant)
        return entry[3] if entry is not None else None
