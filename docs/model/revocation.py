# ruff: noqa: INP001 - a program beside the documentation, not a module of a package
"""An exhaustive model of how a revocation is acknowledged: every reachable state, breadth first, to
completion.

What is checked: **no check that arrives after the acknowledgement allows** (invariant 5).

Replicas do not talk to each other and the acknowledgement is a conjunction over them, so a history
that breaks the property for some replica is also a history of that replica alone: one replica is
explored.

What is abstracted:

* Time is relative: a lease has ``LEASE`` ticks to live, the revoker waits ``STALENESS`` ticks, a
  tick may happen in any state. A replica that does nothing while ticks pass is a frozen one.
* One session (``present``), one revocation, one other event ("noise", so that a push can be lost
  and the next one heard).
* Messages are *unordered*: a push, the reply to a read and the reply to a renewal may be handled in
  any order, pushes may be lost. The real link is one ordered stream, which is kinder.
* Two primaries: 0, and 1, its replica, which may be promoted while 0 keeps answering clients. What
  was not confirmed by WAIT never reached 1.
* A cached answer is one step (it is synchronous code that reads the lease last), so it needs no
  action: a state in which a cached allow *could* be given after the acknowledgement is itself a
  violation.

Run: ``python docs/model/revocation.py`` (all mutants, too). The names of the guards are those of
docs/sessions.md.
"""

from __future__ import annotations

import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASE = 2
"""Ticks from *before sending* a renewal to the end of the lease."""
STALENESS = 2
"""Ticks that the revoker waits for a silent lease holder, on its own clock. Never less than
``LEASE``.
"""

ABSENT, JOINING = -2, -1
"""A lease that is not in the store; a lease of a new incarnation that has confirmed nothing yet.
From 0 on: the last event applied.
"""

GUARDS: dict[str, str] = {
    "fill_guarded": "a read that crossed an epoch is discarded",
    "backlog_first": "a renewal counts only after every event up to its reply was applied",
    "no_ttl": "a lease never disappears from the store by the store's clock",
    "list_after_delete": "lease holders are listed after the deletion",
    "ack_awaited": "the revoker waits for each holder or for a full staleness",
    "count_from_send": "a lease is counted from before sending the renewal",
    "read_inside_lease": "a direct read counts only if sent inside a held lease",
    "marker": "a primary is believed only after it was restored for what it is now",
    "record": (
        "a primary is restored from the record, not believed because it holds every event that "
        "a replica knows of"
    ),
    "renewal_waits": "a renewal counts only if the primary's replicas confirmed it",
    "revoke_waits": "a revocation is acknowledged only if the primary's replicas confirmed it",
    "wait_after_record": (
        "what replicas confirm is the fence, which comes after the record, not the revocation alone"
    ),
    "record_before_ack": "a revocation is on record before it is acknowledged",
    "same_server": (
        "only the server that ended the sessions acknowledges: on another one the revocation "
        "begins again"
    ),
    "primary_on_probation": (
        "on a primary that the revoker has not yet known for a full staleness, holders "
        "elsewhere are waited out"
    ),
    "gap_detected": "a push that skips a number ends the incarnation",
    "apply_before_confirm": "an event is confirmed only after it was applied",
    "staleness_covers_lease": "the revoker's wait is not shorter than a lease",
}

REDUNDANT: dict[str, str] = {"lapse_empties": "a lapsed lease empties the cache"}
"""Kept although the property holds without: the event log alone would bring a lapsed cache up to
date. It makes the log's length a matter of cost only.
"""


class Primary(NamedTuple):
    """One store. ``revoked`` is the number of the event that deleted the session, 0 before."""

    present: bool
    seq: int
    revoked: int
    leases: tuple[int, ...]


class Replica(NamedTuple):
    """One worker. ``read``: (value, or None until executed; crossed an epoch; late). ``renewal``:
    (events so far, or None until executed; ticks left; confirms).
    """

    primary: int
    lease: int
    applied: int
    cached: bool
    read: tuple[bool | None, bool, bool] | None
    renewal: tuple[int | None, int, int] | None
    pushes: frozenset[int]


class Shared(NamedTuple):
    """Everything but the replicas. ``phase``: 0 idle, 1 executed, 2 on record, 3 listed, 4
    confirmed, 5 acknowledged. ``recorded`` stays when the revoker begins again.
    """

    stores: tuple[Primary, Primary]
    isolated: bool
    promoted: bool
    restored: bool
    noise: bool
    phase: int
    recorded: bool
    confirmed: bool
    """Only without ``wait_after_record``: the replicas had the revocation before it was on
    record.
    """
    where: int
    holders: frozenset[int]
    wait: int
    probation: int


