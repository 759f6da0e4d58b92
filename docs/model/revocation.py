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
from typing import TYPE_CHECKING, NamedTuple

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


class State(NamedTuple):
    """Everything. ``phase``: 0 idle, 1 executed, 2 on record, 3 listed, 4 confirmed, 5
    acknowledged. ``recorded`` stays when the revoker begins again.
    """

    stores: tuple[Primary, Primary]
    replicas: tuple[Replica, ...]
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


class Violation(NamedTuple):
    """A way to allow after the acknowledgement."""

    what: str
    trace: tuple[str, ...]
    states: int


class Completed(NamedTuple):
    """Every reachable state was visited and none of them violates."""

    states: int


def _put(items: tuple[Replica, ...], i: int, item: Replica) -> tuple[Replica, ...]:
    return (*items[:i], item, *items[i + 1 :])


def _store(s: State, where: int, store: Primary) -> tuple[Primary, Primary]:
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


def replica_steps(s: State, i: int, off: frozenset[str]) -> Iterator[tuple[str, State]]:
    """What replica ``i`` may do next, and what may happen to its messages."""
    r = s.replicas[i]
    store = s.stores[r.primary]
    cut = r.primary == 0 and s.isolated
    believed = r.primary == 0 or s.restored or "marker" in off

    others = s[2:]

    def become(r: Replica, stores: tuple[Primary, Primary] = s.stores) -> State:
        return State(stores, _put(s.replicas, i, r), *others)

    # A miss: send a direct read. ``late`` says that this check arrived after the acknowledgement.
    if r.read is None and (r.lease > 0 or "read_inside_lease" in off) and believed:
        yield (
            f"r{i} sends a read to {r.primary}",
            become(r._replace(read=(None, False, s.phase == 5))),
        )
    if r.read is not None:
        value, crossed, late = r.read
        if value is None:
            yield (
                f"{r.primary} executes the read of r{i}",
                become(r._replace(read=(store.present, crossed, late))),
            )
        elif crossed and "fill_guarded" not in off:
            yield f"r{i} discards a read that crossed an epoch", become(r._replace(read=None))
        else:
            filled = r.cached or (value and r.lease > 0)
            yield (
                f"r{i} answers {'allow' if value else 'no'} from a read{' (late)' if late else ''}",
                become(r._replace(read=None, cached=filled)),
            )

    # Renewals. A lapsed replica joins again as a new incarnation.
    if r.renewal is None and believed:
        confirmed = (
            max(r.pushes, default=r.applied)
            if "apply_before_confirm" in off and r.applied >= 0
            else r.applied
        )
        yield f"r{i} sends a renewal", become(r._replace(renewal=(None, LEASE, confirmed)))
    if r.renewal is not None:
        upto, left, confirmed = r.renewal
        if upto is None:
            leases = (*store.leases[:i], confirmed, *store.leases[i + 1 :])
            yield (
                f"{r.primary} executes the renewal of r{i}",
                become(
                    r._replace(renewal=(store.seq, left, JOINING)),
                    stores=_store(s, r.primary, store._replace(leases=leases)),
                ),
            )
        elif cut and "renewal_waits" not in off:
            yield (
                f"r{i}: the renewal was not confirmed by replicas of {r.primary}",
                become(r._replace(renewal=None)),
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
            yield f"r{i} renewed for {lease}", become(after)

    # Pushes.
    for n in r.pushes:
        rest = r._replace(pushes=r.pushes - {n})
        yield f"push {n} to r{i} is lost", become(rest)
        if n <= r.applied or r.applied == JOINING:
            yield f"r{i} ignores push {n}", become(rest)
        elif n == r.applied + 1:
            yield f"r{i} applies push {n}", become(_apply(rest, n, store.revoked))
        elif "gap_detected" in off:
            read = r.read if r.read is None else (r.read[0], True, r.read[2])
            yield (
                f"r{i} overlooks a gap before push {n}",
                become(rest._replace(applied=n, cached=r.cached and n != store.revoked, read=read)),
            )
        else:
            yield f"r{i} sees a gap before push {n}", become(_fresh_incarnation(rest, frozenset()))

    if s.promoted and r.primary == 0:
        moved = become(
            _fresh_incarnation(r, frozenset())._replace(primary=1, read=None, pushes=frozenset())
        )
        yield f"r{i} moves to 1", moved
        if "record" in off and s.stores[1].seq >= r.applied:
            yield (
                f"r{i} moves to 1 and finds all that it knows there",
                moved._replace(restored=True),
            )
    if r.lease > 0 or r.cached:
        yield (
            f"r{i} restarts",
            become(Replica(1 if s.promoted else 0, 0, JOINING, False, None, None, frozenset())),
        )


def revoker_steps(s: State, off: frozenset[str]) -> Iterator[tuple[str, State]]:
    """Delete and push, record, list by a fence, confirm the fence by WAIT, wait, acknowledge; and
    start again on the other primary.
    """
    store = s.stores[s.where]
    believed = s.where == 0 or s.restored
    cut = s.where == 0 and s.isolated

    def event(*, revoked: bool) -> tuple[tuple[Primary, Primary], tuple[Replica, ...]]:
        n = store.seq + 1
        after = store._replace(
            seq=n, present=store.present and not revoked, revoked=n if revoked else store.revoked
        )
        heard = tuple(
            r._replace(pushes=r.pushes | {n}) if r.primary == s.where else r for r in s.replicas
        )
        return _store(s, s.where, after), heard

    if not s.noise and believed:
        stores, heard = event(revoked=False)
        confirmed = not cut
        probation = STALENESS if s.where == 1 and s.probation < 0 and confirmed else s.probation
        yield (
            "another event",
            s._replace(stores=stores, replicas=heard, noise=True, probation=probation),
        )
    if s.phase == 0 and believed:
        early = frozenset(i for i, c in enumerate(store.leases) if c != ABSENT)
        if "list_after_delete" in off and s.wait == -1:
            yield "the revoker lists too early", s._replace(holders=early, wait=-2)
            return
        stores, heard = event(revoked=True)
        confirmed = "wait_after_record" in off and not cut
        if confirmed and s.where == 0 and not s.promoted:
            stores = (stores[0], stores[1]._replace(present=False))
        holders = s.holders if "list_after_delete" in off else frozenset()
        yield (
            f"revoked on {s.where}",
            s._replace(
                stores=stores,
                replicas=heard,
                phase=1,
                wait=-1,
                holders=holders,
                confirmed=confirmed,
            ),
        )
    if s.phase == 1:
        yield "the revocation is on record", s._replace(phase=2, recorded=True)
    if s.phase == 2 or (s.phase == 1 and "record_before_ack" in off):
        holders = (
            s.holders
            if "list_after_delete" in off
            else frozenset(i for i, c in enumerate(store.leases) if c != ABSENT)
        )
        yield "the revoker lists lease holders", s._replace(phase=3, holders=holders)
    if s.phase == 3 and (not cut or "revoke_waits" in off or s.confirmed):
        # WAIT succeeded: the replica, if there still is one, has it.
        stores = s.stores
        if s.where == 0 and not s.promoted and not cut:
            stores = (s.stores[0], s.stores[1]._replace(present=False))
        probation = STALENESS if s.where == 1 and s.probation < 0 else s.probation
        wait = STALENESS - 1 if "staleness_covers_lease" in off else STALENESS
        yield "durable", s._replace(phase=4, wait=wait, stores=stores, probation=probation)
    if s.phase == 4:
        waiting = {
            i for i in s.holders if store.leases[i] < store.revoked and store.leases[i] != ABSENT
        }
        known = s.where == 0 or s.probation == 0 or "primary_on_probation" in off
        if "ack_awaited" in off or ((not waiting or s.wait <= 0) and known):
            yield "acknowledged", s._replace(phase=5, wait=-1, holders=frozenset())
    if s.promoted and s.where == 0 and s.phase in {0, 1, 2, 3}:
        yield (
            "the revoker moves to 1 and starts again",
            s._replace(where=1, phase=0, wait=-1, holders=frozenset(), confirmed=False),
        )
        if "same_server" in off and s.phase in {1, 2} and s.restored:
            yield "the revoker goes on at 1", s._replace(where=1)


def world_steps(s: State, off: frozenset[str]) -> Iterator[tuple[str, State]]:
    """Time, isolation, promotion, restoration."""
    replicas = []
    for r in s.replicas:
        aged = (
            r
            if r.renewal is None
            else r._replace(renewal=(r.renewal[0], max(0, r.renewal[1] - 1), r.renewal[2]))
        )
        if r.lease > 0:
            aged = aged._replace(lease=r.lease - 1)
            if aged.lease == 0:
                aged = _fresh_incarnation(aged, off)
        replicas.append(aged)
    yield (
        "tick",
        s._replace(
            replicas=tuple(replicas),
            wait=s.wait - 1 if s.wait > 0 else s.wait,
            probation=s.probation - 1 if s.probation > 0 else s.probation,
        ),
    )
    if "no_ttl" in off:
        for where in (0, 1):
            store = s.stores[where]
            for i, lease in enumerate(store.leases):
                if lease != ABSENT:
                    yield (
                        "the store's clock expires a lease",
                        s._replace(
                            stores=_store(
                                s,
                                where,
                                store._replace(
                                    leases=(*store.leases[:i], ABSENT, *store.leases[i + 1 :])
                                ),
                            )
                        ),
                    )


def failover_steps(s: State) -> Iterator[tuple[str, State]]:
    """Primary 0 is cut off from its replica but not from clients; 1 is promoted; an admin role
    restores 1 from the record.
    """
    if not s.isolated:
        yield "0 is isolated", s._replace(isolated=True)
    if s.isolated and not s.promoted:
        yield "1 is promoted", s._replace(promoted=True)
        older = Primary(present=True, seq=0, revoked=0, leases=s.stores[1].leases)
        yield (
            "1 is promoted with an older copy of the data",
            s._replace(promoted=True, stores=(s.stores[0], older)),
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
        )


def canonical(s: State) -> State:
    """Forget what can no longer matter, so that states that behave alike are one state; ``s``
    itself where that is nothing.
    """
    replicas = s.replicas
    if any(r.pushes for r in replicas):
        replicas = tuple(
            [
                r._replace(pushes=frozenset([n for n in r.pushes if n > r.applied >= 0]))
                for r in replicas
            ]
        )
    nobody = (ABSENT,) * len(replicas)
    zero, one = s.stores
    if (s.where == 1 or s.phase == 5) and zero.leases != nobody:
        zero = zero._replace(leases=nobody)
    if s.phase == 5:
        if one.leases != nobody:
            one = one._replace(leases=nobody)
        if s.probation != -1:
            s = s._replace(probation=-1)
    if s.promoted and s.where == 1 and all(r.primary == 1 for r in replicas):
        zero = Primary(present=False, seq=0, revoked=0, leases=nobody)
    if len(replicas) > 1 and not s.holders and all(len(set(p.leases)) == 1 for p in (zero, one)):
        replicas = tuple(sorted(replicas, key=repr))
    if zero is s.stores[0] and one is s.stores[1] and replicas is s.replicas:
        return s
    return State((zero, one), replicas, *s[2:])


def violation(s: State) -> str | None:
    """A cached or a direct allow that this state makes possible after the acknowledgement."""
    if s.phase != 5:
        return None
    for i, r in enumerate(s.replicas):
        if r.cached and r.lease > 0:
            return f"r{i} may allow from its cache"
        if r.read is not None and r.read[0] is True and r.read[2] and not r.read[1]:
            return f"r{i} may allow a check that arrived after the acknowledgement, from a read"
    return None


def explore(
    *, replicas: int, failover: bool, off: frozenset[str] = frozenset(), limit: int = 3_000_000
) -> Completed | Violation:
    """Visit every state. ``off`` names the guards that a mutant lacks."""
    store = Primary(present=True, seq=0, revoked=0, leases=(ABSENT,) * replicas)
    nobody = Replica(0, 0, JOINING, False, None, None, frozenset())
    start = State(
        (store, store),
        (nobody,) * replicas,
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
    parent: dict[State, tuple[State, str] | None] = {start: None}
    frontier = [start]
    while frontier:
        following: list[State] = []
        for s in frontier:
            steps = [*world_steps(s, off), *revoker_steps(s, off)]
            if failover:
                steps += failover_steps(s)
            for i in range(replicas):
                steps += replica_steps(s, i, off)
            for name, t in steps:
                if t in parent:
                    continue
                after = canonical(t)
                if after is not t and after in parent:
                    continue
                parent[after] = (s, name)
                bad = violation(after)
                if bad is not None:
                    return Violation(bad, _trace(parent, after), len(parent))
                if len(parent) > limit:
                    msg = f"more than {limit} states"
                    raise RuntimeError(msg)
                following.append(after)
        frontier = following
    return Completed(len(parent))


def _trace(parent: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    steps: list[str] = []
    came = parent[state]
    while came is not None:
        state, name = came
        steps.append(name)
        came = parent[state]
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
