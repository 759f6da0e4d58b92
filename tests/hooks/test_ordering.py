from __future__ import annotations

import pytest

from gateway.hooks.event import Effect, HookEvent, Source, Subject
from gateway.hooks.ordering import Standing, Step, reduce


def event(effect: Effect, at: float | None) -> HookEvent:
    return HookEvent(Source.OKTA, "t", effect, Subject(idp_subject="00u1"), event_time=at)


@pytest.mark.parametrize(
    ("standing", "effect", "at", "after", "step"),
    [
        pytest.param(
            None, Effect.BLOCK, 10.0, Standing(refused=True, at=10), Step.REFUSE, id="first-refusal"
        ),
        pytest.param(
            None,
            Effect.LIFT,
            10.0,
            Standing(refused=False, at=10),
            Step.NOTHING,
            id="nothing-to-give-back",
        ),
        pytest.param(
            Standing(refused=True, at=10),
            Effect.LIFT,
            11.0,
            Standing(refused=False, at=11),
            Step.GIVE_BACK,
            id="newer-lift",
        ),
        pytest.param(
            Standing(refused=True, at=10),
            Effect.LIFT,
            10.0,
            Standing(refused=True, at=10),
            Step.NOTHING,
            id="tie-refuses",
        ),
        pytest.param(
            Standing(refused=False, at=10),
            Effect.BLOCK,
            10.0,
            Standing(refused=True, at=10),
            Step.REFUSE,
            id="tie-refuses-the-other-way",
        ),
        pytest.param(
            Standing(refused=False, at=10),
            Effect.BLOCK,
            9.0,
            Standing(refused=False, at=10),
            Step.END_SESSIONS,
            id="late-deactivation-ends-sessions",
        ),
        pytest.param(
            Standing(refused=True, at=10),
            Effect.BLOCK,
            12.0,
            Standing(refused=True, at=12),
            Step.REFUSE,
            id="refused-again",
        ),
        pytest.param(
            Standing(refused=True, at=10),
            Effect.LIFT,
            None,
            Standing(refused=True, at=10),
            Step.NOTHING,
            id="lift-without-time",
        ),
        pytest.param(
            Standing(refused=False, at=10),
            Effect.GROUP_REMOVED,
            None,
            Standing(refused=True, at=100),
            Step.REFUSE,
            id="removal-without-time-counts-from-receipt",
        ),
        pytest.param(
            Standing(refused=False, at=10),
            Effect.END_SESSIONS,
            5.0,
            Standing(refused=False, at=10),
            Step.END_SESSIONS,
            id="sessions-end-whatever-stands",
        ),
        pytest.param(
            Standing(refused=True, at=10),
            Effect.BLOCK,
            10.0,
            Standing(refused=True, at=10),
            Step.REFUSE,
            id="same-again-is-said-again",
        ),
        pytest.param(
            Standing(refused=False, at=10),
            Effect.LIFT,
            10.0,
            Standing(refused=False, at=10),
            Step.NOTHING,
            id="same-lift-again",
        ),
        pytest.param(
            None,
            Effect.BLOCK,
            5000.0,
            Standing(refused=True, at=100),
            Step.REFUSE,
            id="time-capped-at-receipt",
        ),
    ],
)
def test_step(
    standing: Standing | None, effect: Effect, at: float | None, after: Standing, step: Step
) -> None:
    assert reduce(standing, event(effect, at), 100.0) == (after, step)
