"""Google Directory API push notifications
(https://developers.google.com/workspace/admin/directory/v1/guides/push).

Rules:
- Google signs nothing: the channel's token is all the proof, and what a message says is a hint. The
  user is read again, whatever the message says happened.
- ``sync`` says that a channel is open; it is no change.
- A message that does not name its user is a gap: the directory is read at once.
- Messages have no event time, and their numbers are not an event's: the same one twice is looked up
  twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.hooks.event import (
    Delivery,
    Effect,
    EntryError,
    HookEvent,
    Skipped,
    SkipReason,
    Source,
    Subject,
    json_object,
    shown,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SYNC = "sync"
DELETED = "users/delete"
"""Type of an event that says what a look-up then confirms: there is nobody."""
MISSING = "reading/missing"
"""Type of an event about somebody whom a full reading does not name any more: to be looked up."""
GAP = "gap"
"""Type of an event that asks for a reading."""
_CHANGES = frozenset({"add", "update", "delete", "undelete", "makeAdmin"})


def parse_delivery(headers: Mapping[str, str], body: bytes) -> Delivery:
    """A message with a proof, that is not ``sync``. Raises ``DeliveryRejectedError`` for a body
    that is no JSON object.
    """
    channel, state = headers.get("X-Goog-Channel-ID", ""), headers.get("X-Goog-Resource-State", "")
    if state not in _CHANGES:
        return Delivery(Source.GOOGLE, (), (Skipped(0, shown(state), SkipReason.UNKNOWN_TYPE),))
    document = json_object(body) if body else {}
    try:
        user = text(document.get("id"), "id", limit=64)
    except EntryError:
        return Delivery(
            Source.GOOGLE,
            (HookEvent(Source.GOOGLE, GAP, Effect.SUBSCRIPTION, None, reference=channel),),
        )
    return Delivery(
        Source.GOOGLE,
        (
            HookEvent(
                Source.GOOGLE,
                f"users/{state}",
                Effect.LOOK_UP_ACCOUNT,
                Subject.of_record(user, (("idp_subject", user),)),
                reference=channel,
            ),
        ),
    )
