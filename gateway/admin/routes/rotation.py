"""``/tenants/{tenant}/provision/rotate``, ``…/move`` and ``…/retire``: another app client, in the
same user pool or in another, and the end of those that it replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from gateway.admin.problem import Code, Problem
from gateway.admin.route import EACH_ONCE, Answer, AnswerModel, ApiModel, Call, Route
from gateway.admin.routes.provisioning import (
    ProvisionQuery,
    StepAnswer,
    done,
    plan_steps,
    problem,
)
from gateway.cognito.api import CognitoRejectedError
from gateway.config.user_pools import POOL_NAME
from gateway.provisioning.move import waiting
from gateway.provisioning.move_trial import Tried
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import Busy
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.provisioning.move import MoveProposal
    from gateway.provisioning.runner import Outcome
    from gateway.provisioning.service import Onboarding
    from gateway.sessions.api import SessionDirectory
    from gateway.tenants.api import LoginTests

COUNTED_AT_ONCE: Final = 200


class RotateQuery(ApiModel):
    """``retire_now`` deletes the replaced client at once: logins in progress begin again, and
    refresh tokens made with it end.
    """

    retire_now: bool = False


class MoveBody(ApiModel):
    """``pool``: the name of a configured user pool. ``registered``: names of the tenant's SAML
    providers whose identity providers accept that pool's entity ID and assertion consumer service
    already, beside the present ones. The move waits for all of them.
    """

    pool: Annotated[str, Field(pattern=POOL_NAME)]
    registered: Annotated[
        frozenset[Annotated[str, Field(max_length=32)]], Field(max_length=50), EACH_ONCE
    ] = frozenset()


class MoveAnswer(AnswerModel):
    """What would be done in the pool. ``at_provider``: what the customer adds at their identity
    provider first; logins after the move fail without it. ``waits_for``: names of SAML providers
    that ``registered`` does not name yet. ``app_passwords``: how many end with the move.
    """

    tenant: str
    pool: str
    steps: list[StepAnswer]
    notes: list[str]
    at_provider: list[str]
    waits_for: list[str]
    app_passwords: int


class MoveTestBody(ApiModel):
    """``pool``: the name of a configured user pool."""

    pool: Annotated[str, Field(pattern=POOL_NAME)]


class MoveTestAnswer(AnswerModel):
    """``url``: a one-time link that walks a login through the pool before the tenant moves there;
    good for an hour, and creates no session. ``run`` made what it needs, which is deleted before
    the move, and when the link has expired. ``at_provider`` as for a move.
    """

    tenant: str
    pool: str
    url: str
    run: str
    at_provider: list[str]


class RetiredAnswer(AnswerModel):
    """A replaced client, accepted until ``retires_at`` (UTC epoch seconds) and then deleted."""

    client_id: str
    retires_at: float


class ClientsAnswer(AnswerModel):
    """The tenant's app clients after ``run``. Secrets are not shown: the gateway keeps them.
    ``password_client_id``: of the one for passwords of the pool's users; null where the gateway
    made none. ``in_force`` as for provisioning.
    """

    tenant: str
    run: str
    client_id: str
    password_client_id: str | None
    retired: list[RetiredAnswer]
    in_force: bool


@dataclass(frozen=True, slots=True)
class RotationRoutes:
    """A tenant's app clients. ``sessions``: whose app passwords are counted."""

    onboarding: Onboarding
    sessions: SessionDirectory | None = None
    tests: LoginTests | None = None

    async def rotate_client(self, call: Call) -> Answer:
        tenant = call.path["tenant"]
        call.note.before = await self._named(tenant)
        run = _done(await self.onboarding.rotate(tenant, actor=call.actor))
        call.note.after = {"run": run.run, **await self._named(tenant)}
        if call.query(RotateQuery).retire_now:
            retired = _done(await self.onboarding.retire(tenant, actor=call.actor))
            call.note.after = {"run": run.run, "retire": retired.run, **await self._named(tenant)}
        return Answer(
            await self._clients(tenant, run),
            status=201,
            headers={"Location": f"/admin/v1/tenants/{tenant}/provision/{run.run}"},
        )

    async def retire_clients(self, call: Call) -> Answer:
        tenant = call.path["tenant"]
        call.note.before = await self._named(tenant)
        run = _done(await self.onboarding.retire(tenant, actor=call.actor))
        call.note.after = {"run": run.run, **await self._named(tenant)}
        return Answer(await self._clients(tenant, run))

    async def move(self, call: Call) -> Answer:
        tenant, body = call.path["tenant"], call.body(MoveBody)
        move = self.onboarding.pool_move
        dry_run = call.query(ProvisionQuery).dry_run
        if not dry_run and (
            remaining := await self.onboarding.move_trials.end(tenant, to=body.pool)
        ):
            raise problem(remaining)
        try:
            proposal = await move.propose(tenant, body.pool, registered=body.registered)
        except CognitoRejectedError as refused:
            raise Problem(
                Code.COGNITO_REFUSED, str(refused), extra={"cognito_error": refused.code}
            ) from refused
        if proposal.plan.problems:
            raise problem(proposal.plan.problems)
        if dry_run:
            call.note.dry_run = True
            passwords, people = await self._app_passwords(tenant, proposal)
            answer = MoveAnswer(
                tenant=tenant,
                pool=body.pool,
                steps=plan_steps(proposal.plan),
                notes=[*proposal.plan.notes, *_ending(passwords, people, body.pool)],
                at_provider=list(proposal.register),
                waits_for=list(proposal.waits_for),
                app_passwords=passwords,
            )
            return Answer(answer)
        if proposal.waits_for:
            raise problem(waiting(proposal))
        call.note.before = await self._named(tenant)
        run = done(await move.apply(proposal, actor=call.actor))
        call.note.after = {"run": run.run, "pool": body.pool, **await self._named(tenant)}
        return Answer(
            await self._clients(tenant, run),
            status=201,
            headers={"Location": f"/admin/v1/tenants/{tenant}/provision/{run.run}"},
        )

    async def test_move(self, call: Call) -> Answer:
        tenant, body = call.path["tenant"], call.body(MoveTestBody)
        if self.tests is None:
            raise Problem(Code.NOT_FOUND)
        try:
            tried = await self.onboarding.move_trials.begin(tenant, body.pool, actor=call.actor)
        except CognitoRejectedError as refused:
            raise Problem(
                Code.COGNITO_REFUSED, str(refused), extra={"cognito_error": refused.code}
            ) from refused
        if not isinstance(tried, Tried):
            if isinstance(tried, Done | Failed | Busy):
                done(tried)
                raise Problem(Code.CONFLICT, "no app client was made")
            raise problem(tried)
        call.note.after = {"run": tried.run, "pool": body.pool}
        link = await self.tests.link(tenant, client=tried.client)
        if isinstance(link, Rejected):
            raise Problem(Code(link.code), link.message)
        return Answer(
            MoveTestAnswer(
                tenant=tenant,
                pool=body.pool,
                url=link,
                run=tried.run,
                at_provider=list(tried.proposal.register),
            ),
            status=201,
        )

    async def _app_passwords(self, tenant: str, proposal: MoveProposal) -> tuple[int, int]:
        """How many there are, of how many people. Nobody looks where no rule takes them."""
        if self.sessions is None or not proposal.takes_app_passwords:
            return 0, 0
        count, people, position = 0, set[str](), None
        while True:
            page = await self.sessions.app_passwords(
                tenant=tenant, user=None, email=None, position=position, limit=COUNTED_AT_ONCE
            )
            count += len(page.items)
            people |= {view.user for view in page.items}
            position = page.position
            if position is None:
                return count, len(people)

    async def _named(self, tenant: str) -> dict[str, list[str]]:
        """For the record."""
        credentials = await self.onboarding.provisioning.registrar.credentials(tenant)
        return {"clients": list(credentials.client_ids) if credentials is not None else []}

    async def _clients(self, tenant: str, run: Done) -> ClientsAnswer:
        credentials = await self.onboarding.provisioning.registrar.credentials(tenant)
        old_clients = credentials.replaced if credentials is not None else ()
        passwords = credentials.password_client if credentials is not None else None
        return ClientsAnswer(
            tenant=tenant,
            run=run.run,
            client_id=credentials.client_id if credentials is not None else "",
            password_client_id=None if passwords is None else passwords.client_id,
            retired=[
                RetiredAnswer(client_id=c.client_id, retires_at=c.retires_at or 0.0)
                for c in old_clients
            ],
            in_force=run.in_force,
        )

    def routes(self) -> tuple[Route, ...]:
        base = "/tenants/{tenant}/provision"
        failures = (Code.COGNITO_REFUSED, Code.QUOTA_REACHED, Code.BUSY, Code.CONFLICT)
        return (
            Route(
                "rotate",
                "POST",
                f"{base}/rotate",
                (
                    "Another app client for new logins; the present one is accepted until its last "
                    "session has ended"
                ),
                self.rotate_client,
                {201: ClientsAnswer},
                query=RotateQuery,
                problems=failures,
                creates=True,
            ),
            Route(
                "move",
                "POST",
                f"{base}/move",
                "Move the tenant to another user pool; nobody is signed out",
                self.move,
                {200: MoveAnswer, 201: ClientsAnswer},
                query=ProvisionQuery,
                body=MoveBody,
                problems=(*failures, Code.PREFLIGHT_FAILED, Code.READ_ONLY, Code.EXISTS),
                creates=True,
            ),
            Route(
                "test_move",
                "POST",
                f"{base}/move/test",
                "A one-time link that walks a login through the pool that the tenant is to move to",
                self.test_move,
                {201: MoveTestAnswer},
                body=MoveTestBody,
                problems=(*failures, Code.PREFLIGHT_FAILED, Code.READ_ONLY, Code.EXISTS),
            ),
            Route(
                "retire",
                "POST",
                f"{base}/retire",
                "Delete the replaced app clients now",
                self.retire_clients,
                {200: ClientsAnswer},
                problems=failures,
            ),
        )


def _ending(passwords: int, people: int, pool: str) -> Iterator[str]:
    if passwords:
        yield (
            f"app passwords that end: {passwords}, of {people} people, each with its user's first "
            f"login through pool {pool}; they are made again after it"
        )


def _done(outcome: Outcome | PreflightProblem) -> Done:
    if isinstance(outcome, PreflightProblem):
        raise problem([outcome])
    return done(outcome)
