"""A ``HookEvent`` as JSON and back: what the inbox keeps, sealed, of what was said."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gateway.core.person import Person
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.hooks.effects import Kept
from gateway.hooks.event import Effect, Group, HookEvent, Source, Subject

if TYPE_CHECKING:
    from gateway.hooks.ordering import AccountState


def dump_event(event: HookEvent, *, trace: str = "") -> str:
    """``trace``: ``traceparent`` of the request that brought it."""
    document = asdict(event)
    return json.dumps({**document, "trace": trace} if trace else document, separators=(",", ":"))


def load_event(text: str) -> tuple[HookEvent, str]:
    """Inverse of ``dump_event``."""
    raw = json.loads(text)
    return _event(raw), str(raw.get("trace", ""))


def _event(raw: dict[str, Any]) -> HookEvent:
    return HookEvent(
        source=Source(raw["source"]),
        type=raw["type"],
        effect=Effect(raw["effect"]),
        subject=Subject(
            **{
                **raw["subject"],
                "further": tuple((kind, value) for kind, value in raw["subject"]["further"]),
            }
        )
        if raw["subject"] is not None
        else None,
        group=Group(**raw["group"]) if raw["group"] is not None else None,
        event_time=raw["event_time"],
        id=raw["id"],
        reference=raw["reference"],
        members=tuple(raw["members"]),
    )


def dump_kept(kept: Kept) -> str:
    """What a state rests on; the state itself has columns of its own."""
    people, restrictions = (
        [asdict(one) for one in kept.by_address],
        [asdict(r) for r in kept.imposed],
    )
    return json.dumps(
        {
            "event": asdict(kept.event),
            "imposed": restrictions,
            "by_address": people,
            "released": kept.released,
        },
        separators=(",", ":"),
    )


def load_kept(text: str, state: AccountState) -> Kept:
    """Inverse of ``dump_kept``."""
    raw = json.loads(text)
    restrictions = tuple(
        RevocationRequest(**{**r, "who": Who(**r["who"]), "kind": RevocationKind(r["kind"])})
        for r in raw["imposed"]
    )
    people = tuple(Person(**one) for one in raw["by_address"])
    return Kept(
        state,
        _event(raw["event"]),
        restrictions,
        people,
        tuple((kind, value) for kind, value in raw["released"]),
    )
