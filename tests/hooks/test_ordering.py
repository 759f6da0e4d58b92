from __future__ import annotations

import pytest

from gateway.hooks.event import Effect, HookEvent, Source, Subject
from gateway.hooks.ordering import AccountState, Transition, reduce


def event(effect: Effect, at: float | None) -> HookEvent:
    return HookEvent(Source.OKTA, "t", effect, Subject(idp_subject="00u1"), event_time=at)


@pytest.mark.parametrize(
    ("standing", "effect", "at", "after", "step"),
    [
        pytest.param(
            None,
            Effect.BLOCK,
            10.0,
            AccountState(refused=True, at=10),
            Transition.REFUSE,
            id="first-refusal",
        ),
        pytest.param(
            None,
            Effect.LIFT,
            10.0,
            AccountState(refused=False, at=10),
            Transition.NOTHING,
            id="nothing-to-give-back",
        ),
        pytest.param(
            AccountState(refused=True, at=10),
            Effect.LIFT,
            11.0,
            AccountState(refused=False, at=11),
            Transition.GIVE_BACK,
            id="newer-lift",
        ),
        pytest.param(
            AccountState(refused=True, at=10),
            Effect.LIFT,
            10.0,
            AccountState(refused=True, at=10),
            Transition.NOTHING,
            id="tie-refuses",
        ),
        pytest.param(
            AccountState(refused=False, at=10),
            Effect.BLOCK,
            10.0,
            AccountState(refused=True, at=10),
            Transition.REFUSE,
            id="tie-refuses-the-other-way",
        ),
        pytest.param(
            AccountState(refused=False, at=10),
            Effect.BLOCK,
            9.0,
            AccountState(refused=False, at=10),
            Transition.END_SESSIONS,
            id="late-deactivation-ends-sessions",
        ),
        pytest.param(
            AccountState(refused=True, at=10),
            Effect.BLOCK,
            12.0,
            AccountState(refused=True, at=12),
            Transition.REFUSE,
            id="refused-again",
        ),
        pytest.param(
            AccountState(refused=True, at=10),
            Effect.LIFT,
            None,
            AccountState(refused=True, at=10),
            Transition.NOTHING,
            id="lift-without-time",
        ),
        pytest.param(
            AccountState(refused=False, at=10),
            Effect.GROUP_REMOVED,
            None,
            AccountState(refused=True, at=100),
            Transition.REFUSE,
            id="removal-without-time-counts-from-receipt",
        ),
        pytest.param(
            AccountState(refused=False, at=10),
            Effect.END_SESSIONS,
            5.0,
            AccountState(refused=False, at=10),
            Transition.END_SESSIONS,
            id="sessions-end-whatever-stands",
        ),
        pytest.param(
            AccountState(refused=True, at=10),
            Effect.BLOCK,
            10.0,
            AccountState(refused=True, at=10),
            Transition.REFUSE,
            id="same-again-is-said-again",
        ),
        pytest.param(
            AccountState(refused=False, at=10),
            Effect.LIFT,
            10.0,
            AccountState(refused=False, at=10),
            Transition.NOTHING,
            id="same-lift-again",
        ),
        pytest.param(
            None,
            Effect.BLOCK,
            5000.0,
            AccountState(refused=True, at=100),
            Transition.REFUSE,
            id="time-capped-at-receipt",
        ),
    ],
)
def test_step(
    standing: AccountState | None,
    effect: Effect,
    at: float | None,
    after: AccountState,
    step: Transition,
) -> None:
    assert reduce(standing, event(effect, at), 100.0) == (after, step)