class View(NamedTuple):
    """What the next step of a replica depends on, besides the replica. ``late``: a check that
    arrives now arrives after the acknowledgement. ``elsewhere``: the events that primary 1 has.
    """

    store: Primary
    cut: bool
    restored: bool
    late: bool
    promoted: bool
    elsewhere: int


SharedStep = tuple[str, Shared, int]
"""Name, what follows, and the number of the event that is pushed to the replicas that hear
``where``; 0 for none.
"""

ReplicaStep = tuple[str, Replica, Primary, bool]
"""Name, the replica that follows, its former primary's store, and ``restored``."""


class Violation(NamedTuple):
    """A way to allow after the acknowledgement."""

    what: str
    trace: tuple[str, ...]
    states: int


class Completed(NamedTuple):
    """Every reachable state was visited and none of them violates."""

    states: int


def _store(s: Shared, where: int, store: Primary) -> tuple[Primary, Primary]:
    return (store, s.stores[1]) if where == 0 else (s.stores[0], store)


def _fresh_incarnation(r: Replica, off: frozenset[str]) -> Replica:
    """Lease gone, cache empty, reads in flight crossed, renewals in flight forgotten."""
    keep = "lapse_empties" in off
    read = r.read if r.read is None else (r.read[0], True, r.read[2])
    return r._replace(
        lease=0,
        applied=r.applied if keep else JOINING,
        cached=r.cached and keep,
        read=read,
        renewal=None,
    )


def _apply(r: Replica, upto: int, revoked: int) -> Replica:
    """Apply the events after ``r.applied`` up to and including ``upto``."""
    if upto <= r.applied:
        return r
    hit = revoked != 0 and r.applied < revoked <= upto
    read = r.read if r.read is None else (r.read[0], True, r.read[2])
    return r._replace(applied=upto, cached=r.cached and not hit, read=read)


def view(s: Shared, primary: int, off: frozenset[str]) -> View:
    """What a replica of ``primary`` sees."""
    return View(
        store=s.stores[primary],
        cut=primary == 0 and s.isolated,
        restored=s.restored,
        late=s.phase == 5,
        promoted=s.promoted,
        elsewhere=s.stores[1].seq if "record" in off else 0,
    )


def replica_steps(r: Replica, i: int, v: View, off: frozenset[str]) -> Iterator[ReplicaStep]:
    """What replica ``i`` may do next, and what may happen to its messages."""
    store = v.store
    believed = r.primary == 0 or v.restored or "marker" in off

    def become(r: Replica, store: Primary = store) -> tuple[Replica, Primary, bool]:
        return r, store, v.restored

    # A miss: send a direct read. ``late`` says that this check arrived after the acknowledgement.
    if r.read is None and (r.lease > 0 or "read_inside_lease" in off) and believed:
        yield (
            f"r{i} sends a read to {r.primary}",
            *become(r._replace(read=(None, False, v.late))),
        )
    if r.read is not None:
        value, crossed, late = r.read
        if value is None:
            yield (
                f"{r.primary} executes the read of r{i}",
                *become(r._replace(read=(store.present, crossed, late))),
            )
        elif crossed and "fill_guarded" not in off:
            yield f"r{i} discards a read that crossed an epoch", *become(r._replace(read=None))
        else:
            filled = r.cached or (value and r.lease > 0)
            yield (
                f"r{i} answers {'allow' if value else 'no'} from a read{' (late)' if late else ''}",
                *become(r._replace(read=None, cached=filled)),
            )

    # Renewals. A lapsed replica joins again as a new incarnation.
    if r.renewal is None and believed:
        confirmed = (
            max(r.pushes, default=r.applied)
            if "apply_before_confirm" in off and r.applied >= 0
            else r.applied
        )
        yield f"r{i} sends a renewal", *become(r._replace(renewal=(None, LEASE, confirmed)))
    if r.renewal is not None:
        upto, left, confirmed = r.renewal
        if upto is None:
            leases = (*store.leases[:i], confirmed, *store.leases[i + 1 :])
            yield (
                f"{r.primary} executes the renewal of r{i}",
                *become(
                    r._replace(renewal=(store.seq, left, JOINING)),
                    store=store._replace(leases=leases),
                ),
            )
        elif v.cut and "renewal_waits" not in off:
            yield (
                f"r{i}: the renewal was not confirmed by replicas of {r.primary}",
                *become(r._replace(renewal=None)),
            )
        else:
            lease = LEASE if "count_from_send" in off else left
            if r.applied == JOINING:
                after = r._replace(renewal=None, lease=lease, applied=upto)
            elif "backlog_first" in off:
                after = r._replace(renewal=None, lease=lease)
            else:
                after = _apply(r, upto, store.revoked)._replace(
                    renewal=None, lease=max(lease, r.lease)
                )
            yield f"r{i} renewed for {lease}", *become(after)

    # Pushes.
    for n in r.pushes:
        rest = r._replace(pushes=r.pushes - {n})
        yield f"push {n} to r{i} is lost", *become(rest)
        if n <= r.applied or r.applied == JOINING:
            yield f"r{i} ignores push {n}", *become(rest)
        elif n == r.applied + 1:
            yield f"r{i} applies push {n}", *become(_apply(rest, n, store.revoked))
        elif "gap_detected" in off:
            read = r.read if r.read is None else (r.read[0], True, r.read[2])
            yield (
                f"r{i} overlooks a gap before push {n}",
                *become(
                    rest._replace(applied=n, cached=r.cached and n != store.revoked, read=read)
                ),
            )
        else:
            yield f"r{i} sees a gap before push {n}", *become(_fresh_incarnation(rest, frozenset()))

    if v.promoted and r.primary == 0:
        moved = become(
            _fresh_incarnation(r, frozenset())._replace(primary=1, read=None, pushes=frozenset())
        )
        yield f"r{i} moves to 1", *moved
        if "record" in off and v.elsewhere >= r.applied:
            yield f"r{i} moves to 1 and finds all that it knows there", moved[0], store, True
    if r.lease > 0 or r.cached:
        yield (
            f"r{i} restarts",
            *become(Replica(1 if v.promoted else 0, 0, JOINING, False, None, None, frozenset())),
        )


