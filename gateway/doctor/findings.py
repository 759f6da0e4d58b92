"""What the probes showed: pure, from outcomes to findings.

A finding is reported once, with the evidence of every probe that showed it. Severity says what it
opens: ``critical``, somebody gets in or becomes somebody else; ``high``, one more mistake does;
``warning``, something does not work or was not seen.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateway.core.client_headers import NEVER
from gateway.core.probe import FORGED
from gateway.doctor.advice import ADVICE, advice
from gateway.doctor.families import APP_PASSWORD, FLOOD_LINES, READERS, SECRET
from gateway.doctor.shot import STRANGE_HOST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.doctor.shot import Shot
    from gateway.doctor.wire import Reply

CANARY = "gateway-doctor"
SLOW_S = 5.0
REFUSED_BY_THE_INGRESS = frozenset({400, 403, 404, 405, 421})
MAX_EVIDENCE = 6
SLOWER_S = 0.03
SLOWER_TIMES = 3.0
"""What an odd cookie may take beyond a plain one of its length; a quadratic pattern takes a
multiple of both.
"""
KINDS = {name.lower(): kind for kind, names in NEVER.items() for name in names}
"""Header name → what it does for an application that believes it."""


class Severity(StrEnum):
    """What a finding opens."""

    CRITICAL = "critical"
    HIGH = "high"
    WARNING = "warning"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """``fix`` names the line to change in the ingress that was recognised."""

    code: str
    severity: Severity
    title: str
    evidence: tuple[str, ...]
    fix: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A probe, its answer, and what the check and the test location recorded (None: nothing
    arrived).
    """

    shot: Shot
    reply: Reply
    check: Mapping[str, Any] | None
    location: Mapping[str, Any] | None

    @property
    def what(self) -> str:
        return f"{self.shot.method} {self.shot.target.partition('?')[0]} ({self.shot.name})"

    @property
    def answered(self) -> str:
        return str(self.reply.status) if self.reply.status else self.reply.problem

    @property
    def succeeded(self) -> bool:
        return 200 <= self.reply.status < 300


