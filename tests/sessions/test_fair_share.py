from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.sessions.fair_share import FairShare


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def share(max_bytes: int = 100, life_s: float = 600) -> tuple[FairShare, Clock]:
    clock = Clock()
    return FairShare(max_bytes=max_bytes, life_s=life_s, monotonic=clock), clock


def test_a_flood_pushes_out_its_own_entries_and_nobody_elses() -> None:
    fair, _ = share(max_bytes=1000)
    for n in range(10):
        assert fair.add(f"honest-{n}", client=f"home-{n}", size=10) == []
    given_up = [
        key for n in range(5000) for key in fair.add(f"flood-{n}", client="attacker", size=10)
    ]
    assert given_up == [f"flood-{n}" for n in range(5000 - 90)]
    assert fair.add("late", client="home-99", size=10) == ["flood-4910"]


def test_large_entries_count_for_what_they_are() -> None:
    fair, _ = share(max_bytes=1000)
    for n in range(50):
        fair.add(f"company-{n}", client="company", size=10)
    for n in range(5):
        assert fair.add(f"large-{n}", client="attacker", size=100) == []
    assert fair.add("large-5", client="attacker", size=100) == ["large-0"]


def test_one_address_may_hold_everything_while_nobody_else_wants_it() -> None:
    fair, _ = share(max_bytes=1000)
    assert [fair.add(str(n), client="company", size=10) for n in range(100)] == [[]] * 100


def test_what_the_store_has_forgotten_by_itself_takes_no_room() -> None:
    fair, clock = share(max_bytes=100, life_s=600)
    for n in range(10):
        fair.add(str(n), client="company", size=10)
    clock.now = 600
    assert fair.add("new", client="company", size=100) == []
    assert fair.held_bytes == 100


def test_what_comes_from_ever_more_addresses_is_bounded_too() -> None:
    fair, _ = share(max_bytes=100)
    stored: set[str] = set()
    for n in range(100):
        # Whoever came last holds most.
        stored.difference_update(fair.add(str(n), client=f"bot-{1000 - n}", size=10 + n // 10))
        stored.add(str(n))
    assert sum(10 + int(name) // 10 for name in stored) == fair.held_bytes <= 100


def test_one_entry_larger_than_everything_is_taken_all_the_same() -> None:
    fair, _ = share(max_bytes=100)
    assert fair.add("a", client="one", size=50) == []
    assert fair.add("b", client="one", size=500) == ["a"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "remove", "wait"]),
            st.integers(0, 30),
            st.integers(0, 4),
            st.integers(1, 60),
        ),
        max_size=200,
    )
)
def test_accounts_are_right_and_bounded_whatever_happens(
    steps: list[tuple[str, int, int, int]],
) -> None:
    fair, clock = share(max_bytes=200, life_s=50)
    expected: dict[str, tuple[str, int, float]] = {}
    for what, key, client, number in steps:
        if what == "wait":
            clock.now += number / 4
        elif what == "remove":
            fair.remove(str(key))
            expected.pop(str(key), None)
        else:
            given_up = fair.add(str(key), client=str(client), size=number)
            expected = {name: entry for name, entry in expected.items() if entry[2] > clock.now}
            expected[str(key)] = (str(client), number, clock.now + 50)
            assert str(key) not in given_up, "the store keeps it all the same"
            for name in given_up:
                del expected[name]
            assert fair.held_bytes <= 200
            assert len(fair._busiest) <= 4 * len(fair._held) + 65
        held = {client for client, _, _ in fair._entries.values()}
        assert fair.held_bytes == sum(size for _, size, _ in fair._entries.values())
        assert set(fair._clients) == set(fair._held) == held
    assert {name: entry[:2] for name, entry in expected.items()}.items() <= {
        name: entry[:2] for name, entry in fair._entries.items()
    }.items()