def revoker_steps(s: Shared, off: frozenset[str]) -> Iterator[SharedStep]:
    """Delete and push, record, list by a fence, confirm the fence by WAIT, wait, acknowledge; and
    start again on the other primary.
    """
    store = s.stores[s.where]
    believed = s.where == 0 or s.restored
    cut = s.where == 0 and s.isolated

    def event(*, revoked: bool) -> tuple[tuple[Primary, Primary], int]:
        n = store.seq + 1
        after = store._replace(
            seq=n, present=store.present and not revoked, revoked=n if revoked else store.revoked
        )
        return _store(s, s.where, after), n

    if not s.noise and believed:
        stores, pushed = event(revoked=False)
        confirmed = not cut
        probation = STALENESS if s.where == 1 and s.probation < 0 and confirmed else s.probation
        yield (
            "another event",
            s._replace(stores=stores, noise=True, probation=probation),
            pushed,
        )
    if s.phase == 0 and believed:
        early = frozenset(i for i, c in enumerate(store.leases) if c != ABSENT)
        if "list_after_delete" in off and s.wait == -1:
            yield "the revoker lists too early", s._replace(holders=early, wait=-2), 0
            return
        stores, pushed = event(revoked=True)
        confirmed = "wait_after_record" in off and not cut
        if confirmed and s.where == 0 and not s.promoted:
            stores = (stores[0], stores[1]._replace(present=False))
        holders = s.holders if "list_after_delete" in off else frozenset()
        yield (
            f"revoked on {s.where}",
            s._replace(
                stores=stores,
                phase=1,
                wait=-1,
                holders=holders,
                confirmed=confirmed,
            ),
            pushed,
        )
    if s.phase == 1:
        yield "the revocation is on record", s._replace(phase=2, recorded=True), 0
    if s.phase == 2 or (s.phase == 1 and "record_before_ack" in off):
        holders = (
            s.holders
            if "list_after_delete" in off
            else frozenset(i for i, c in enumerate(store.leases) if c != ABSENT)
        )
        yield "the revoker lists lease holders", s._replace(phase=3, holders=holders), 0
    if s.phase == 3 and (not cut or "revoke_waits" in off or s.confirmed):
        # WAIT succeeded: the replica, if there still is one, has it.
        stores = s.stores
        if s.where == 0 and not s.promoted and not cut:
            stores = (s.stores[0], s.stores[1]._replace(present=False))
        probation = STALENESS if s.where == 1 and s.probation < 0 else s.probation
        wait = STALENESS - 1 if "staleness_covers_lease" in off else STALENESS
        after = s._replace(phase=4, wait=wait, stores=stores, probation=probation)
        yield "durable", after, 0
    if s.phase == 4:
        waiting = {
            i for i in s.holders if store.leases[i] < store.revoked and store.leases[i] != ABSENT
        }
        known = s.where == 0 or s.probation == 0 or "primary_on_probation" in off
        if "ack_awaited" in off or ((not waiting or s.wait <= 0) and known):
            yield "acknowledged", s._replace(phase=5, wait=-1, holders=frozenset()), 0
    if s.promoted and s.where == 0 and s.phase in {0, 1, 2, 3}:
        yield (
            "the revoker moves to 1 and starts again",
            s._replace(where=1, phase=0, wait=-1, holders=frozenset(), confirmed=False),
            0,
        )
        if "same_server" in off and s.phase in {1, 2} and s.restored:
            yield "the revoker goes on at 1", s._replace(where=1), 0


