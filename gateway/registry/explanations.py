"""``core.explain`` on the tenants that are served, as the admin API and the command answer it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.decision import Allow, Login
from gateway.core.explain import Hypothesis, explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.decision import Decision
    from gateway.core.explain import Explained
    from gateway.core.tenants import TenantTable
    from gateway.ports_admin import Json, Question


class Explanations:
    """Implements ``ports_admin.Explainer``. ``table`` may raise ``UnavailableError``."""

    def __init__(self, table: Callable[[], TenantTable], *, clock: Callable[[], float]) -> None:
        self._table, self._clock = table, clock

    async def explain(self, question: Question) -> Json | None:
        asked = Hypothesis(
            host=question.host, path=question.path, method=question.method, email=question.email if question.signed_in else None,
            groups=question.groups, roles=question.roles, provider=question.provider,
        )  # fmt: skip
        found = explain(self._table(), asked, now=self._clock(), only=question.tenant)
        return None if found is None else as_json(found)


def kind_of(decision: Decision) -> str:
    return "allow" if isinstance(decision, Allow) else "login" if isinstance(decision, Login) else "deny"


def as_json(found: Explained) -> Json:
    """Only what is the asked-for tenant's own."""
    rule = found.matched.rule if found.matched is not None else None
    return {
        "decision": kind_of(found.decision),
        "reason": found.decision.reason.value,
        "tenant": found.tenant.id if found.tenant is not None else None,
        "provider": found.provider or None,
        "rule": {"index": found.matched.index, "path": rule.path} if found.matched is not None and rule is not None else None,
        "steps": [{"step": step, "passed": passed, "detail": detail} for step, passed, detail in found.steps],
        "would_do": {"groups": list(found.groups), "roles": list(found.roles)},
        "support": found.tenant.branding.support or None if found.tenant is not None else None,
        "rules_next": {"decision": kind_of(found.next), "reason": found.next.reason.value} if found.next is not None else None,
    }
