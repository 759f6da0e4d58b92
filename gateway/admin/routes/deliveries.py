"""``/hooks/deliveries`` and ``/hooks/webhooks``: what arrived and what went out, and how to have it
done again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from gateway.admin.listing import RecordHandlers, list_page
from gateway.admin.problem import Code
from gateway.admin.route import PARAMETERS, Answer, AnswerModel, ApiModel, Call, PageQuery, Route
from gateway.admin.routes.records import Tenant  # noqa: TC001 - pydantic reads annotations when the class is made
from gateway.admin.webhook_schema import WebhookCatalog, catalog
from gateway.core.hook_target import WebhookEvent  # noqa: TC001 - pydantic reads annotations when the class is made

if TYPE_CHECKING:
    from gateway.core.json_types import Json
    from gateway.hooks.views import DeliveryRecords, DeliveryView, MessageRecords, MessageView


class DeliveriesQuery(PageQuery):
    """``since`` and ``until``: when it arrived, in UTC epoch seconds."""

    tenant: Tenant | None = None
    state: Annotated[str, Field(pattern=r"^[a-z_]{1,20}$")] | None = None
    since: Annotated[float, Field(ge=0, le=1e11)] | None = None
    until: Annotated[float, Field(ge=0, le=1e11)] | None = None


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


class DeliveryAnswer(DeliveryRow):
    """``said``: what was sent, without who it is about: of addresses the domain, of ids the last
    four characters; null where it cannot be opened any more.
    """

    said: dict[str, Any] | None


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
    """``event``: a type of message. ``since`` and ``until``: when it was made, in UTC epoch
    seconds.
    """

    tenant: Tenant | None = None
    state: Literal["new", "sent", "failed"] | None = None
    event: WebhookEvent | None = None
    since: Annotated[float, Field(ge=0, le=1e11)] | None = None
    until: Annotated[float, Field(ge=0, le=1e11)] | None = None


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


class MessageAnswer(MessageRow):
    """``said``: the body without who it is about: of addresses the domain, of ids the last four
    characters; null where it cannot be opened any more.
    """

    said: dict[str, Any] | None


class MessageList(AnswerModel):
    items: list[MessageRow]
    next: str | None


@dataclass(frozen=True, slots=True)
class DeliveryRoutes:
    """What identity providers sent."""

    deliveries: DeliveryRecords

    async def list_deliveries(self, call: Call) -> Answer:
        query = call.query(DeliveriesQuery)
        return await list_page(
            "list_deliveries",
            query,
            partial(
                self.deliveries.page,
                tenant=query.tenant,
                state=query.state,
                since=query.since,
                until=query.until,
            ),
            row=_delivery,
            model=DeliveryList,
        )

    async def decide_held(self, call: Call) -> Answer:
        body = call.body(HeldBody)
        decide = (
            self.deliveries.release_held
            if body.decision == "release"
            else self.deliveries.drop_held
        )
        count = await decide(tenant=body.tenant, provider=body.provider)
        call.note.after = {"decision": body.decision, "events": count}
        return Answer(HeldAnswer(events=count))

    def routes(self) -> tuple[Route, ...]:
        one = RecordHandlers(self.deliveries, "delivery", _delivery, _whole_delivery)
        return (
            Route(
                "decide_held",
                "POST",
                "/hooks/held",
                "Release or drop removals of many people that are held",
                self.decide_held,
                {200: HeldAnswer},
                body=HeldBody,
            ),
            Route(
                "list_deliveries",
                "GET",
                "/hooks/deliveries",
                "What the hooks received, newest first",
                self.list_deliveries,
                {200: DeliveryList},
                query=DeliveriesQuery,
            ),
            Route(
                "get_delivery",
                "GET",
                "/hooks/deliveries/{delivery}",
                "One delivery, with what was sent",
                one.get,
                {200: DeliveryAnswer},
            ),
            Route(
                "replay_delivery",
                "POST",
                "/hooks/deliveries/{delivery}/replay",
                "Apply it again",
                one.replay,
                {200: DeliveryRow},
                problems=(Code.CONFLICT,),
            ),
        )


@dataclass(frozen=True, slots=True)
class MessageRoutes:
    """What tenants' applications were told."""

    messages: MessageRecords

    async def list_messages(self, call: Call) -> Answer:
        query = call.query(MessagesQuery)
        return await list_page(
            "list_messages",
            query,
            partial(
                self.messages.page,
                tenant=query.tenant,
                state=query.state,
                event=query.event,
                since=query.since,
                until=query.until,
            ),
            row=_message,
            model=MessageList,
        )

    async def list_events(self, _call: Call) -> Answer:
        return Answer(catalog())

    def routes(self) -> tuple[Route, ...]:
        one = RecordHandlers(self.messages, "message", _message, _whole_message)
        return (
            Route(
                "list_webhook_events",
                "GET",
                "/webhook-events",
                "Every type of message, with its JSON Schema",
                self.list_events,
                {200: WebhookCatalog},
            ),
            Route(
                "list_messages",
                "GET",
                "/hooks/webhooks",
                "Messages to the tenants' applications, newest first",
                self.list_messages,
                {200: MessageList},
                query=MessagesQuery,
            ),
            Route(
                "get_message",
                "GET",
                "/hooks/webhooks/{message}",
                "One outgoing webhook, with its body",
                one.get,
                {200: MessageAnswer},
            ),
            Route(
                "replay_message",
                "POST",
                "/hooks/webhooks/{message}/replay",
                "Send it again, with the same id and body",
                one.replay,
                {200: MessageRow},
                problems=(Code.CONFLICT,),
            ),
        )


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


def _whole_delivery(view: DeliveryView, said: Json | None) -> DeliveryAnswer:
    return DeliveryAnswer(**_delivery(view).model_dump(), said=said)


def _whole_message(view: MessageView, said: Json | None) -> MessageAnswer:
    return MessageAnswer.model_validate({**asdict(view), "said": said})
