"""Requests that are read in more than one way, and listeners beside the check."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gateway.doctor.evidence import Severity
from gateway.doctor.families import FLOOD_LINES, READERS, SECRET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.doctor.evidence import Evidence, Outcome

REFUSED_BY_THE_INGRESS = frozenset({400, 403, 404, 405, 421})
SLOWER_S = 0.03
SLOWER_TIMES = 3.0
"""What an odd cookie may take beyond a plain one of its length; a quadratic pattern takes a
multiple of both.
"""


def odd(groups: Mapping[str, Sequence[Outcome]], evidence: Evidence, *, dialect: str) -> None:
    """Requests that are odd but whose answer is simple: no, or as without the oddity."""
    cookies = [outcome for outcome in groups["location"] if outcome.shot.name.startswith("cookie")]
    for outcome in (*groups["flood"], *groups["quotes"], *groups["controls"], *cookies):
        if outcome.reply.status >= 500:
            evidence.add(
                "odd_error",
                Severity.WARNING,
                (
                    f"{outcome.what}: {outcome.answered}, as if the gateway or the application "
                    "were down"
                ),
            )
    for outcome in groups["flood"]:
        if (
            dialect == "haproxy"
            and outcome.check is not None
            and outcome.check["lines"] >= FLOOD_LINES
        ):
            evidence.add(
                "flood_forwarded",
                Severity.CRITICAL,
                (
                    f"{outcome.shot.name}: the check was asked with {outcome.check['lines']} "
                    "header lines"
                ),
            )
    for outcome in groups["quotes"]:
        if SECRET.encode() in outcome.reply.body:
            evidence.add(
                "cookie_quoted",
                Severity.HIGH,
                f"{outcome.what}: the text of the {outcome.answered} holds the session cookie",
            )
    for outcome in groups["controls"]:
        refused_behind = (
            outcome.location is None
            and outcome.reply.status == 400
            and outcome.check is not None
            and outcome.check["status"] == 200
        )
        if refused_behind:
            evidence.add(
                "control_bytes",
                Severity.HIGH,
                (
                    f"{outcome.shot.name} was relayed: the gateway allowed the request and the "
                    "application refused to read it"
                ),
            )


def slow(outcomes: Sequence[Outcome], evidence: Evidence) -> None:
    times: defaultdict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.reply.status:
            times[outcome.shot.name].append(outcome.reply.seconds)
    for name, seconds in times.items():
        plain = min(times.get(f"{name.partition(' of ')[0]} of plain", ()), default=0.0)
        if min(seconds) > SLOWER_TIMES * plain + SLOWER_S:
            evidence.add(
                "slow_cookie",
                Severity.HIGH,
                (
                    f"a cookie of {name}: {min(seconds) * 1000:.0f} ms, {plain * 1000:.0f} ms "
                    "for a plain one of that length"
                ),
            )


def readers(outcomes: Sequence[Outcome], evidence: Evidence) -> None:
    """Where a spelling of a page is answered like the page, and a page that is not there is not."""
    by_page: defaultdict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        kind, _, page = outcome.shot.name.partition(" ")
        by_page[page][kind].append(outcome)
    for page, kinds in by_page.items():
        if not kinds["page"][0].succeeded:
            evidence.add("page_unread", Severity.WARNING, f"{page}: {kinds['page'][0].answered}")
            continue
        if kinds["nothing"][0].succeeded:
            evidence.add(
                "page_unread",
                Severity.WARNING,
                (
                    f"{page}: a page beside it that is not there is answered "
                    f"{kinds['nothing'][0].reply.status}, too"
                ),
            )
            continue
        for key, what in READERS.items():
            same = [
                outcome.shot.target.partition("?")[0] for outcome in kinds[key] if outcome.succeeded
            ]
            if same:
                evidence.add(
                    "loose_reader",
                    Severity.WARNING,
                    f"the application {what} (`{key}`): {', '.join(same)} is {page} to it",
                )


def paths(outcomes: Sequence[Outcome], evidence: Evidence) -> None:
    for outcome in outcomes:
        if outcome.location is None:
            continue
        if outcome.check is None:
            evidence.add(
                "path_confusion",
                Severity.CRITICAL,
                f"{outcome.what} reached the location and the gateway was not asked",
            )
        elif _path(str(outcome.check.get("target", ""))) != _path(
            _without_authority(outcome.location["target"])
        ):
            evidence.add(
                "path_confusion",
                Severity.CRITICAL,
                (
                    f"sent {outcome.shot.name}: the gateway was asked about "
                    f"{_path(str(outcome.check.get('target', '(malformed)')))}, the "
                    f"application received {_path(outcome.location['target'])}"
                ),
            )


def hosts(outcomes: Sequence[Outcome], evidence: Evidence) -> None:
    """The gateway refuses a host that it is asked about and does not know; it must be the one that
    was sent.
    """
    for outcome in outcomes:
        host = None if outcome.check is None else outcome.check.get("host")
        if host is not None and host != outcome.shot.host:
            evidence.add(
                "default_host",
                Severity.WARNING,
                f"{outcome.what}: taken for a protected host, and asked about as {host}",
            )
        elif outcome.reply.status and outcome.reply.status < 400:
            reaction = (
                "the gateway was not asked" if outcome.check is None else "the gateway refused"
            )
            evidence.add(
                "default_host",
                Severity.CRITICAL,
                f"{outcome.what}: {outcome.answered}, and {reaction}",
            )


def listeners(outcomes: Sequence[Outcome], evidence: Evidence, *, believed: bool) -> None:
    for outcome in outcomes:
        reply, kind = outcome.reply, outcome.shot.name.partition(" ")[0]
        if kind == "check" and (
            reply.header("X-Auth-Reason") or (believed and b"untrusted_proxy" in reply.body)
        ):
            evidence.add(
                "listener_exposed",
                Severity.CRITICAL,
                f"{outcome.what}: {reply.status} from the check listener itself",
            )
        elif (
            kind == "admin"
            and outcome.check is None
            and reply.status in {200, 503}
            and any(
                mark in reply.body for mark in (b'"/admin/v1', b"gateway_checks_total", b'"redis"')
            )
        ):
            evidence.add(
                "listener_exposed",
                Severity.CRITICAL,
                f"{outcome.what}: {reply.status} from the admin listener",
            )
        elif (
            kind == "hooks"
            and outcome.check is None
            and reply.status
            and reply.status not in REFUSED_BY_THE_INGRESS - {404, 405}
        ):
            evidence.add(
                "hooks_exposed",
                Severity.WARNING,
                f"{outcome.what}: {outcome.answered}, and the gateway was not asked",
            )


def _path(target: str) -> str:
    return target.partition("?")[0]


def _without_authority(target: str) -> str:
    """The path and query of a target in absolute form."""
    return "/" + target.partition("://")[2].partition("/")[2] if "://" in target else target