@dataclass(slots=True)
class _Findings:
    """Evidence by code; a finding is as severe as the worst of it."""

    evidence: defaultdict[str, list[tuple[Severity, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, code: str, severity: Severity, text: str) -> None:
        self.evidence[code].append((severity, text))

    def all(self, dialect: str) -> list[Finding]:
        found = []
        for code, unsorted in self.evidence.items():
            lines = sorted(unsorted, key=lambda line: line[0].rank)
            shown = [text for _, text in lines[:MAX_EVIDENCE]] + (
                [f"and {len(lines) - MAX_EVIDENCE} more"] if len(lines) > MAX_EVIDENCE else []
            )
            found.append(
                Finding(code, lines[0][0], ADVICE[code].title, tuple(shown), advice(code, dialect))
            )
        return found


def judge(
    outcomes: Sequence[Outcome], *, managed: Sequence[str], host: str, scheme: str
) -> list[Finding]:
    """All findings of one examination, in no order."""
    found = _Findings()
    groups: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.shot.group].append(outcome)
    dialect = next((outcome.check["dialect"] for outcome in outcomes if outcome.check), "")
    _asked(groups["asked"], found, host=host, scheme=scheme)
    _everyday(groups, found)
    _forged(groups["forged"], found, scheme=scheme)
    _location(
        [*groups["location"], *groups["controls"], *groups["trailers"], *groups["absolute"]],
        found,
        managed=managed,
    )
    _paths([*groups["paths"], *groups["absolute"]], found)
    _failures(groups, found)
    _odd(groups, found, dialect=dialect)
    _slow(groups["slow"], found)
    _readers(groups["readers"], found)
    _hosts(groups["hosts"], found)
    _listeners(
        groups["listeners"],
        found,
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
            found.add(
                "let_through",
                Severity.CRITICAL,
                (
                    f"{outcome.what}: the gateway answered {outcome.check['status']}, the "
                    f"client got {outcome.reply.status}"
                ),
            )
        shown = sorted(
            {name for name, value in outcome.reply.headers if name.lower() in names and value}
        )
        if shown:
            found.add(
                "identity_in_answer",
                Severity.HIGH,
                f"{outcome.what}: {outcome.answered} with {', '.join(shown)}",
            )
    return found.all(dialect)


def judge_direct(
    *, app: tuple[str, Reply] | None, check: tuple[str, Reply] | None, dialect: str = ""
) -> list[Finding]:
    """Addresses that only the ingress should reach."""
    found = _Findings()
    if app is not None and app[1].status:
        found.add(
            "app_reachable",
            Severity.CRITICAL,
            f"{app[0]} answers {app[1].status} to this machine, without the ingress",
        )
    if check is not None and check[1].status:
        believed = check[1].status == 200
        found.add(
            "check_reachable",
            Severity.CRITICAL if believed else Severity.WARNING,
            f"{check[0]} answers {check[1].status} to this machine"
            + (
                ", and believes it without the ingress key"
                if believed
                else "; it believes nobody without the key"
            ),
        )
    return found.all(dialect)


def _asked(outcomes: Sequence[Outcome], found: _Findings, *, host: str, scheme: str) -> None:
    for outcome in outcomes:
        seen, reply = outcome.check, outcome.reply
        if seen is None:
            if reply.status >= 500 or not reply.status:
                found.add(
                    "gateway_unreachable",
                    Severity.WARNING,
                    f"{outcome.what}: {outcome.answered}, and the gateway was not asked",
                )
            elif reply.status < 400:
                found.add(
                    "not_asked",
                    Severity.CRITICAL,
                    f"{outcome.what}: {reply.status}, and the gateway was not asked",
                )
            else:
                found.add(
                    "not_asked",
                    Severity.WARNING,
                    (
                        f"{outcome.what}: {reply.status}, and the gateway was not asked; if an "
                        "application said so, it is open"
                    ),
                )
            continue
        if not seen["believed"]:
            found.add(
                "key_missing",
                Severity.HIGH,
                (
                    f"{outcome.what}: the check came "
                    f"{'with a wrong' if seen['key'] else 'without a'} X-Gateway-Key, or from "
                    "a network that is not trusted"
                ),
            )
        if "malformed" in seen:
            found.add("not_understood", Severity.HIGH, f"{outcome.what}: {seen['malformed']}")
            continue
        if outcome.succeeded and seen["status"] != 200:
            found.add(
                "let_through",
                Severity.CRITICAL,
                (
                    f"{outcome.what}: the gateway answered {seen['status']}, the client got "
                    f"{reply.status}"
                ),
            )
        if seen["target"] != outcome.shot.target:
            found.add(
                "path_rewritten",
                Severity.HIGH,
                (
                    f"sent {outcome.shot.target.partition('?')[0]}, the gateway was asked "
                    f"about {_path(seen['target'])}"
                ),
            )
        for what, said, right in (
            ("host", seen["host"], host),
            ("scheme", seen["scheme"], scheme),
            ("method", seen["method"], outcome.shot.method),
        ):
            if said != right:
                found.add(
                    "facts_wrong",
                    Severity.HIGH,
                    f"{outcome.what}: the gateway was told {what} {said!r} instead of {right!r}",
                )


def _everyday(groups: Mapping[str, Sequence[Outcome]], found: _Findings) -> None:
    for outcome in groups["navigation"]:
        refused = (
            outcome.check is not None
            and outcome.check["believed"]
            and outcome.check["status"] in {302, 401}
        )
        if refused and not (
            outcome.reply.status in {302, 303, 307}
            and "/_auth/login" in outcome.reply.header("Location")
        ):
            found.add(
                "login_lost",
                Severity.WARNING,
                f"{outcome.what}: {outcome.answered} without a way to the login",
            )
    for outcome in groups["pages"]:
        if outcome.check is not None:
            found.add(
                "pages_asked",
                Severity.WARNING,
                f"{outcome.what}: the gateway is asked about its own pages, so nobody can sign in",
            )
        elif outcome.reply.status >= 500 or not outcome.reply.status:
            found.add("pages_asked", Severity.WARNING, f"{outcome.what}: {outcome.answered}")
    for outcome in groups["body"]:
        if outcome.reply.seconds > SLOW_S:
            found.add(
                "body_hangs",
                Severity.WARNING,
                f"{outcome.what}: {outcome.answered} after {outcome.reply.seconds:.0f} s",
            )


def _forged(outcomes: Sequence[Outcome], found: _Findings, *, scheme: str) -> None:
    for outcome in outcomes:
        seen = outcome.check
        if seen is None:
            continue
        told = [
            str(seen.get("target", "")),
            str(seen.get("host", "")),
            str(seen.get("malformed", "")),
        ]
        believed = (
            any(FORGED in text or STRANGE_HOST in text for text in told)
            or seen.get("method") == "OPTIONS"
        )
        worse = believed or (outcome.shot.name.startswith("X") and "2 lines" in told[2])
        if worse or seen.get("scheme", scheme) != scheme:
            severity = Severity.CRITICAL if worse else Severity.HIGH
            found.add(
                "forged_facts",
                severity,
                (
                    f"the client's {outcome.shot.name} reached the check: it was asked about "
                    f"{seen.get('malformed') or _told(seen)}"
                ),
            )


def _location(outcomes: Sequence[Outcome], found: _Findings, *, managed: Sequence[str]) -> None:
    plain = next((outcome for outcome in outcomes if outcome.shot.name == "nothing added"), None)
    if plain is None:
        return
    if plain.location is None:
        found.add(
            "location_missing",
            Severity.WARNING,
            f"{plain.what}: {plain.answered}; what applications receive was not examined",
        )
        return
    if plain.check is None:
        found.add(
            "location_unasked",
            Severity.CRITICAL,
            f"{plain.what} was reached and the gateway was not asked",
        )
        return
    lost = {name.lower() for number, name in enumerate(managed) if number % 3 == 0} - {
        str(name).lower() for name, value in plain.location["headers"] if value == CANARY
    }
    for name in managed:
        if name.lower() in lost:
            found.add("identity_lost", Severity.HIGH, f"{name} did not reach the application")
    for outcome in outcomes:
        if outcome.location is not None:
            _received(outcome, found, managed=managed, lost=lost)
        elif outcome.shot.name == "Upgrade: websocket":
            found.add("websocket_lost", Severity.WARNING, f"{outcome.what}: {outcome.answered}")
        elif outcome.shot.name == "a large identity":
            found.add(
                "small_head",
                Severity.WARNING,
                f"{outcome.what}: {outcome.answered}, where a small identity passes",
            )


def _received(
    outcome: Outcome, found: _Findings, *, managed: Sequence[str], lost: set[str]
) -> None:
    """What an application would have received; ``lost`` are the names that never arrive."""
    seen = outcome.location or {}
    headers = [(str(name), str(value)) for name, value in seen["headers"]]
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in headers:
        by_name[name.lower()].append(value)
    lowered = {name.lower() for name in managed}
    how = ("fills", "leaves empty", "leaves out")
    for number, name in enumerate(managed):
        values = [value for value in by_name[name.lower()] if value]
        if any(FORGED in value for value in values):
            found.add(
                "identity_forged",
                Severity.CRITICAL,
                (
                    f"{name}, which the gateway {how[number % 3]}: the client's value reached "
                    f"the application ({outcome.shot.name})"
                ),
            )
        elif number % 3 == 0 and not values and outcome.shot.name.startswith("a large identity"):
            found.add(
                "identity_lost",
                Severity.HIGH,
                (
                    f"{name} did not reach the application ({outcome.shot.name}): what does "
                    "not fit is left out"
                ),
            )
        elif number % 3 == 0 and not values and name.lower() not in lost:
            found.add(
                "connection_strips",
                Severity.HIGH,
                f"{name} did not reach the application ({outcome.shot.name})",
            )
        elif len(values) > 1:
            found.add(
                "identity_forged",
                Severity.CRITICAL,
                f"{name} reached the application {len(values)} times ({outcome.shot.name})",
            )
    for name, value in headers:
        if FORGED not in value or name.lower() in lowered or name.lower() == "cookie":
            continue
        folded = re.sub(r"[^A-Za-z0-9]", "-", name)
        if folded.lower() in lowered:
            found.add(
                "identity_alias",
                Severity.CRITICAL,
                f"{name} reached the application; many read it as {folded}",
            )
        elif kind := KINDS.get(folded.lower()):
            code, severity = {
                "identity": ("foreign_identity", Severity.HIGH),
                "client certificate": ("foreign_identity", Severity.HIGH),
                "path": ("path_headers", Severity.HIGH),
            }.get(kind, ("foreign_words", Severity.WARNING))
            found.add(code, severity, f"the client's {name} reached the application ({kind})")
    if by_name["x-gateway-key"] and outcome.shot.name != "gateway key":
        found.add(
            "key_in_app",
            Severity.HIGH,
            f"X-Gateway-Key reached the application ({outcome.shot.name})",
        )
    if seen["own_cookies"] or "__Host-gw-login" in "; ".join(by_name["cookie"]):
        found.add(
            "cookie_in_app",
            Severity.HIGH,
            f"the gateway's cookie reached the application ({outcome.shot.name})",
        )
    if outcome.shot.name.startswith(APP_PASSWORD) and any(by_name["authorization"]):
        found.add(
            "app_password_in_app",
            Severity.HIGH,
            f"an app password reached the application ({outcome.shot.name})",
        )
    # Browsers send one line in HTTP/1.1, so only what becomes of its cookies counts.
    if outcome.shot.name.startswith(("cookies", "HTTP/2: cookie")) and not (
        {"first", "last"}
        <= {part.strip() for value in by_name["cookie"] for part in value.split(";")}
    ):
        found.add(
            "cookies_lost",
            Severity.WARNING,
            f"the application's own cookies did not arrive ({outcome.shot.name})",
        )
    _upgraded(outcome, by_name["upgrade"], found)
    if seen["body"] == "unreadable":
        found.add(
            "trailers_relayed",
            Severity.HIGH,
            f"header lines after the body reached the application ({outcome.shot.name})",
        )
    host = (
        next(iter(by_name["host"]), "").rpartition(":")[0]
        if re.search(r":\d+$", next(iter(by_name["host"]), ""))
        else next(iter(by_name["host"]), "")
    )
    if (
        outcome.check is not None
        and "host" in outcome.check
        and host.lower().rstrip(".") != outcome.check["host"]
    ):
        found.add(
            "host_confusion",
            Severity.CRITICAL,
            (
                f"the gateway was asked about {outcome.check['host']}, the application "
                f"received Host: {host} ({outcome.shot.name})"
            ),
        )
    if "://" in seen["target"]:
        userinfo = "@" in seen["target"].partition("://")[2].partition("/")[0]
        found.add(
            "absolute_form",
            Severity.HIGH if userinfo else Severity.WARNING,
            (
                "the application received the target in absolute "
                f"form{', with userinfo' if userinfo else ''}; it may take its host and path "
                f"from there ({outcome.shot.name})"
            ),
        )


def _upgraded(outcome: Outcome, values: Sequence[str], found: _Findings) -> None:
    """The application may receive exactly one ``websocket``, or nothing."""
    if outcome.shot.name == "Upgrade: websocket":
        if [value.lower() for value in values] != ["websocket"]:
            found.add(
                "websocket_lost",
                Severity.WARNING,
                "Upgrade: websocket did not reach the application",
            )
    elif values and [value.lower() for value in values] != ["websocket"]:
        severity = Severity.CRITICAL if "h2c" in ",".join(values).lower() else Severity.HIGH
        found.add(
            "upgrade_relayed",
            severity,
            (
                f"sent {outcome.shot.name}, the application received Upgrade: "
                f"{' and '.join(values)}: once it has switched, what follows on that "
                "connection is not asked about"
            ),
        )


def _failures(groups: Mapping[str, Sequence[Outcome]], found: _Findings) -> None:
    """Whether anything passes when the check errs, or when it cannot be asked."""
    for outcome in groups["failures"]:
        if outcome.location is not None or outcome.succeeded:
            found.add(
                "fails_open",
                Severity.CRITICAL,
                f"{outcome.shot.name}, and the request was let through: {outcome.answered}",
            )
    for outcome in groups["pathless"]:
        if outcome.check is None and outcome.succeeded:
            found.add(
                "fails_open",
                Severity.CRITICAL,
                f"{outcome.shot.name}: {outcome.reply.status}, and the gateway was not asked",
            )


def _odd(groups: Mapping[str, Sequence[Outcome]], found: _Findings, *, dialect: str) -> None:
    """Requests that are odd but whose answer is simple: no, or as without the oddity."""
    cookies = [outcome for outcome in groups["location"] if outcome.shot.name.startswith("cookie")]
    for outcome in (*groups["flood"], *groups["quotes"], *groups["controls"], *cookies):
        if outcome.reply.status >= 500:
            found.add(
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
            found.add(
                "flood_forwarded",
                Severity.CRITICAL,
                (
                    f"{outcome.shot.name}: the check was asked with {outcome.check['lines']} "
                    "header lines"
                ),
            )
    for outcome in groups["quotes"]:
        if SECRET.encode() in outcome.reply.body:
            found.add(
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
            found.add(
                "control_bytes",
                Severity.HIGH,
                (
                    f"{outcome.shot.name} was relayed: the gateway allowed the request and the "
                    "application refused to read it"
                ),
            )


def _slow(outcomes: Sequence[Outcome], found: _Findings) -> None:
    times: defaultdict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.reply.status:
            times[outcome.shot.name].append(outcome.reply.seconds)
    for name, seconds in times.items():
        plain = min(times.get(f"{name.partition(' of ')[0]} of plain", ()), default=0.0)
        if min(seconds) > SLOWER_TIMES * plain + SLOWER_S:
            found.add(
                "slow_cookie",
                Severity.HIGH,
                (
                    f"a cookie of {name}: {min(seconds) * 1000:.0f} ms, {plain * 1000:.0f} ms "
                    "for a plain one of that length"
                ),
            )


def _readers(outcomes: Sequence[Outcome], found: _Findings) -> None:
    """Where a spelling of a page is answered like the page, and a page that is not there is not."""
    by_page: defaultdict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        kind, _, page = outcome.shot.name.partition(" ")
        by_page[page][kind].append(outcome)
    for page, kinds in by_page.items():
        if not kinds["page"][0].succeeded:
            found.add("page_unread", Severity.WARNING, f"{page}: {kinds['page'][0].answered}")
            continue
        if kinds["nothing"][0].succeeded:
            found.add(
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
                found.add(
                    "loose_reader",
                    Severity.WARNING,
                    f"the application {what} (`{key}`): {', '.join(same)} is {page} to it",
                )


def _paths(outcomes: Sequence[Outcome], found: _Findings) -> None:
    for outcome in outcomes:
        if outcome.location is None:
            continue
        if outcome.check is None:
            found.add(
                "path_confusion",
                Severity.CRITICAL,
                f"{outcome.what} reached the location and the gateway was not asked",
            )
        elif _path(str(outcome.check.get("target", ""))) != _path(
            _without_authority(outcome.location["target"])
        ):
            found.add(
                "path_confusion",
                Severity.CRITICAL,
                (
                    f"sent {outcome.shot.name}: the gateway was asked about "
                    f"{_path(str(outcome.check.get('target', '(malformed)')))}, the "
                    f"application received {_path(outcome.location['target'])}"
                ),
            )


def _hosts(outcomes: Sequence[Outcome], found: _Findings) -> None:
    """The gateway refuses a host that it is asked about and does not know; it must be the one that
    was sent.
    """
    for outcome in outcomes:
        asked = None if outcome.check is None else outcome.check.get("host")
        if asked is not None and asked != outcome.shot.host:
            found.add(
                "default_host",
                Severity.WARNING,
                f"{outcome.what}: taken for a protected host, and asked about as {asked}",
            )
        elif outcome.reply.status and outcome.reply.status < 400:
            said = "the gateway was not asked" if outcome.check is None else "the gateway refused"
            found.add(
                "default_host",
                Severity.CRITICAL,
                f"{outcome.what}: {outcome.answered}, and {said}",
            )


def _listeners(outcomes: Sequence[Outcome], found: _Findings, *, believed: bool) -> None:
    for outcome in outcomes:
        reply, kind = outcome.reply, outcome.shot.name.partition(" ")[0]
        if kind == "check" and (
            reply.header("X-Auth-Reason") or (believed and b"untrusted_proxy" in reply.body)
        ):
            found.add(
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
            found.add(
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
            found.add(
                "hooks_exposed",
                Severity.WARNING,
                f"{outcome.what}: {outcome.answered}, and the gateway was not asked",
            )


def _path(target: str) -> str:
    return target.partition("?")[0]


def _without_authority(target: str) -> str:
    """The path and query of a target in absolute form."""
    return "/" + target.partition("://")[2].partition("/")[2] if "://" in target else target


def _told(seen: Mapping[str, Any]) -> str:
    return (
        f"{seen.get('method')} {seen.get('scheme')}://"
        f"{seen.get('host')}{_path(str(seen.get('target')))}"
    )
