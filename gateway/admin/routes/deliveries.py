"""``/hooks/deliveries`` and ``/hooks/webhooks``: what arrived and what went out, and how to have it
done again.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.admin.parsing import read_cursor, write_cursor
from gateway.admin.problem import Code, Problem
from gateway.admin.route import PARAMETERS, Answer, AnswerModel, ApiModel, Call, PageQuery, Route
from gateway.admin.routes.records import Tenant  # noqa: TC001 - pydantic reads annotations when the class is made
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from gateway.hooks.views import DeliveryRecords, DeliveryView, MessageRecords, MessageView


class DeliveriesQuery(PageQuery):
    tenant: Tenant | None = None
    state: Annotated[str, Field(pattern=r"^[a-z_]{1,20}$")] | None = None


class DeliveryRow(AnswerModel):
    id: str
    tenant: str
    provider: str
    source: str
    received_at: float
    state: str
    attempts: int
    summary: str
    error: str


class DeliveryList(AnswerModel):
    items: list[DeliveryRow]
    next: str | None


class HeldBody(ApiModel):
    """What becomes of removals of many people at once: all of the tenant's, or of one provider of
    it.
    """

    tenant: Annotated[str, Field(pattern=f"^{PARAMETERS['tenant']}$")]
    provider: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    decision: Literal["release", "drop"]


class HeldAnswer(AnswerModel):
    """How many events were held and are not any more."""

    events: int


class MessagesQuery(PageQuery):
    tenant: Tenant | None = None
    state: Literal["new", "sent", "failed"] | None = None


class MessageRow(AnswerModel):
    """One outgoing webhook; ``id`` is its ``webhook-id``. ``failed``: given up. Times are UTC epoch
    seconds.
    """

    id: str
    tenant: str
    event: str
    created_at: float
    state: Literal["new", "sent", "failed"]
    attempts: int
    next_at: float
    sent_at: float | None
    error: str


class MessageList(AnswerModel):
    items: list[MessageRow]
    next: str | None


def delivery_routes(deliveries: DeliveryRecords) -> tuple[Route, ...]:
    async def list_deliveries(call: Call) -> Answer:
        query = call.query(DeliveriesQuery)
        page = await deliveries.page(
            tenant=query.tenant,
            state=query.state,
            position=read_cursor("list_deliveries", query.cursor),
            limit=query.limit,
        )
        return Answer(
            DeliveryList(
                items=[_delivery(d) for d in page.items],
                next=write_cursor("list_deliveries", page.position),
            )
        )

    async def get_delivery(call: Call) -> Answer:
        return Answer(_delivery(await _found(deliveries, call)))

    async def replay_delivery(call: Call) -> Answer:
        found = await _found(deliveries, call)
        call.note.before = {"state": found.state, "attempts": found.attempts}
        replayed = await deliveries.replay(found.id)
        if isinstance(replayed, Rejected):
            raise Problem(Code(replayed.code), replayed.message)
        return Answer(_delivery(replayed))

    async def decide_held(call: Call) -> Answer:
        body = call.body(HeldBody)
        decide = deliveries.release_held if body.decision == "release" else deliveries.drop_held
        count = await decide(tenant=body.tenant, provider=body.provider)
        call.note.after = {"decision": body.decision, "events": count}
        return Answer(HeldAnswer(events=count))

    return (
        Route(
            "decide_held",
            "POST",
            "/hooks/held",
            "Release or drop removals of many people that are held",
            decide_held,
            {200: HeldAnswer},
            body=HeldBody,
        ),
        Route(
            "list_deliveries",
            "GET",
            "/hooks/deliveries",
            "What the hooks received, newest first",
            list_deliveries,
            {200: DeliveryList},
            query=DeliveriesQuery,
        ),
        Route(
            "get_delivery",
            "GET",
            "/hooks/deliveries/{delivery}",
            "One delivery",
            get_delivery,
            {200: DeliveryRow},
        ),
        Route(
            "replay_delivery",
            "POST",
            "/hooks/deliveries/{delivery}/replay",
            "Apply it again",
            replay_delivery,
            {200: DeliveryRow},
            problems=(Code.CONFLICT,),
        ),
    )


def message_routes(messages: MessageRecords) -> tuple[Route, ...]:
    async def list_messages(call: Call) -> Answer:
        query = call.query(MessagesQuery)
        page = await messages.page(
            tenant=query.tenant,
            state=query.state,
            position=read_cursor("list_messages", query.cursor),
            limit=query.limit,
        )
        return Answer(
            MessageList(
                items=[_message(m) for m in page.items],
                next=write_cursor("list_messages", page.position),
            )
        )

    async def find(call: Call) -> MessageView:
        found = await messages.find(call.path["message"])
        if found is None:
            raise Problem(Code.NOT_FOUND)
        call.own(found.tenant)
        return found

    async def get_message(call: Call) -> Answer:
        return Answer(_message(await find(call)))

    async def replay_message(call: Call) -> Answer:
        found = await find(call)
        call.note.before = {"state": found.state, "attempts": found.attempts}
        replayed = await messages.replay(found.id)
        if isinstance(replayed, Rejected):
            raise Problem(Code(replayed.code), replayed.message)
        return Answer(_message(replayed))

    return (
        Route(
            "list_messages",
            "GET",
            "/hooks/webhooks",
            "What the tenants' applications were told, newest first",
            list_messages,
            {200: MessageList},
            query=MessagesQuery,
        ),
        Route(
            "get_message",
            "GET",
            "/hooks/webhooks/{message}",
            "One outgoing webhook",
            get_message,
            {200: MessageRow},
        ),
        Route(
            "replay_message",
            "POST",
            "/hooks/webhooks/{message}/replay",
            "Send it again, with the same id and body",
            replay_message,
            {200: MessageRow},
            problems=(Code.CONFLICT,),
        ),
    )


async def _found(deliveries: DeliveryRecords, call: Call) -> DeliveryView:
    found = await deliveries.find(call.path["delivery"])
    if found is None:
        raise Problem(Code.NOT_FOUND)
    call.own(found.tenant)
    return found


def _delivery(view: DeliveryView) -> DeliveryRow:
    return DeliveryRow(
        id=view.id,
        tenant=view.tenant,
        provider=view.provider,
        source=view.source,
        received_at=view.received_at,
        state=view.state,
        attempts=view.attempts,
        summary=view.summary,
        error=view.error,
    )


def _message(view: MessageView) -> MessageRow:
    return MessageRow.model_validate(asdict(view))
