"""The table of ``scripts/soak mutants`` fits the code, and each guarantee has a place in it."""

from __future__ import annotations

from tests.soak import mutants


def test_each_mutant_is_of_a_guarantee_whose_tests_are_to_see_it() -> None:
    assert mutants.problems(mutants.table(), mutants.guarantees()) == []


def test_a_new_guarantee_gets_a_mutant_or_a_reason_why_it_has_none() -> None:
    covered = {mutant.guarantee for mutant in mutants.table()}
    assert covered.isdisjoint(mutants.without())
    assert covered | mutants.without().keys() == mutants.guarantees().keys()


def test_the_table_at_the_end_begins_with_what_survives() -> None:
    first, second = mutants.table()[0], mutants.table()[-1]
    told = mutants.summary([first, second], [second]).splitlines()
    assert [line.split(None, 3)[1:] for line in told[1:3]] == [
        ["0", "1", second.guarantee],
        ["1", "0", first.guarantee],
    ]
    assert told[-1] == "2 mutants, 1 survive"
