"""Whether the gateway was asked about every request, told the truth, and obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.core.probe import FORGED
from gateway.doctor.evidence import Severity
from gateway.doctor.shot import STRANGE_HOST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.doctor.evidence import Evidence, Outcome

SLOW_S = 5.0


def asked(outcomes: Sequence[Outcome], evidence: Evidence, *, host: str, scheme: str) -> None:
    for outcome in outcomes:
        record, reply = outcome.check, outcome.reply
        if record is None:
            if reply.status >= 500 or not reply.status:
                evidence.add(
                    "gateway_unreachable",
                    Severity.WARNING,
                    f"{outcome.what}: {outcome.answered}, and the gateway was not asked",
                )
            elif reply.status < 400:
                evidence.add(
                    "not_asked",
                    Severity.CRITICAL,
                    f"{outcome.what}: {reply.status}, and the gateway was not asked",
                )
            else:
                evidence.add(
                    "not_asked",
                    Severity.WARNING,
                    (
                        f"{outcome.what}: {reply.status}, and the gateway was not asked; if an "
                        "application said so, it is open"
                    ),
                )
            continue
        if not record["believed"]:
            evidence.add(
                "key_missing",
                Severity.HIGH,
                (
                    f"{outcome.what}: the check came "
                    f"{'with a wrong' if record['key'] else 'without a'} X-Gateway-Key, or from "
                    "a network that is not trusted"
                ),
            )
        if "malformed" in record:
            evidence.add("not_understood", Severity.HIGH, f"{outcome.what}: {record['malformed']}")
            continue
        if outcome.succeeded and record["status"] != 200:
            evidence.add(
                "let_through",
                Severity.CRITICAL,
                (
                    f"{outcome.what}: the gateway answered {record['status']}, the client got "
                    f"{reply.status}"
                ),
            )
        if record["target"] != outcome.shot.target:
            evidence.add(
                "path_rewritten",
                Severity.HIGH,
                (
                    f"sent {outcome.shot.target.partition('?')[0]}, the gateway was asked "
                    f"about {_path(record['target'])}"
                ),
            )
        for what, value, right in (
            ("host", record["host"], host),
            ("scheme", record["scheme"], scheme),
            ("method", record["method"], outcome.shot.method),
        ):
            if value != right:
                evidence.add(
                    "facts_wrong",
                    Severity.HIGH,
                    f"{outcome.what}: the gateway was told {what} {value!r} instead of {right!r}",
                )


def everyday(groups: Mapping[str, Sequence[Outcome]], evidence: Evidence) -> None:
    for outcome in groups["navigation"]:
        is_refused = (
            outcome.check is not None
            and outcome.check["believed"]
            and outcome.check["status"] in {302, 401}
        )
        if is_refused and not (
            outcome.reply.status in {302, 303, 307}
            and "/_auth/login" in outcome.reply.header("Location")
        ):
            evidence.add(
                "login_lost",
                Severity.WARNING,
                f"{outcome.what}: {outcome.answered} without a way to the login",
            )
    for outcome in groups["pages"]:
        if outcome.check is not None:
            evidence.add(
                "pages_asked",
                Severity.WARNING,
                f"{outcome.what}: the gateway is asked about its own pages, so nobody can sign in",
            )
        elif outcome.reply.status >= 500 or not outcome.reply.status:
            evidence.add("pages_asked", Severity.WARNING, f"{outcome.what}: {outcome.answered}")
    for outcome in groups["body"]:
        if outcome.reply.seconds > SLOW_S:
            evidence.add(
                "body_hangs",
                Severity.WARNING,
                f"{outcome.what}: {outcome.answered} after {outcome.reply.seconds:.0f} s",
            )


def forged(outcomes: Sequence[Outcome], evidence: Evidence, *, scheme: str) -> None:
    for outcome in outcomes:
        record = outcome.check
        if record is None:
            continue
        texts = [
            str(record.get("target", "")),
            str(record.get("host", "")),
            str(record.get("malformed", "")),
        ]
        is_believed = (
            any(FORGED in text or STRANGE_HOST in text for text in texts)
            or record.get("method") == "OPTIONS"
        )
        worse = is_believed or (outcome.shot.name.startswith("X") and "2 lines" in texts[2])
        if worse or record.get("scheme", scheme) != scheme:
            severity = Severity.CRITICAL if worse else Severity.HIGH
            evidence.add(
                "forged_facts",
                severity,
                (
                    f"the client's {outcome.shot.name} reached the check: it was asked about "
                    f"{record.get('malformed') or _told(record)}"
                ),
            )


def failures(groups: Mapping[str, Sequence[Outcome]], evidence: Evidence) -> None:
    """Whether anything passes when the check errs, or when it cannot be asked."""
    for outcome in groups["failures"]:
        if outcome.location is not None or outcome.succeeded:
            evidence.add(
                "fails_open",
                Severity.CRITICAL,
                f"{outcome.shot.name}, and the request was let through: {outcome.answered}",
            )
    for outcome in groups["pathless"]:
        if outcome.check is None and outcome.succeeded:
            evidence.add(
                "fails_open",
                Severity.CRITICAL,
                f"{outcome.shot.name}: {outcome.reply.status}, and the gateway was not asked",
            )


def _path(target: str) -> str:
    return target.partition("?")[0]


def _told(record: Mapping[str, Any]) -> str:
    return (
        f"{record.get('method')} {record.get('scheme')}://"
        f"{record.get('host')}{_path(str(record.get('target')))}"
    )
