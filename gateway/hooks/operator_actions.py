"""What was done by hand (admin API, commands) is told to the tenant's application, and what a
provider said is given back as a whole.

Rules:
- The record of revocations is the queue: what is to be told is marked in the transaction of the
  block or lift itself, whichever process did it, and unmarked in the one that writes the message.
- What a provider imposed is lifted as what the provider said: everything of it, in the person's
  lane, with the standing that it rests on. So the provider's older words repeated take nothing away
  again, and its newer ones are told as news.
- A session that was blocked is nobody's leaving, and is not told.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.background import background_task, fault, in_rounds
from gateway.errors import UnavailableError
from gateway.hooks.effects import Notice
from gateway.hooks.event import BY_HAND, Delivery, Effect, Group, HookEvent, Subject
from gateway.hooks.inbox import digest
from gateway.hooks.webhooks.outbox import News, Origin
from gateway.revocation.api import LIFT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.core.person import Person
    from gateway.core.revocation import RevocationStatus, Who
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.api import HookTargets, People
    from gateway.hooks.effects import Kept
    from gateway.hooks.inbox import Inbox
    from gateway.hooks.webhooks.outbox import Outbox
    from gateway.revocation.api import Recorded
    from gateway.revocation.records import SqlRevocations

POLL_S = 1.0
AT_ONCE = 500
"""Lifts share one look at what is refused of their tenant."""
AGAIN_S = 60.0
"""When what could not be told is tried again: a key is missing, and may be given back."""


class ByHand:
    """The loop of one admin replica; several do no harm. ``clock``: UTC epoch seconds. ``stored``
    wakes the applier.
    """

    def __init__(
        self,
        record: SqlRevocations,
        committer: GroupCommitter,
        inbox: Inbox,
        outbox: Outbox,
        *,
        targets: HookTargets,
        people: People | None,
        stored: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._record, self._committer, self._inbox, self._outbox = record, committer, inbox, outbox
        self._targets, self._people, self._stored, self._clock = targets, people, stored, clock
        self._resting: dict[str, float] = {}
        """What could not be told, by id, and until when it is left alone (UTC epoch seconds)."""

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(
            in_rounds(
                self.round,
                pause_s=POLL_S,
                unavailable="by_hand_unavailable",
                failed="by_hand_fault",
            )
        )

    async def round(self) -> int:
        """Tell what has not been told; how much that was. Raises ``UnavailableError``."""
        now, count = self._clock(), 0
        self._resting = {
            revocation: until for revocation, until in self._resting.items() if until > now
        }
        pending_people: set[tuple[str, Who]] = set()
        async for page in self._record.to_tell(
            limit=AT_ONCE, resting=self._resting, failed=self._rest
        ):
            by_tenant: dict[str, list[tuple[Recorded, Sequence[Person]]]] = {}
            for entry, people in page:
                by_tenant.setdefault(entry.status.request.tenant, []).append((entry, people))
            for tenant, mine in by_tenant.items():
                lifts = [
                    entry.status
                    for entry, _ in mine
                    if entry.kind == LIFT and entry.status.id not in self._resting
                ]
                statements: Mapping[str, Sequence[tuple[str, Kept]]] = {}
                with self._apart(tenant, *(status.id for status in lifts)):
                    statements = await self._imposed(tenant, lifts)
                for entry, people in mine:
                    person = (tenant, entry.status.request.who)
                    if entry.status.id not in self._resting and person not in pending_people:
                        with self._apart(tenant, entry.status.id):
                            await self._tell(entry, people, statements.get(entry.status.id, []))
                            count += 1
                    if entry.status.id in self._resting:
                        # What came later of the same person is told later.
                        pending_people.add(person)
        return count

    def _rest(self, revocation: str) -> None:
        self._resting[revocation] = self._clock() + AGAIN_S

    @contextlib.contextmanager
    def _apart(self, tenant: str, *ids: str) -> Iterator[None]:
        """What cannot be told (a row that does not open) is logged, and tried again after a pause;
        it keeps nothing else from being told.
        """
        try:
            yield
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - logged
            fault("by_hand_fault", error, tenant=tenant, revocations=ids)
            for one in ids:
                self._rest(one)

    async def _imposed(
        self, tenant: str, lifts: Sequence[RevocationStatus]
    ) -> Mapping[str, Sequence[tuple[str, Kept]]]:
        """What a provider had said to which each lift gives an answer, by the lift's id."""
        results = (
            await self._inbox.imposed(
                tenant, [(status.request, status.received_at) for status in lifts]
            )
            if lifts
            else []
        )
        return {status.id: statements for status, statements in zip(lifts, results, strict=True)}

    async def _tell(
        self, entry: Recorded, people: Sequence[Person], imposed: Sequence[tuple[str, Kept]]
    ) -> None:
        status, request = entry.status, entry.status.request
        candidates = [
            (self._targets.find(request.tenant, provider), kept) for provider, kept in imposed
        ]
        pairs: list[tuple[HookTarget, Kept]] = [
            (target, kept) for target, kept in candidates if target is not None
        ]
        notice = None if pairs else await self._notice(entry, people)

        async def work(connection: AsyncConnection) -> None:
            if not await self._record.told(connection, status.id):
                return
            for target, kept in pairs:
                event = _given_back(kept, at=status.received_at, revocation=status.id)
                await self._inbox.store(
                    connection,
                    target,
                    Delivery(event.source, (event,)),
                    received_at=self._clock(),
                    channel="by_hand",
                )
            if notice is not None:
                origin = Origin(
                    request.tenant,
                    request.who.provider or "",
                    request.source,
                    BY_HAND if entry.kind == LIFT else "operator.block",
                )
                await self._outbox.add(
                    connection,
                    News(
                        notice,
                        origin,
                        lane=digest(request.tenant, "by hand", repr(request.who)),
                        revocation=status.id,
                        now=self._clock(),
                    ),
                )

        await self._committer.run(work)
        if pairs:
            self._stored()
        elif notice is not None:
            self._outbox.wake()

    async def _notice(self, entry: Recorded, people: Sequence[Person]) -> Notice | None:
        request, lifted = entry.status.request, entry.kind == LIFT
        who, at = request.who, entry.status.received_at
        if who.session is not None:
            return None
        if request.group_overlay is not None or who.group is not None:
            group = Group(name=request.group_overlay or who.group or "")
            if who.group is not None or not _names_a_person(who):
                return Notice(
                    "group.restored" if lifted else "group.removed",
                    "operator",
                    Subject(),
                    (),
                    group,
                    at,
                )
            return Notice(
                "user.group_added" if lifted else "user.group_removed",
                "operator",
                _subject(who),
                tuple(await self._known(request.tenant, who)),
                group,
                at,
                user=who.user or "",
            )
        if not _names_a_person(who):
            return Notice(
                "tenant.unblocked" if lifted else "tenant.blocked",
                "operator",
                Subject(),
                (),
                None,
                at,
            )
        known_people = people or await self._known(request.tenant, who)
        return Notice(
            "user.restored" if lifted else "user.deprovisioned",
            "operator",
            _subject(who),
            tuple(known_people),
            None,
            at,
            user=who.user or "",
        )

    async def _known(self, tenant: str, who: Who) -> Sequence[Person]:
        names = [
            (kind, value)
            for kind in ("user", "idp_subject", "oid", "email")
            if (value := getattr(who, kind)) is not None
        ]
        if self._people is None:
            return ()
        with contextlib.suppress(UnavailableError):
            return await self._people.known(tenant, provider=who.provider or "", names=names)
        return ()


def _given_back(kept: Kept, *, at: float, revocation: str) -> HookEvent:
    """As if the provider had said so when the operator did."""
    event = kept.event
    effect = Effect.LIFT if event.group is None else Effect.GROUP_ADDED
    subject, group = (
        event.subject.key if event.subject else "",
        event.group.key if event.group else "",
    )
    return HookEvent(
        event.source,
        BY_HAND,
        effect,
        event.subject,
        event.group,
        at,
        f"by-hand:{digest(revocation, subject, group)}",
    )


def _subject(who: Who) -> Subject:
    return Subject(idp_subject=who.idp_subject or "", oid=who.oid or "", email=who.email or "")


def _names_a_person(who: Who) -> bool:
    return any(value is not None for value in (who.user, who.idp_subject, who.oid, who.email))
