"""What applications receive."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from gateway.core.client_header_names import NEVER
from gateway.core.probe import FORGED
from gateway.doctor.evidence import Severity
from gateway.doctor.families import APP_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.doctor.evidence import Evidence, Outcome

CANARY = "gateway-doctor"
KINDS = {name.lower(): kind for kind, names in NEVER.items() for name in names}
"""Header name → what it does for an application that believes it."""


def location(outcomes: Sequence[Outcome], evidence: Evidence, *, managed: Sequence[str]) -> None:
    plain = next((outcome for outcome in outcomes if outcome.shot.name == "nothing added"), None)
    if plain is None:
        return
    if plain.location is None:
        evidence.add(
            "location_missing",
            Severity.WARNING,
            f"{plain.what}: {plain.answered}; what applications receive was not examined",
        )
        return
    if plain.check is None:
        evidence.add(
            "location_unasked",
            Severity.CRITICAL,
            f"{plain.what} was reached and the gateway was not asked",
        )
        return
    losses = {name.lower() for number, name in enumerate(managed) if number % 3 == 0} - {
        str(name).lower() for name, value in plain.location["headers"] if value == CANARY
    }
    for name in managed:
        if name.lower() in losses:
            evidence.add("identity_lost", Severity.HIGH, f"{name} did not reach the application")
    for outcome in outcomes:
        if outcome.location is not None:
            _received(outcome, evidence, managed=managed, lost=losses)
        elif outcome.shot.name == "Upgrade: websocket":
            evidence.add("websocket_lost", Severity.WARNING, f"{outcome.what}: {outcome.answered}")
        elif outcome.shot.name == "a large identity":
            evidence.add(
                "small_head",
                Severity.WARNING,
                f"{outcome.what}: {outcome.answered}, where a small identity passes",
            )


def _received(
    outcome: Outcome, evidence: Evidence, *, managed: Sequence[str], lost: set[str]
) -> None:
    """What an application would have received; ``lost`` are the names that never arrive."""
    record = outcome.location or {}
    headers = [(str(name), str(value)) for name, value in record["headers"]]
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in headers:
        by_name[name.lower()].append(value)
    _identity(outcome, by_name, evidence, managed=managed, lost=lost)
    _clients_names(headers, evidence, managed=managed)
    _credentials(outcome, by_name, record, evidence)
    _upgraded(outcome, by_name["upgrade"], evidence)
    _framing(outcome, by_name, record, evidence)


def _identity(
    outcome: Outcome,
    by_name: Mapping[str, Sequence[str]],
    evidence: Evidence,
    *,
    managed: Sequence[str],
    lost: set[str],
) -> None:
    """The managed headers: exactly what the gateway said."""
    how = ("fills", "leaves empty", "leaves out")
    for number, name in enumerate(managed):
        values = [value for value in by_name.get(name.lower(), ()) if value]
        if any(FORGED in value for value in values):
            evidence.add(
                "identity_forged",
                Severity.CRITICAL,
                (
                    f"{name}, which the gateway {how[number % 3]}: the client's value reached "
                    f"the application ({outcome.shot.name})"
                ),
            )
        elif number % 3 == 0 and not values and outcome.shot.name.startswith("a large identity"):
            evidence.add(
                "identity_lost",
                Severity.HIGH,
                (
                    f"{name} did not reach the application ({outcome.shot.name}): what does "
                    "not fit is left out"
                ),
            )
        elif number % 3 == 0 and not values and name.lower() not in lost:
            evidence.add(
                "connection_strips",
                Severity.HIGH,
                f"{name} did not reach the application ({outcome.shot.name})",
            )
        elif len(values) > 1:
            evidence.add(
                "identity_forged",
                Severity.CRITICAL,
                f"{name} reached the application {len(values)} times ({outcome.shot.name})",
            )


def _clients_names(
    headers: Sequence[tuple[str, str]], evidence: Evidence, *, managed: Sequence[str]
) -> None:
    """Other names with a value of the client's."""
    lowered = {name.lower() for name in managed}
    for name, value in headers:
        if FORGED not in value or name.lower() in lowered or name.lower() == "cookie":
            continue
        folded = re.sub(r"[^A-Za-z0-9]", "-", name)
        if folded.lower() in lowered:
            evidence.add(
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
            evidence.add(code, severity, f"the client's {name} reached the application ({kind})")


def _credentials(
    outcome: Outcome,
    by_name: defaultdict[str, list[str]],
    record: Mapping[str, Any],
    evidence: Evidence,
) -> None:
    """Nothing of the gateway's own, and everything of the application's."""
    if by_name["x-gateway-key"] and outcome.shot.name != "gateway key":
        evidence.add(
            "key_in_app",
            Severity.HIGH,
            f"X-Gateway-Key reached the application ({outcome.shot.name})",
        )
    if record["own_cookies"] or "__Host-gw-login" in "; ".join(by_name["cookie"]):
        evidence.add(
            "cookie_in_app",
            Severity.HIGH,
            f"the gateway's cookie reached the application ({outcome.shot.name})",
        )
    if outcome.shot.name.startswith(APP_PASSWORD) and any(by_name["authorization"]):
        evidence.add(
            "app_password_in_app",
            Severity.HIGH,
            f"an app password reached the application ({outcome.shot.name})",
        )
    # Browsers send one line in HTTP/1.1, so only what becomes of its cookies counts.
    if outcome.shot.name.startswith(("cookies", "HTTP/2: cookie")) and not (
        {"first", "last"}
        <= {part.strip() for value in by_name["cookie"] for part in value.split(";")}
    ):
        evidence.add(
            "cookies_lost",
            Severity.WARNING,
            f"the application's own cookies did not arrive ({outcome.shot.name})",
        )


def _framing(
    outcome: Outcome,
    by_name: defaultdict[str, list[str]],
    record: Mapping[str, Any],
    evidence: Evidence,
) -> None:
    """Trailers, host and form of the target."""
    if record["body"] == "unreadable":
        evidence.add(
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
        evidence.add(
            "host_confusion",
            Severity.CRITICAL,
            (
                f"the gateway was asked about {outcome.check['host']}, the application "
                f"received Host: {host} ({outcome.shot.name})"
            ),
        )
    if "://" in record["target"]:
        userinfo = "@" in record["target"].partition("://")[2].partition("/")[0]
        evidence.add(
            "absolute_form",
            Severity.HIGH if userinfo else Severity.WARNING,
            (
                "the application received the target in absolute "
                f"form{', with userinfo' if userinfo else ''}; it may take its host and path "
                f"from there ({outcome.shot.name})"
            ),
        )


def _upgraded(outcome: Outcome, values: Sequence[str], evidence: Evidence) -> None:
    """The application may receive exactly one ``websocket``, or nothing."""
    if outcome.shot.name == "Upgrade: websocket":
        if [value.lower() for value in values] != ["websocket"]:
            evidence.add(
                "websocket_lost",
                Severity.WARNING,
                "Upgrade: websocket did not reach the application",
            )
    elif values and [value.lower() for value in values] != ["websocket"]:
        severity = Severity.CRITICAL if "h2c" in ",".join(values).lower() else Severity.HIGH
        evidence.add(
            "upgrade_relayed",
            severity,
            (
                f"sent {outcome.shot.name}, the application received Upgrade: "
                f"{' and '.join(values)}: once it has switched, what follows on that "
                "connection is not asked about"
            ),
        )
