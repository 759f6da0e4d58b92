"""The table of ``scripts/soak mutants`` fits the code, and each guarantee has a place in it."""

from __future__ import annotations

from tests.soak import mutants


def test_each_mutant_is_of_a_guarantee_whose_tests_are_to_see_it() -> None:
    assert mutants.problems(mutants.table(), mutants.guarantees()) == []


def test_a_new_guarantee_gets_a_mutant_or_a_reason_why_it_has_none() -> None:
    covered = {mutant.guarantee for mutant in mutants.table()}
    assert covered.isdisjoint(mutants.without())
    assert covered | mutants.without().keys() == mutants.guarantees().keys()
