"""``/activity`` and ``/attention``: what all processes did, and what waits for somebody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from gateway.admin.keys import Scope
from gateway.admin.route import PARAMETERS, Answer, AnswerModel, ApiModel, Call, Route
from gateway.core.traffic import (
    CHECK,
    LOGIN,
    REVOCATION,
    STORE,
    TASK,
    Window,
    quantile_s,
    ranked,
    summed,
)
from gateway.database.attention import LIMIT, Concern, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.core.traffic import Interval
    from gateway.database.attention import AttentionRecords
    from gateway.sessions.activity_log import ActivityLog
    from gateway.setup.links import SetupLinks

SLOW: Final = 0.99
SCOPES: Final[Mapping[Kind, Scope]] = {
    Kind.REVOCATION_UNACKNOWLEDGED: Scope.SESSIONS_READ,
    Kind.HOOK_FAILED: Scope.HOOKS,
    Kind.HOOK_HELD: Scope.HOOKS,
    Kind.HOOK_REFUSED: Scope.HOOKS,
    Kind.CONNECTION_FAILING: Scope.TENANTS_READ,
    Kind.CREDENTIAL_EXPIRES: Scope.TENANTS_READ,
    Kind.DOMAIN_LOST: Scope.TENANTS_READ,
    Kind.RUN_STOPPED: Scope.PROVISION,
    Kind.MESSAGE_FAILED: Scope.HOOKS,
    Kind.SETUP_SUBMITTED: Scope.SETUP_WRITE,
}
"""Whoever may not look at the thing itself is not told of it here either."""


class ActivityQuery(ApiModel):
    window: Window = Window.HOUR


class NamedCount(AnswerModel):
    name: str
    count: int


class ActivityPoint(AnswerModel):
    """``at``: beginning of the interval, UTC epoch seconds. ``…_p99_ms``: 99 of 100 took no longer,
    estimated from buckets; null where nothing was measured.
    """

    at: int
    sign_ins: int
    sign_ins_failed: int
    checks: int
    denied: int
    revocations: int
    revocation_p99_ms: float | None
    store_requests: int
    store_p99_ms: float | None


class ActivityAnswer(AnswerModel):
    """Of all processes. ``points``: oldest first, every ``step_s`` seconds; the last one is not
    over. ``total`` is their sum. The last minute of a process that ends is not counted.
    """

    window: Window
    step_s: int
    total: ActivityPoint
    points: list[ActivityPoint]
    denials: Annotated[list[NamedCount], Field(description="by reason, the most frequent first")]
    failures: Annotated[
        list[NamedCount], Field(description="failed sign-ins by reason, the most frequent first")
    ]
    faults: Annotated[
        list[NamedCount], Field(description="unexpected errors of background tasks, by task")
    ]


class AttentionQuery(ApiModel):
    tenant: Annotated[str, Field(pattern=f"^{PARAMETERS['tenant']}$")] | None = None


class AttentionRow(AnswerModel):
    """``target``: a provider, domain, run, revocation or setup link; "" of the tenant as such.
    ``at``: since when or, of what expires, when (UTC epoch seconds). ``count``: how many.
    """

    kind: Kind
    tenant: str
    target: str
    at: float
    count: int


class AttentionAnswer(AnswerModel):
    """At most ten of each kind, for kinds that the key's scopes allow to look at."""

    items: list[AttentionRow]


@dataclass(frozen=True, slots=True)
class OverviewRoutes:
    """``clock``: UTC epoch seconds. ``links``: None without setup links."""

    activity: ActivityLog
    attention: AttentionRecords
    links: SetupLinks | None
    clock: Callable[[], float]

    async def get_activity(self, call: Call) -> Answer:
        window = call.query(ActivityQuery).window
        intervals = await self.activity.read(window, now=self.clock())
        whole = summed(intervals, at=intervals[0].at)
        failures = [pair for pair in ranked(whole, LOGIN) if pair[0] != "ok"]
        return Answer(
            ActivityAnswer(
                window=window,
                step_s=window.step_s,
                total=_point(whole),
                points=[_point(interval) for interval in intervals],
                denials=_counts(ranked(whole, f"{CHECK}:deny")),
                failures=_counts(failures),
                faults=_counts(ranked(whole, TASK)),
            )
        )

    async def list_attention(self, call: Call) -> Answer:
        tenant = call.query(AttentionQuery).tenant
        kinds = {kind for kind, scope in SCOPES.items() if call.key.may(scope)}
        concerns = await self.attention.list(kinds, tenant=tenant)
        if Kind.SETUP_SUBMITTED in kinds:
            concerns += await self._submitted(tenant)
        return Answer(AttentionAnswer(items=[_row(one) for one in concerns]))

    async def _submitted(self, tenant: str | None) -> Sequence[Concern]:
        if self.links is None:
            return ()
        return [
            Concern(
                Kind.SETUP_SUBMITTED,
                link.tenant,
                link.id,
                link.times.get("submitted", link.created_at),
            )
            for link in await self.links.submitted(tenant, limit=LIMIT)
        ]

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "get_activity",
                "GET",
                "/activity",
                "Sign-ins, checks, denials, revocations and store requests of the last hour or day",
                self.get_activity,
                {200: ActivityAnswer},
                query=ActivityQuery,
            ),
            Route(
                "list_attention",
                "GET",
                "/attention",
                "What is in a state in which it stays until somebody does something",
                self.list_attention,
                {200: AttentionAnswer},
                query=AttentionQuery,
            ),
        )


def _point(interval: Interval) -> ActivityPoint:
    return ActivityPoint(
        at=interval.at,
        sign_ins=interval.of(f"{LOGIN}:ok"),
        sign_ins_failed=interval.logins_failed,
        checks=interval.total(CHECK),
        denied=interval.denied,
        revocations=interval.revocations,
        revocation_p99_ms=_ms(quantile_s(interval, REVOCATION, SLOW)),
        store_requests=interval.of(f"{STORE}:+Inf"),
        store_p99_ms=_ms(quantile_s(interval, STORE, SLOW)),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _counts(pairs: Iterable[tuple[str, int]]) -> list[NamedCount]:
    return [NamedCount(name=name, count=count) for name, count in pairs]


def _row(one: Concern) -> AttentionRow:
    return AttentionRow(
        kind=one.kind, tenant=one.tenant, target=one.target, at=one.at, count=one.count
    )