def aged(r: Replica, off: frozenset[str]) -> Replica:
    """A tick later."""
    after = r
    if r.renewal is not None:
        after = r._replace(renewal=(r.renewal[0], max(0, r.renewal[1] - 1), r.renewal[2]))
    if r.lease > 0:
        after = after._replace(lease=r.lease - 1)
        if after.lease == 0:
            after = _fresh_incarnation(after, off)
    return after


def tick(s: Shared) -> Shared:
    """A tick later; the replicas are ``aged``."""
    return s._replace(
        wait=s.wait - 1 if s.wait > 0 else s.wait,
        probation=s.probation - 1 if s.probation > 0 else s.probation,
    )


def expiry_steps(s: Shared, off: frozenset[str]) -> Iterator[SharedStep]:
    """Only without ``no_ttl``."""
    if "no_ttl" in off:
        for where, store in enumerate(s.stores):
            for i, lease in enumerate(store.leases):
                if lease != ABSENT:
                    leases = (*store.leases[:i], ABSENT, *store.leases[i + 1 :])
                    after = s._replace(stores=_store(s, where, store._replace(leases=leases)))
                    yield "the store's clock expires a lease", after, 0


def failover_steps(s: Shared) -> Iterator[SharedStep]:
    """Primary 0 is cut off from its replica but not from clients; 1 is promoted; an admin role
    restores 1 from the record.
    """
    if not s.isolated:
        yield "0 is isolated", s._replace(isolated=True), 0
    if s.isolated and not s.promoted:
        yield "1 is promoted", s._replace(promoted=True), 0
        older = Primary(present=True, seq=0, revoked=0, leases=s.stores[1].leases)
        yield (
            "1 is promoted with an older copy of the data",
            s._replace(promoted=True, stores=(s.stores[0], older)),
            0,
        )
    if s.promoted and not s.restored:
        store = s.stores[1]
        gone = s.recorded
        n = store.seq + 1
        yield (
            "1 is restored from the record",
            s._replace(
                restored=True,
                stores=(
                    s.stores[0],
                    store._replace(
                        seq=n if gone else store.seq,
                        present=store.present and not gone,
                        revoked=n if gone else 0,
                    ),
                ),
            ),
            0,
        )


def relevant_pushes(r: Replica) -> Replica:
    """Forget the pushes that can no longer matter."""
    if not r.pushes:
        return r
    return r._replace(pushes=frozenset([n for n in r.pushes if n > r.applied >= 0]))


def relevant(s: Shared, *, moved: bool) -> Shared:
    """Forget what can no longer matter, so that states that behave alike are one state.
    ``moved``: every replica is at primary 1.
    """
    zero, one = s.stores
    nobody = (ABSENT,) * len(zero.leases)
    if s.where == 1 or s.phase == 5:
        zero = zero._replace(leases=nobody)
    if s.phase == 5:
        one = one._replace(leases=nobody)
        s = s._replace(probation=-1)
    if s.promoted and s.where == 1 and moved:
        zero = Primary(present=False, seq=0, revoked=0, leases=nobody)
    return s._replace(stores=(zero, one))


def interchangeable(s: Shared) -> bool:
    """Nothing tells the replicas apart, so that their order does not matter."""
    return not s.holders and all(len(set(store.leases)) == 1 for store in s.stores)


