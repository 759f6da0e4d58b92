from __future__ import annotations

from gateway.core.seen_once import SeenOnce


def test_what_comes_again_is_not_new_and_all_are_forgotten_where_there_is_no_room() -> None:
    seen = SeenOnce(2)
    assert seen.is_new(1) and not seen.is_new(1)
    assert seen.is_new(1), "it was asked twice, and begins anew"
    assert seen.is_new(2)
    assert seen.is_new(3), "without room for it"
    assert seen.is_new(2), "the others are forgotten"
    assert not seen.is_new(3)
