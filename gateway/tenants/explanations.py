"""``core.explain`` on the tenants that are served, as the admin API and the command answer it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.core.decision import Allow, Deny, Login
from gateway.core.explain import (
    NO_RESTRICTIONS,
    ActiveRestrictions,
    Hypothesis,
    explain,
    tenant_for,
)
from gateway.core.tenants import TenantTable
from gateway.errors import UnavailableError
from gateway.tenants.dry_run import compiled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.config.model import Config
    from gateway.core.decision import Decision
    from gateway.core.explain import Explanation
    from gateway.core.json_types import Json
    from gateway.core.revocation import Who
    from gateway.revocation.api import Standing
    from gateway.tenants.api import Question
    from gateway.tenants.document import TenantDocument


def _of_draft(config: Config, table: TenantTable, document: TenantDocument) -> TenantTable:
    """Of this document alone. It may claim what another tenant has: that is no matter here."""
    tenant = compiled(document, config)
    return TenantTable.of(
        [tenant], shared_hosts=table.index.shared_hosts, login_host=table.index.login_host
    )


class Explanations:
    """Implements ``tenants.api.Explainer``. ``table`` may raise ``UnavailableError``; ``standing``
    are a tenant's blocks and overlays.

    ``config``: by which a draft would be served; without it none is explained.

    ``known``: as whom somebody of a tenant last signed in with an address, where that can be looked
    up.
    """

    def __init__(
        self,
        table: Callable[[], TenantTable],
        *,
        standing: Callable[[str], Awaitable[Sequence[Standing]]],
        clock: Callable[[], float],
        known: Callable[[str, str], Awaitable[Sequence[Who]]] | None = None,
        config: Config | None = None,
    ) -> None:
        self._config = config
        self._table, self._standing, self._clock, self._known = table, standing, clock, known
        self._console_host = None if config is None else config.console.host

    async def explain(self, question: Question) -> Json | None:
        hypothesis = Hypothesis(
            host=question.host,
            path=question.path,
            method=question.method,
            email=question.email if question.signed_in else None,
            groups=question.groups,
            roles=question.roles,
            provider=question.provider,
            client=question.client,
            scopes=question.scopes,
            app_password_path=question.app_password_path,
            pool_password=question.pool_password,
            destination=question.destination,
            depth=question.depth,
        )
        table = self._table()
        if question.draft is not None:
            if self._config is None:
                return None
            try:
                table = _of_draft(self._config, table, question.draft)
            except (
                ValueError
            ):  # it claims the login host, or a shared one: it has no host to ask of
                return None
            explanation = explain(
                table,
                hypothesis,
                now=self._clock(),
                only=question.draft.id,
                console_host=self._console_host,
            )
            return None if explanation is None else as_json(explanation)
        tenant = tenant_for(table, hypothesis)
        against = (
            await self._restrictions(tenant, hypothesis)
            if question.tenant in {None, tenant}
            else NO_RESTRICTIONS
        )
        explanation = explain(
            table,
            hypothesis,
            now=self._clock(),
            only=question.tenant,
            restrictions=against,
            console_host=self._console_host,
        )
        return None if explanation is None else as_json(explanation)

    async def _restrictions(self, tenant: str | None, asked: Hypothesis) -> ActiveRestrictions:
        if tenant is None or asked.email is None:
            return NO_RESTRICTIONS
        try:
            return active_restrictions(
                await self._standing(tenant),
                asked,
                known=() if self._known is None else await self._known(tenant, asked.email),
            )
        except UnavailableError as error:
            return ActiveRestrictions(unknown=f"not looked at: {error}")


def active_restrictions(
    standing: Sequence[Standing], asked: Hypothesis, *, known: Sequence[Who] = ()
) -> ActiveRestrictions:
    """What of it is this person's, as far as an e-mail address and groups tell, and the ids of
    their last login: a block by other ids may be theirs or not.
    """
    mine = {replace(who, provider=provider) for who in known for provider in (None, who.provider)}
    block, groups, by_id_only = "", [], 0
    for one in standing:
        who = one.who
        is_named = (
            who.email is not None
            or who.group is not None
            or (who.user or who.idp_subject or who.oid or who.session) is None
        )
        if not is_named and who not in mine:
            by_id_only += 1
        elif (who.email is not None and who.email != asked.email) or (
            who.group is not None and who.group not in asked.groups
        ):
            continue
        elif one.group is not None:
            groups.append((one.group, _since(one)))
        else:
            block = block or _since(one)
    unknown = (
        (
            f"{by_id_only} more of this tenant name people by their ids, not by an e-mail "
            "address: see gateway blocks list"
        )
        if by_id_only
        else ""
    )
    return ActiveRestrictions(block, tuple(groups), unknown)


def _since(standing: Standing) -> str:
    but = (
        f"but for {standing.exempt} people who were added to a group of this name since "
        if standing.exempt
        else ""
    )
    return (
        f"since {datetime.fromtimestamp(standing.since, tz=UTC):%Y-%m-%d %H:%M} UTC by "
        f"{standing.source} {but}(lifted with: gateway blocks remove {standing.id})"
    )


def kind_of(decision: Decision) -> str:
    return (
        "allow"
        if isinstance(decision, Allow)
        else "login"
        if isinstance(decision, Login)
        else "deny"
    )


def as_json(found: Explanation) -> Json:
    """Only what is the asked-for tenant's own."""
    rule = found.matched.rule if found.matched is not None else None
    denial = found.decision if isinstance(found.decision, Deny) else Deny(found.decision.reason)
    return {
        "decision": kind_of(found.decision),
        "reason": found.decision.reason.value,
        "tenant": found.tenant.id if found.tenant is not None else None,
        "provider": found.provider or None,
        "rule": {"index": found.matched.index, "path": rule.path}
        if found.matched is not None and rule is not None
        else None,
        "steps": [
            {"step": step, "passed": has_passed, "detail": detail}
            for step, has_passed, detail in found.steps
        ],
        "would_do": {"groups": denial.groups, "roles": denial.roles},
        "support": found.tenant.branding.support or None if found.tenant is not None else None,
        "shadow_rules": {"decision": kind_of(found.next), "reason": found.next.reason.value}
        if found.next is not None
        else None,
    }
