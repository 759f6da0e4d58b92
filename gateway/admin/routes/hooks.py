"""``/tenants/{tenant}/hooks``: what a provider's administrator is handed to set up its hooks, and
whether what it sends arrives.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.admin.problem import Code, Problem
from gateway.admin.route import Answer, AnswerModel, ApiModel, Call, Route
from gateway.core.model import Secret
from gateway.hooks.setup import secrets_tag
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


class SecretUseAnswer(AnswerModel):
    """A hook secret that is accepted. ``last_used_at`` (UTC epoch seconds, to the minute): null if
    it was not used in the last 400 days, or since uses are recorded. ``senders``: the same by
    source.
    """

    last_used_at: float | None
    senders: dict[str, float]


class ArrivedAnswer(AnswerModel):
    """What arrived since ``since`` (UTC epoch seconds). ``secrets``: those that are accepted, the
    newest first, whenever they were used. ``verdict``: ``nothing``, ``handshake`` and
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
    secrets: list[SecretUseAnswer]


class SinceQuery(ApiModel):
    """``since``: UTC epoch seconds; left out, a day ago."""

    since: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)] | None = None


@dataclass(frozen=True, slots=True)
class HookRoutes:
    """Connecting a provider: addresses, secrets, and whether anything arrives."""

    setup: HookSetup
    records: TenantRecords
    new_secret: Callable[[], str]

    async def list_hooks(self, call: Call) -> Answer:
        instructions = self.setup.all_instructions(call.path["tenant"])
        if not instructions:
            raise Problem(Code.NOT_FOUND, f"there is no tenant {call.path['tenant']}")
        return Answer(HookList(items=[hook_answer(s) for s in instructions]))

    def found(self, call: Call) -> SetupInstructions:
        one = self.setup.instructions(call.path["tenant"], call.path["provider"])
        if one is None:
            tenant, provider = call.path["tenant"], call.path["provider"]
            raise Problem(Code.NOT_FOUND, f"there is no tenant {tenant} with a provider {provider}")
        return one

    async def get_hook(self, call: Call) -> Answer:
        one = self.found(call)
        return Answer(hook_answer(one), etag=one.tag)

    async def change(
        self,
        call: Call,
        secret: Secret | None,
        *,
        where: Callable[[Sequence[Secret]], bool] | None = None,
    ) -> SetupInstructions:
        before = self.found(call)
        call.note.before = {"valid": before.secrets}
        result = await self.records.put_hook_secret(
            before.tenant, before.provider, secret, where=where
        )
        if isinstance(result, Rejected):
            raise Problem(Code(result.code), result.message)
        after = self.found(call)
        call.note.after = {"valid": after.secrets}
        return after

    async def add_hook_secret(self, call: Call) -> Answer:
        secret = self.new_secret()
        after = await self.change(call, Secret(secret))
        return Answer(
            HookSecretAnswer(secret=secret, secrets=after.secrets, hook=hook_answer(after)),
            status=201,
            etag=after.tag,
        )

    async def end_hook_rotation(self, call: Call) -> Answer:
        tag, tenant, provider = call.if_match, call.path["tenant"], call.path["provider"]

        def are_those(secrets: Sequence[Secret]) -> bool:
            return tag in {None, secrets_tag(tenant, provider, secrets)}

        after = await self.change(call, None, where=are_those)
        return Answer(hook_answer(after), etag=after.tag)

    async def test_hook(self, call: Call) -> Answer:
        one = self.found(call)
        return Answer(
            arrived_answer(
                await self.setup.activity(
                    one.tenant, one.provider, since=call.query(SinceQuery).since
                )
            ),
            # Read before the uses: where the secrets changed in between, it is out of date.
            etag=one.tag,
        )

    def routes(self) -> tuple[Route, ...]:
        base, changing = "/tenants/{tenant}/hooks", (Code.READ_ONLY, Code.CONFLICT)
        one = f"{base}/{{provider}}"
        return (
            Route(
                "list_hooks",
                "GET",
                base,
                "What to set up at each provider of a tenant",
                self.list_hooks,
                {200: HookList},
            ),
            Route(
                "get_hook",
                "GET",
                one,
                "What to set up at one provider: addresses, events to tick, what is missing",
                self.get_hook,
                {200: HookAnswer},
            ),
            Route(
                "add_hook_secret",
                "POST",
                f"{one}/secrets",
                "A new hook secret, shown once; the one that was stays valid beside it",
                self.add_hook_secret,
                {201: HookSecretAnswer},
                problems=changing,
                creates=True,
            ),
            Route(
                "end_hook_rotation",
                "DELETE",
                f"{one}/secrets/previous",
                "Only the newest hook secret stays valid, of those that If-Match names",
                self.end_hook_rotation,
                {200: HookAnswer},
                problems=changing,
                if_match=True,
            ),
            Route(
                "test_hook",
                "GET",
                f"{one}/test",
                "What arrived from the provider, what was refused and why",
                self.test_hook,
                {200: ArrivedAnswer},
                query=SinceQuery,
            ),
        )


def hook_answer(setup: SetupInstructions) -> HookAnswer:
    shown = {name: value for name, value in asdict(setup).items() if name != "tag"}
    return HookAnswer.model_validate(
        {
            **shown,
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
            "secrets": [
                {"last_used_at": use.last_used_at, "senders": dict(use.senders)}
                for use in found.secrets
            ],
        }
    )