def violation(r: Replica, i: int) -> str | None:
    """A cached or a direct allow that replica ``i`` makes possible after the acknowledgement."""
    if r.cached and r.lease > 0:
        return f"r{i} may allow from its cache"
    if r.read is not None and r.read[0] is True and r.read[2] and not r.read[1]:
        return f"r{i} may allow a check that arrived after the acknowledgement, from a read"
    return None


State = tuple[int, ...]
"""The number of what is shared, then the number of each replica."""

Came = dict[State, tuple[State, str] | None]
"""Where each state was first reached from, and by which step."""


T = TypeVar("T")


class Numbers(Generic[T]):
    """Each value has a number, so that comparing and hashing it costs nothing."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def of(self, value: T) -> int:
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Steps:
    """The steps from each state. A step is worked out once for all the states in which what it
    depends on is the same: a few thousand contexts and replicas make up all of them.
    """

    def __init__(self, *, failover: bool, off: frozenset[str]) -> None:
        self._failover, self._off = failover, off
        self._shared: Numbers[Shared] = Numbers()
        self._replicas: Numbers[Replica] = Numbers()
        self._views: Numbers[View] = Numbers()
        # Each function of numbers only, asked millions of times.
        self._view = cache(self._find_view)
        self._of_shared = cache(self._find_of_shared)
        self._of_replica = cache(self._find_of_replica)
        self._of_shared_at = cache(self._find_of_shared_at)
        self._then = cache(self._find_then)
        self._after = cache(self._find_after)
        self._relevant = cache(self._find_relevant)
        self._heard = cache(self._find_heard)
        self._aged = cache(self._find_aged)
        self._primary = cache(lambda r: self._replicas.values[r].primary)
        self._late = cache(lambda s: self._shared.values[s].phase == 5)
        self._interchangeable = cache(lambda s: interchangeable(self._shared.values[s]))
        self._spelled = cache(lambda r: repr(self._replicas.values[r]))
        self._violation = cache(lambda r, i: violation(self._replicas.values[r], i))

    def state(self, shared: Shared, replicas: tuple[Replica, ...]) -> State:
        return self._state(self._shared.of(shared), [self._replicas.of(r) for r in replicas])

    def __call__(self, state: State) -> list[tuple[str, State]]:
        if len(state) == 2:
            return self._of_single(*state)
        s, *replicas = state
        ticked, others = self._of_shared(s)
        found = [("tick", self._state(ticked, [self._aged(r) for r in replicas]))]
        for name, after, event in others:
            heard = [self._heard(r, s, event) for r in replicas] if event else replicas
            found.append((name, self._state(after, heard)))
        for i, r in enumerate(replicas):
            primary = self._primary(r)
            for name, became, change in self._of_replica(r, i, self._view(s, primary)):
                after = s if change is None else self._after(s, primary, change)
                found.append(
                    (name, self._state(after, [*replicas[:i], became, *replicas[i + 1 :]]))
                )
        return found

    def _of_single(self, s: int, r: int) -> list[tuple[str, State]]:
        """As for several; what does not depend on both is worked out once for either."""
        primary = self._primary(r)
        ticked, others = self._of_shared_at(s, primary)
        found = [("tick", (ticked, self._aged(r)))]
        found += [
            (name, (after, self._heard(r, s, event) if event else r))
            for name, after, event in others
        ]
        found += [
            (name, (self._then(s, primary, change, self._primary(became)), became))
            for name, became, change in self._of_replica(r, 0, self._view(s, primary))
        ]
        return found

    def violation(self, state: State) -> str | None:
        if not self._late(state[0]):
            return None
        return next(filter(None, map(self._violation, state[1:], range(len(state)))), None)

    def _state(self, s: int, replicas: list[int]) -> State:
        moved = True
        for r in replicas:
            if self._primary(r) == 0:
                moved = False
        s = self._relevant(s, moved)
        if len(replicas) > 1 and self._interchangeable(s):
            return (s, *sorted(replicas, key=self._spelled))
        return (s, *replicas)

    def _find_view(self, s: int, primary: int) -> int:
        return self._views.of(view(self._shared.values[s], primary, self._off))

    def _find_of_shared(self, s: int) -> tuple[int, list[tuple[str, int, int]]]:
        shared = self._shared.values[s]
        steps = [*expiry_steps(shared, self._off), *revoker_steps(shared, self._off)]
        if self._failover:
            steps += failover_steps(shared)
        return self._shared.of(tick(shared)), [
            (name, self._shared.of(after), event) for name, after, event in steps
        ]

    def _find_of_shared_at(self, s: int, primary: int) -> tuple[int, list[tuple[str, int, int]]]:
        """``_of_shared`` for a replica of ``primary``."""
        moved = primary != 0
        ticked, others = self._of_shared(s)
        return self._relevant(ticked, moved), [
            (name, self._relevant(after, moved), event) for name, after, event in others
        ]

    def _find_then(self, s: int, primary: int, change: tuple[Primary, bool] | None, at: int) -> int:
        """After a replica's step, which is at primary ``at`` now."""
        after = s if change is None else self._after(s, primary, change)
        return self._relevant(after, at != 0)

    def _find_of_replica(
        self, r: int, i: int, v: int
    ) -> list[tuple[str, int, tuple[Primary, bool] | None]]:
        seen = self._views.values[v]
        return [
            (
                name,
                self._replicas.of(relevant_pushes(after)),
                None if (store, restored) == (seen.store, seen.restored) else (store, restored),
            )
            for name, after, store, restored in replica_steps(
                self._replicas.values[r], i, seen, self._off
            )
        ]

    def _find_after(self, s: int, primary: int, change: tuple[Primary, bool]) -> int:
        shared = self._shared.values[s]
        store, restored = change
        return self._shared.of(
            shared._replace(stores=_store(shared, primary, store), restored=restored)
        )

    def _find_relevant(self, s: int, moved: bool) -> int:  # noqa: FBT001 - a key of the cache
        return self._shared.of(relevant(self._shared.values[s], moved=moved))

    def _find_heard(self, r: int, s: int, event: int) -> int:
        replica = self._replicas.values[r]
        if replica.primary != self._shared.values[s].where:
            return r
        heard = replica._replace(pushes=replica.pushes | {event})
        return self._replicas.of(relevant_pushes(heard))

    def _find_aged(self, r: int) -> int:
        return self._replicas.of(relevant_pushes(aged(self._replicas.values[r], self._off)))


