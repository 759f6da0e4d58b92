"""The provisioning journal: runs, their steps, and who holds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from gateway.core.model import DEFAULT_POOL
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.core.json_types import Json
    from gateway.core.paging import Page


class RunState(StrEnum):
    """``running`` and ``undoing`` hold the tenant; ``settling`` watches for a late effect of a call
    nobody answered.
    """

    RUNNING = "running"
    UNDOING = "undoing"
    SETTLING = "settling"
    DONE = "done"
    ROLLED_BACK = "rolled_back"


ACTIVE = frozenset({RunState.RUNNING, RunState.UNDOING})


class StepState(StrEnum):
    """``intended``: written before the call, and nothing is known since. ``refused``: the call had
    no effect.
    """

    INTENDED = "intended"
    DONE = "done"
    REFUSED = "refused"
    UNDONE = "undone"


class RunKind(StrEnum):
    """What a run is for."""

    APPLY = "apply"
    ROTATE = "rotate"
    MOVE = "move"
    """Into another user pool."""
    RETIRE = "retire"
    """Deletes what is not used any more: replaced clients, providers that were taken out."""
    DESTROY = "destroy"
    RENEW = "renew"
    """A provider for tests of another secret or other metadata, their exchange, and its end."""
    RELOAD = "reload"
    """Has Cognito read a SAML provider's metadata again, and changes nothing else."""
    TRIAL = "trial"
    """What a move would make in the other pool, for a test sign-in. It is undone."""


ASIDE = frozenset({RunKind.RELOAD, RunKind.TRIAL})
"""What changes nothing of a tenant: no other run is mistaken for one, or builds on it."""
FINISHED = frozenset({RunKind.RETIRE, RunKind.DESTROY})
"""What only deletes: half of it is finished by recovery and never undone. Other kinds are
undone.
"""


class Action(StrEnum):
    """What a step does; each has one way to be undone."""

    ADD_ATTRIBUTES = "add_attributes"
    CREATE_PROVIDER = "create_provider"
    UPDATE_PROVIDER = "update_provider"
    CREATE_CLIENT = "create_client"
    UPDATE_CLIENT = "update_client"
    PUT_TENANT = "put_tenant"
    PUT_CREDENTIALS = "put_credentials"
    DELETE_TENANT = "delete_tenant"
    DELETE_CREDENTIALS = "delete_credentials"
    DELETE_CLIENT = "delete_client"
    DELETE_PROVIDER = "delete_provider"
    CREATE_GROUP = "create_group"
    CREATE_STYLE = "create_style"
    DELETE_GROUPS = "delete_groups"
    SET_LOGIN_REUSE = "set_login_reuse"
    CARRY_BLOCKS = "carry_blocks"
    """What stands against people, by names that hold in another pool too. It stays."""


@dataclass(frozen=True, slots=True)
class JournalStep:
    """One call. ``undo`` is what undoing needs and holds no secret; ``before`` is what was
    replaced, sealed at rest.
    """

    number: int
    action: Action
    resource: str
    state: StepState
    undo: Json
    before: Json | None = field(repr=False)
    started_at: float
    error: Json | None = None
    finished_at: float | None = None
    """From then on nobody makes this call any more, whatever came of it; None while somebody
    may.
    """


@dataclass(frozen=True, slots=True)
class Run:
    """One provisioning. ``request`` is what was asked, without the identity providers' secrets."""

    id: str
    tenant: str
    kind: RunKind
    actor: str
    state: RunState
    request: Json = field(repr=False)
    plan: Sequence[Json]
    started_at: float
    finished_at: float | None
    error: Json | None
    steps: Sequence[JournalStep] = ()

    @property
    def pool(self) -> str:
        """Name of the user pool in which it makes and deletes."""
        return str(self.request.get("pool", DEFAULT_POOL))


def carried(latest: Run | None) -> Json:
    """What each run of a tenant takes from the one before, for those that come after it:
    ``providers`` that were provisioned, ``custom_attributes``, and ``former``: pool → providers
    that were left there by a move (name, kind, our mark).
    """
    request: Json = {} if latest is None else latest.request
    return {
        "providers": list(request.get("providers", ())),
        "custom_attributes": list(request.get("custom_attributes", ())),
        "former": dict(request.get("former", {})),
    }


class DeposedError(UnavailableError):
    """Another process took this run over: whoever was slow must stop, and take back what it did
    last.
    """


@dataclass(frozen=True, slots=True)
class Busy:
    """Another run holds the tenant."""

    run: str
    interrupted: bool
    """Its process is gone; recovery is about to undo it."""


class Journal(Protocol):
    """Durable before each call. ``holder`` names this process; every write fails with
    ``DeposedError`` once another one holds the run.
    """

    async def open(
        self,
        run: str,
        *,
        tenant: str,
        kind: RunKind,
        actor: str,
        request: Json,
        plan: Sequence[Json],
    ) -> Run | Busy: ...

    async def busy(self, tenant: str) -> Busy | None:
        """The run that holds the tenant, if one does."""

    async def intend(
        self,
        run: str,
        number: int,
        action: Action,
        resource: str,
        *,
        undo: Json,
        before: Json | None,
    ) -> None: ...

    async def settle(
        self,
        run: str,
        number: int,
        state: StepState,
        *,
        undo: Json | None = None,
        error: Json | None = None,
    ) -> None: ...

    async def move(self, run: str, state: RunState, *, error: Json | None = None) -> None: ...

    async def follow(self, run: str, *, by: str, kind: RunKind, request: Json) -> Run:
        """``run`` is done, and in the same transaction another one of its tenant and actor begins,
        held by this process.
        """

    async def hold(self, run: str) -> None:
        """Renew the claim on the run."""

    async def release(self, run: str) -> None:
        """Hold it no longer: whoever recovers next goes on at once."""

    async def take_over(self, run: str) -> bool:
        """Claim a run that nobody holds any more; False if somebody does."""

    async def reopen(self, run: str) -> bool:
        """Hold a finished run again, to undo it; False unless it is ``done``, no later one is, and
        its tenant is free. A trial may be followed by others.
        """

    async def abandoned(self) -> Sequence[str]:
        """Ids of unfinished runs that nobody holds."""

    async def run(self, run: str) -> Run | None: ...

    async def latest(self, tenant: str) -> Run | None:
        """The last run of the tenant that is in force: its state is ``done`` and no later one
        destroyed it.
        """

    async def actors(self, runs: Collection[str]) -> Mapping[str, str]:
        """By run, of those that there are."""

    async def moves(self, tenant: str) -> Sequence[Run]:
        """Every run, whatever became of it, that moves the tenant or moved it."""

    async def trials(self, tenant: str | None = None) -> Sequence[Run]:
        """Those that are done and not undone, of one tenant or of all."""

    async def page(
        self,
        tenant: str | None,
        *,
        state: RunState | None = None,
        position: str | None,
        limit: int,
    ) -> Page[Run]:
        """Newest first; None: of all tenants, in all states."""
