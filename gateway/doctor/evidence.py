"""What the probes showed, by what it opens.

A finding is reported once, with the evidence of every probe that showed it. Severity says what it
opens: ``critical``, somebody gets in or becomes somebody else; ``high``, one more mistake does;
``warning``, something does not work or was not seen.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateway.doctor.advice import ADVICE, advice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.doctor.shot import Shot
    from gateway.doctor.wire import Reply

MAX_EVIDENCE = 6


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
class Evidence:
    """Evidence by code; a finding is as severe as the worst of it."""

    by_code: defaultdict[str, list[tuple[Severity, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, code: str, severity: Severity, text: str) -> None:
        self.by_code[code].append((severity, text))

    def all(self, dialect: str) -> list[Finding]:
        findings = []
        for code, unsorted in self.by_code.items():
            lines = sorted(unsorted, key=lambda line: line[0].rank)
            texts = [text for _, text in lines[:MAX_EVIDENCE]] + (
                [f"and {len(lines) - MAX_EVIDENCE} more"] if len(lines) > MAX_EVIDENCE else []
            )
            findings.append(
                Finding(code, lines[0][0], ADVICE[code].title, tuple(texts), advice(code, dialect))
            )
        return findings
