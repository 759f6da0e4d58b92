"""What a plan consists of: its rows, and what keeps it from being applied. Values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.provisioning.preflight import PreflightProblem


class Verb(StrEnum):
    """What a step does with its resource."""

    ADD = "add"
    CREATE = "create"
    CHANGE = "change"
    ADOPT = "adopt"
    KEEP = "keep"
    REMOVE = "remove"


class Resource(StrEnum):
    """What a step is about."""

    ATTRIBUTES = "attributes"
    PROVIDER = "provider"
    CLIENT = "client"
    CLIENT_SECRET = "client_secret"
    PASSWORD_CLIENT = "password_client"
    LOGIN_REUSE = "login_reuse"
    TENANT = "tenant"
    GROUP = "group"
    STYLE = "style"


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting, as it is and as it shall be; secrets as ``***``."""

    setting: str
    now: object
    wanted: object

    def __str__(self) -> str:
        return f"{self.setting}: {_shown(self.now)} → {_shown(self.wanted)}"


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the plan."""

    verb: Verb
    resource: Resource
    name: str
    why: str
    differences: tuple[Difference, ...] = ()

    @property
    def does(self) -> bool:
        return self.verb is not Verb.KEEP

    def __str__(self) -> str:
        return f"{self.verb:7} {self.resource} {self.name}: {self.why}"


@dataclass(frozen=True, slots=True)
class Plan:
    """``problems`` keep it from being applied; ``notes`` are for the person who reads it."""

    steps: tuple[Step, ...]
    problems: tuple[PreflightProblem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(s for s in self.steps if s.does)


def _shown(value: object) -> str:
    if value is None:
        return "(unset)"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
