"""``/tenants/{tenant}/hooks``: what a provider's administrator is handed to set up its hooks, and
whether what it sends arrives.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.admin.problem import Code, Problem
from gateway.admin.route import Answer, AnswerModel, ApiModel, Call, Route
from gateway.core.model import Secret
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.hooks.activity import HookActivity
    from gateway.hooks.setup import HookSetup, SetupInstructions
    from gateway.tenants.api import TenantRecords


class HookAnswer(AnswerModel):
    """One provider's hooks. ``secrets``: how many are valid; ``missing``: keys of the
    configuration, and what each is for.
    """

    tenant: str
    provider: str
    kind: str
    secrets: int
    addresses: Annotated[dict[str, str], Field(description="by sender")]
    events: Annotated[list[str], Field(description="to tick at the provider")]
    missing: dict[str, str]


class HookList(AnswerModel):
    """One for each provider of the tenant."""

    items: list[HookAnswer]


class HookSecretAnswer(AnswerModel):
    """``secret`` is shown this once. ``secrets``: how many are valid now, this one included."""

    secret: str
    secrets: int
    hook: HookAnswer


class ArrivalAnswer(AnswerModel):
    """Requests of one sender that came to the same."""

    source: str
    channel: str
    outcome: str
    count: int
    last_at: float
    detail: str


class LastEventAnswer(AnswerModel):
    """``id`` is that of ``/hooks/deliveries``."""

    id: str
    source: str
    type: str
    received_at: float
    state: str
    error: str


class ArrivedAnswer(AnswerModel):
    """What arrived since ``since`` (UTC epoch seconds). ``verdict``: ``nothing``, ``handshake`` and
    nothing else yet, ``refused`` last, ``no_known_user`` (the last event named nobody who is signed
    in), or ``works``.
    """

    tenant: str
    provider: str
    since: float
    verdict: Literal["nothing", "handshake", "refused", "no_known_user", "works"]
    handshakes: list[ArrivalAnswer]
    taken: list[ArrivalAnswer]
    refused: list[ArrivalAnswer]
    skipped: Annotated[dict[str, int], Field(description="entries without effect, by reason")]
    last_event: LastEventAnswer | None


class SinceQuery(ApiModel):
    """``since``: UTC epoch seconds; left out, a day ago."""

    since: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)] | None = None


def hook_routes(
    setup: HookSetup, records: TenantRecords, *, new_secret: Callable[[], str]
) -> tuple[Route, ...]:
    async def list_hooks(call: Call) -> Answer:
        found = setup.all_instructions(call.path["tenant"])
        if not found:
            raise Problem(Code.NOT_FOUND)
        return Answer(HookList(items=[hook_answer(s) for s in found]))

    def found(call: Call) -> SetupInstructions:
        one = setup.instructions(call.path["tenant"], call.path["provider"])
        if one is None:
            raise Problem(Code.NOT_FOUND)
        return one

    async def get_hook(call: Call) -> Answer:
        return Answer(hook_answer(found(call)))

    async def change(call: Call, secret: Secret | None) -> SetupInstructions:
        before = found(call)
        call.note.before = {"valid": before.secrets}
        stored = await records.put_hook_secret(before.tenant, before.provider, secret)
        if isinstance(stored, Rejected):
            raise Problem(Code(stored.code), stored.message)
        after = found(call)
        call.note.after = {"valid": after.secrets}
        return after

    async def add_hook_secret(call: Call) -> Answer:
        made = new_secret()
        after = await change(call, Secret(made))
        return Answer(
            HookSecretAnswer(secret=made, secrets=after.secrets, hook=hook_answer(after)),
            status=201,
        )

    async def end_hook_rotation(call: Call) -> Answer:
        return Answer(hook_answer(await change(call, None)))

    async def test_hook(call: Call) -> Answer:
        one = found(call)
        return Answer(
            arrived_answer(
                await setup.activity(one.tenant, one.provider, since=call.query(SinceQuery).since)
            )
        )

    base, changing = "/tenants/{tenant}/hooks", (Code.READ_ONLY, Code.CONFLICT)
    one = f"{base}/{{provider}}"
    return (
        Route(
            "list_hooks",
            "GET",
            base,
            "What to set up at each provider of a tenant",
            list_hooks,
            {200: HookList},
        ),
        Route(
            "get_hook",
            "GET",
            one,
            "What to set up at one provider: addresses, events to tick, what is missing",
            get_hook,
            {200: HookAnswer},
        ),
        Route(
            "add_hook_secret",
            "POST",
            f"{one}/secrets",
            "A new hook secret, shown once; the one that was stays valid beside it",
            add_hook_secret,
            {201: HookSecretAnswer},
            problems=changing,
            creates=True,
        ),
        Route(
            "end_hook_rotation",
            "DELETE",
            f"{one}/secrets/previous",
            "Only the newest hook secret stays valid",
            end_hook_rotation,
            {200: HookAnswer},
            problems=changing,
        ),
        Route(
            "test_hook",
            "GET",
            f"{one}/test",
            "What arrived from the provider, what was refused and why",
            test_hook,
            {200: ArrivedAnswer},
            query=SinceQuery,
        ),
    )


def hook_answer(setup: SetupInstructions) -> HookAnswer:
    return HookAnswer.model_validate(
        {
            **asdict(setup),
            "addresses": dict(setup.addresses),
            "missing": dict(setup.missing),
            "events": list(setup.events),
        }
    )


def arrived_answer(found: HookActivity) -> ArrivedAnswer:
    lists = {
        name: [asdict(a) for a in getattr(found, name)]
        for name in ("handshakes", "taken", "refused")
    }
    last = asdict(found.last_event) if found.last_event is not None else None
    return ArrivedAnswer.model_validate(
        {
            "tenant": found.tenant,
            "provider": found.provider,
            "since": found.since,
            "verdict": found.verdict,
            **lists,
            "skipped": dict(found.skipped),
            "last_event": last,
        }
    )
