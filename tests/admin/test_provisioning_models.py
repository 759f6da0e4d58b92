"""What the API says of runs and plans: every word that provisioning has."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from gateway.admin.routes.provisioning import JournalAnswer, RunAnswer, StepAnswer
from gateway.provisioning.plan_rows import Resource, Verb
from gateway.provisioning.runs import RunKind, RunState, StepState

if TYPE_CHECKING:
    from enum import StrEnum

    from pydantic import BaseModel


@pytest.mark.parametrize(
    ("model", "field", "words"),
    [
        (StepAnswer, "verb", Verb),
        (StepAnswer, "resource", Resource),
        (RunAnswer, "kind", RunKind),
        (RunAnswer, "state", RunState),
        (JournalAnswer, "state", StepState),
    ],
)
def test_no_plan_and_no_run_is_an_internal_error(
    model: type[BaseModel], field: str, words: type[StrEnum]
) -> None:
    assert set(get_args(model.model_fields[field].annotation)) == set(words)