def explore(
    *, replicas: int, failover: bool, off: frozenset[str] = frozenset(), limit: int = 3_000_000
) -> Completed | Violation:
    """Visit every state. ``off`` names the guards that a mutant lacks."""
    store = Primary(present=True, seq=0, revoked=0, leases=(ABSENT,) * replicas)
    nobody = Replica(0, 0, JOINING, False, None, None, frozenset())
    shared = Shared(
        (store, store),
        False,
        False,
        False,
        False,
        0,
        False,
        False,
        0,
        frozenset(),
        -1,
        -1,
    )
    steps = Steps(failover=failover, off=off)
    start = steps.state(shared, (nobody,) * replicas)
    came: Came = {start: None}
    frontier = [start]
    while frontier:
        following: list[State] = []
        for state in frontier:
            for name, after in steps(state):
                if after in came:
                    continue
                came[after] = (state, name)
                bad = steps.violation(after)
                if bad is not None:
                    return Violation(bad, _trace(came, after), len(came))
                if len(came) > limit:
                    msg = f"more than {limit} states"
                    raise RuntimeError(msg)
                following.append(after)
        frontier = following
    return Completed(len(came))


def _trace(came: Came, state: State) -> tuple[str, ...]:
    steps: list[str] = []
    before = came[state]
    while before is not None:
        state, name = before
        steps.append(name)
        before = came[state]
    return tuple(reversed(steps))


def main() -> int:
    """Print what was explored; 1 if the protocol breaks or a mutant lives."""
    failed = False
    for replicas, failover in ((1, False), (1, True)):
        began = time.monotonic()
        result = explore(replicas=replicas, failover=failover)
        name = f"{replicas} replica(s), {'with' if failover else 'without'} failover"
        if isinstance(result, Violation):
            failed = True
            sys.stdout.write(
                f"{name}: BROKEN: {result.what}\n  " + "\n  ".join(result.trace) + "\n"
            )
        else:
            sys.stdout.write(
                f"{name}: {result.states} states, none violates "
                f"({time.monotonic() - began:.1f} s)\n"
            )
    for guard, meaning in GUARDS.items():  # every mutant must be caught
        result = explore(replicas=1, failover=True, off=frozenset({guard}))
        caught = isinstance(result, Violation)
        failed |= not caught
        sys.stdout.write(
            f"without {guard} ({meaning}): {'caught' if caught else 'NOT CAUGHT'} after "
            f"{result.states} states\n"
        )
        if isinstance(result, Violation) and "-v" in sys.argv:
            sys.stdout.write("  " + "\n  ".join(result.trace) + f"\n  => {result.what}\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
