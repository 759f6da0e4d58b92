"""From outcomes to findings: pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gateway.doctor import check_findings, location_findings, parser_findings
from gateway.doctor.evidence import Evidence, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.doctor.evidence import Finding, Outcome
    from gateway.doctor.wire import Reply


def judge(
    outcomes: Sequence[Outcome], *, managed: Sequence[str], host: str, scheme: str
) -> list[Finding]:
    """All findings of one examination, in no order."""
    evidence = Evidence()
    groups: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.shot.group].append(outcome)
    dialect = next((outcome.check["dialect"] for outcome in outcomes if outcome.check), "")
    check_findings.asked(groups["asked"], evidence, host=host, scheme=scheme)
    check_findings.everyday(groups, evidence)
    check_findings.forged(groups["forged"], evidence, scheme=scheme)
    location_findings.location(
        [*groups["location"], *groups["controls"], *groups["trailers"], *groups["absolute"]],
        evidence,
        managed=managed,
    )
    parser_findings.paths([*groups["paths"], *groups["absolute"]], evidence)
    check_findings.failures(groups, evidence)
    parser_findings.odd(groups, evidence, dialect=dialect)
    parser_findings.slow(groups["slow"], evidence)
    parser_findings.readers(groups["readers"], evidence)
    parser_findings.hosts(groups["hosts"], evidence)
    parser_findings.listeners(
        groups["listeners"],
        evidence,
        believed=any(o.check and o.check["believed"] for o in groups["asked"]),
    )
    names = {name.lower() for name in managed}
    for outcome in outcomes:
        if (
            outcome.shot.group not in {"pages", "location", "asked", "failures"}
            and outcome.succeeded
            and outcome.check is not None
            and outcome.check["status"] != 200
        ):
            evidence.add(
                "let_through",
                Severity.CRITICAL,
                (
                    f"{outcome.what}: the gateway answered {outcome.check['status']}, the "
                    f"client got {outcome.reply.status}"
                ),
            )
        leaks = sorted(
            {name for name, value in outcome.reply.headers if name.lower() in names and value}
        )
        if leaks:
            evidence.add(
                "identity_in_answer",
                Severity.HIGH,
                f"{outcome.what}: {outcome.answered} with {', '.join(leaks)}",
            )
    return evidence.all(dialect)


def judge_direct(
    *, app: tuple[str, Reply] | None, check: tuple[str, Reply] | None, dialect: str = ""
) -> list[Finding]:
    """Addresses that only the ingress should reach."""
    evidence = Evidence()
    if app is not None and app[1].status:
        evidence.add(
            "app_reachable",
            Severity.CRITICAL,
            f"{app[0]} answers {app[1].status} to this machine, without the ingress",
        )
    if check is not None and check[1].status:
        is_believed = check[1].status == 200
        evidence.add(
            "check_reachable",
            Severity.CRITICAL if is_believed else Severity.WARNING,
            f"{check[0]} answers {check[1].status} to this machine"
            + (
                ", and believes it without the ingress key"
                if is_believed
                else "; it believes nobody without the key"
            ),
        )
    return evidence.all(dialect)
