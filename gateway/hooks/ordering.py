"""What is true of a person at their provider, whatever order the events came in.

Rules:
- Per account and per (person, group) the newest event time wins; at the same instant the refusal
  wins.
- An event time is never later than its receipt: a sender's fast clock cannot outvote what comes
  after it.
- A refusal without an event time counts from its receipt. What gives back never counts without one.
- A late refusal changes no state and still ends sessions: between the two events somebody may have
  come in who should not have.
- Applying the same event twice changes nothing; a refusal is only said again, so that a replay
  repairs what a store has lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateway.hooks.event import Effect, HookEvent


@dataclass(frozen=True, slots=True)
class AccountState:
    """``refused`` since ``at`` (UTC epoch seconds): blocked, or out of the group."""

    refused: bool
    at: float


class Transition(Enum):
    """What one event means for the outside."""

    NOTHING = "nothing"
    END_SESSIONS = "end_sessions"
    REFUSE = "refuse"
    GIVE_BACK = "give_back"


REFUSES = frozenset({Effect.BLOCK, Effect.GROUP_REMOVED, Effect.GROUP_DELETED})
LASTING = REFUSES | {Effect.LIFT, Effect.GROUP_ADDED}
"""Effects that leave something behind; the others happen and are over."""


def effective_time(event_time: float | None, received_at: float) -> float:
    """The time that an event is compared by."""
    return received_at if event_time is None else min(event_time, received_at)


def reduce(
    state: AccountState | None, event: HookEvent, received_at: float
) -> tuple[AccountState | None, Transition]:
    """The state after one event of the same person (and group), and what is to be done about it.

    The resulting state depends on the set of events only, not on their order or number.
    """
    if event.effect not in LASTING:
        return state, Transition.END_SESSIONS
    refuses = event.effect in REFUSES
    if event.event_time is None and not refuses:
        return state, Transition.NOTHING
    at = effective_time(event.event_time, received_at)
    if state is not None and (at, refuses) == (state.at, state.refused):
        return state, Transition.REFUSE if refuses else Transition.NOTHING
    if state is not None and (at, refuses) < (state.at, state.refused):
        return state, Transition.END_SESSIONS if refuses else Transition.NOTHING
    step = (
        Transition.REFUSE
        if refuses
        else Transition.GIVE_BACK
        if state is not None and state.refused
        else Transition.NOTHING
    )
    return AccountState(refuses, at), step
