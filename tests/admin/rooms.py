"""Rooms behind the admin API, in memory: enough for each route to be walked. SQL parts are the real
ones.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.admin.routes.health import ComponentRow, ProcessRow
from gateway.cognito.api import CognitoRejectedError
from gateway.cognito.own_users import OwnUser
from gateway.cognito.pool_users import read_settings
from gateway.config.user_pools import UserPool
from gateway.core import signed_link
from gateway.core.mailbox import mailbox
from gateway.core.model import AppClient, Secret
from gateway.core.paging import Page
from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.core.traffic import Interval, Window
from gateway.domains.name import provable
from gateway.domains.records import Domain, InUseError, TakenError, VouchedError
from gateway.domains.state import DomainState, Standing
from gateway.errors import UnavailableError
from gateway.expiry.records import ConnectionView, CredentialView
from gateway.hooks.activity import HookActivity
from gateway.hooks.coverage import Coverage, Gap, Missing, Way
from gateway.hooks.coverage import State as CoverageState
from gateway.hooks.people_register import KnownPerson
from gateway.hooks.secret_uses import SecretUse
from gateway.hooks.setup import SetupInstructions
from gateway.hooks.views import DeliveryView, MessageView
from gateway.mail.render import draw
from gateway.mail.smtp import MailError
from gateway.provisioning.credentials import ClientCredentials
from gateway.provisioning.members import Changed, Member, MemberPage
from gateway.provisioning.move import MoveProposal
from gateway.provisioning.move_trial import Tried
from gateway.provisioning.plan_rows import Plan, Resource, Step, Verb
from gateway.provisioning.preflight import PreflightProblem, invalid
from gateway.provisioning.proposal import Proposal
from gateway.provisioning.renewal import NewMetadata, NewSecret, Trial
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import Run, RunKind, RunState
from gateway.provisioning.service import Drift
from gateway.revocation.blocks import BlockView
from gateway.sessions.api import AppPasswordView, SessionView
from gateway.sessions.console_links import NewLink
from gateway.sessions.pool_failover import FailedOver
from gateway.tenants.api import Question, Rejected, TenantRecord
from gateway.tenants.batch import Batch, Impact
from gateway.tenants.folder_plan import FolderPlan
from gateway.tenants.index import TenantFilter, is_within

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.cognito.pool_users import PoolSettings
    from gateway.core.json_types import Json
    from gateway.mail.texts import MailTemplate, Value
    from gateway.provisioning.members import Caller, NewMember
    from gateway.provisioning.request import ProvisionBody
    from gateway.tenants.document import TenantDocument
    from gateway.tenants.stored import Actor


def _slice(items: list[str], position: str | None, limit: int) -> tuple[list[str], str | None]:
    left = [i for i in items if position is None or i > position]
    return left[:limit], left[limit - 1] if len(left) > limit else None


@dataclass(slots=True)
class Tenants:
    """Versions count up; the host ``taken.example.com`` is always somebody else's."""

    stored: dict[str, TenantRecord] = field(default_factory=dict)
    proven: set[str] = field(default_factory=set)
    asked_to_hold: set[str] = field(default_factory=set)
    """By the last change."""

    async def page(
        self, *, only: str | None, position: str | None, limit: int, wanted: TenantFilter
    ) -> Page[TenantRecord]:
        ids, following = _slice(
            sorted(
                i
                for i in self.stored
                if only in (None, i)
                and wanted.text in i
                and (not wanted.within or is_within(i, wanted.within))
            ),
            position,
            limit,
        )
        return Page([self.stored[i] for i in ids], following)

    async def get(self, tenant: str) -> TenantRecord | None:
        return self.stored.get(tenant)

    async def reveal(self, tenant: str) -> TenantRecord | None:
        return self.stored.get(tenant)

    async def put(
        self, document: TenantDocument, *, etag: str | None, if_held: Collection[str] = ()
    ) -> TenantRecord | Rejected:
        self.asked_to_hold = {*if_held}
        if "taken.example.com" in document.hosts:
            return Rejected("taken", "host taken.example.com belongs to tenant other")
        now = self.stored.get(document.id)
        if (now.etag if now else None) != etag:
            return Rejected("precondition_failed", "changed meanwhile")
        self.stored[document.id] = TenantRecord(
            document.id, document.model_dump(mode="json"), str(int(etag or "0") + 1), "sql"
        )
        return self.stored[document.id]

    async def put_hook_secret(
        self,
        tenant: str,
        provider: str,
        secret: Secret | None,
        *,
        where: Callable[[Sequence[Secret]], bool] | None = None,
    ) -> TenantRecord | Rejected:
        return self.stored[tenant]

    async def proven_domains(self, tenant: str) -> frozenset[str]:
        return frozenset(self.proven)

    async def delete(self, tenant: str, *, etag: str | None) -> Rejected | None:
        if self.stored[tenant].etag != etag:
            return Rejected("precondition_failed", "changed meanwhile")
        del self.stored[tenant]
        return None


class Links:
    async def link(self, tenant: str, *, client: AppClient | None = None) -> str | Rejected:
        return f"https://login.example.com/_auth/test/{tenant}"

    async def result(
        self, tenant: str, token: str
    ) -> tuple[signed_link.TestLink, signed_link.Result | None]:
        return signed_link.TestLink(tenant, token, 2_000_000_000), None


@dataclass(slots=True)
class Batches:
    """Whatever is sent is there already."""

    async def plan(self, documents: Sequence[Json], *, prune: bool) -> Batch:
        return Batch(FolderPlan((), tuple(str(d.get("id")) for d in documents), ()), "etag", {})

    async def impact(self, batch: Batch) -> Impact:
        return Impact({}, {})

    async def apply(self, batch: Batch, *, by: Actor) -> bool:
        return True


class Connections:
    """One SAML provider, found well."""

    async def known(self, tenant: str) -> tuple[ConnectionView, ...]:
        ends = (CredentialView("saml_certificate", 2_000_000_000.0, 7),)
        certificates = (("ab" * 32, 2_000_000_000.0),)
        return (ConnectionView(f"{tenant}-saml", "active", 1.0, None, "", certificates, ends),)

    check = known

    async def page(
        self, tenant: str | None, state: str | None, *, position: str | None, limit: int
    ) -> Page[tuple[str, ConnectionView]]:
        rows = [
            (each, view)
            for each in ("acme", "globex")
            for view in await self.known(each)
            if tenant in {None, each} and state in {None, "active"}
        ]
        begin = 0 if position is None else 1
        more = len(rows) > begin + limit
        return Page(rows[begin : begin + limit], "acme acme-saml" if more else None)


@dataclass(slots=True)
class Claims:
    """acme has claimed acme.test and holds proven.test; ``taken.test`` is somebody else's."""

    vouched: bool = False
    drafts: dict[str, list[str]] = field(default_factory=dict)
    """By setup link: of a tenant that is not made yet. ``proven`` says which are."""
    proven: set[str] = field(default_factory=lambda: {"proven.test"})

    def _one(self, tenant: str, domain: str) -> Domain:
        state = DomainState.VOUCHED if self.vouched else DomainState.PENDING
        if domain in self.proven:
            state = DomainState.VERIFIED
        return Domain(
            tenant,
            domain,
            "gateway-verify=abcdefghijklmnopqrstuvwxyz",
            Standing(state, 1.0, 61.0),
            5.0,
            (("9.9.9.9", "absent"),),
            (),
            doubled=False,
            taken=False,
            vouched_by="",
            reason="",
        )

    async def of(self, tenant: str) -> list[Domain]:
        drafts = [name for names in self.drafts.values() for name in names]
        names = ["acme.test", "proven.test"] if tenant == "acme" else drafts
        return [self._one(tenant, name) for name in names]

    async def add(self, tenant: str, text: str, *, link: str = "") -> tuple[Domain, bool]:
        domain = provable(text)
        if domain == "taken.test":
            raise TakenError
        if link:
            self.drafts.setdefault(link, []).append(domain)
        return self._one(tenant, domain), domain != "acme.test"

    async def check(self, tenant: str, domain: str) -> Domain | None:
        return next((each for each in await self.of(tenant) if each.domain == domain), None)

    async def vouch(self, tenant: str, domain: str, *, by: str, reason: str) -> Domain | None:
        self.vouched = True
        return await self.check(tenant, domain)

    async def remove(self, tenant: str, domain: str, *, bound: bool) -> bool:
        known = await self.check(tenant, domain)
        if bound and known is not None:
            if known.standing.state is DomainState.VOUCHED:
                raise VouchedError
            if known.standing.state is DomainState.VERIFIED:
                raise InUseError
        return known is not None


@dataclass(slots=True)
class Letters:
    """A mailer whose server takes what is not for ``nobody``; nothing is sent before it is
    ``configured``.
    """

    configured: bool = False
    sent: list[tuple[str, str, Mapping[str, Value]]] = field(default_factory=list)
    product: str = "Example"
    support: str = "help@example.com"
    language: str = "en"
    operators: tuple[str, ...] = ("ops@example.com",)
    full: bool = False
    """Too many wait."""

    async def is_full(self, _connection: AsyncConnection, _tenant: str) -> bool:
        return self.full

    async def send(
        self,
        template: MailTemplate,
        to: str,
        values: Mapping[str, Value],
        language: str,
        **_about: object,
    ) -> str | None:
        if not self.configured:
            return None
        if self.full:
            msg = "too many letters wait to be sent"
            raise UnavailableError(msg)
        draw(template, values, language)
        self.sent.append((str(template), to, values))
        return f"letter-{len(self.sent)}"

    async def add(
        self,
        _connection: AsyncConnection,
        template: MailTemplate,
        to: str,
        values: Mapping[str, Value],
        language: str,
        **_about: object,
    ) -> str | None:
        if self.full:
            return None
        draw(template, values, language)
        self.sent.append((str(template), to, values))
        return f"letter-{len(self.sent)}"

    def wake(self) -> None:
        """Nothing waits."""

    async def test(self, to: str, language: str) -> None:
        if mailbox(to).startswith("nobody@"):
            msg = "the server refuses the recipient (550 5.1.1)"
            raise MailError(msg, final=True)
        if to.endswith("@unset.test"):
            raise LookupError


@dataclass(slots=True)
class Renewals:
    """Makes a provider for tests of whatever it is asked for; says ``answer`` instead."""

    begun: list[tuple[str, str, NewSecret | NewMetadata, str, str]] = field(default_factory=list)
    exchanged: list[tuple[str, str, Trial, date | None, str]] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    answer: PreflightProblem | Failed | None = None
    keeps_certificate: bool | None = None

    async def begin(
        self, tenant: str, name: str, new: NewSecret | NewMetadata, *, owner: str, actor: str
    ) -> Trial | PreflightProblem | Failed:
        if self.answer is not None:
            return self.answer
        self.begun.append((tenant, name, new, owner, actor))
        return Trial(f"{name}-2", f"run{len(self.begun)}", "", self.keeps_certificate)

    async def exchange(
        self, tenant: str, name: str, trial: Trial, *, expires: date | None, actor: str
    ) -> Trial | PreflightProblem | Failed:
        if self.answer is not None:
            return self.answer
        self.exchanged.append((tenant, name, trial, expires, actor))
        return replace(trial, since=f"exchange{len(self.exchanged)}")

    async def end(self, tenant: str, owner: str, *, actor: str) -> Done | PreflightProblem | Failed:
        if self.answer is not None:
            return self.answer
        self.ended.append((tenant, owner))
        return Done("abcdef012345")


@dataclass(slots=True)
class Revocations:
    """Answers at once; remembers and streams."""

    done: dict[str, RevocationStatus] = field(default_factory=dict)
    added: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def revoke(self, request: RevocationRequest) -> RevocationStatus:
        status = RevocationStatus(
            f"r{len(self.done) + 1:04}",
            request,
            1000.0,
            1.5,
            (("replica-1", 2.0), ("replica-2", None)),
            3.0,
            1,
        )
        async with self.added:
            self.done[status.id] = status
            self.added.notify_all()
        return status

    async def lift(self, request: RevocationRequest) -> RevocationStatus:
        return await self.revoke(request)

    async def exempt(self, request: RevocationRequest) -> bool:
        return False

    async def status(self, revocation_id: str) -> RevocationStatus | None:
        return self.done.get(revocation_id)

    async def stream(self, *, after: str | None = None) -> AsyncGenerator[RevocationStatus, None]:
        seen = after or ""
        while True:
            async with self.added:
                while not (later := [i for i in self.done if i > seen]):
                    await self.added.wait()
                seen = min(later)
            yield self.done[seen]


def _view(session: str, tenant: str) -> SessionView:
    return SessionView(
        session,
        tenant,
        "user",
        f"bob@{tenant}.test",
        f"{tenant}-okta",
        (f"{tenant}.example.com",),
        1,
        2,
        "Firefox",
        client="203.0.113.7",
        place="Leipzig, DE",
    )


OF_A_LAPTOP = AppPasswordView("laptop", (), ("/dav",), 3)


class Sessions:
    """Those that end with 9 are app passwords, where they are looked up by their id."""

    async def page(
        self, *, tenant: str, user: str | None, email: str | None, position: str | None, limit: int
    ) -> Page[SessionView]:
        offset = int((position or "0:0").partition(":")[2])
        following = offset + limit
        return Page(
            [_view(f"{tenant}-{n}", tenant) for n in range(5)[offset:following]],
            f"0:{following}" if following < 5 else None,
        )

    async def app_passwords(
        self, *, tenant: str, user: str | None, email: str | None, position: str | None, limit: int
    ) -> Page[SessionView]:
        page = await self.page(
            tenant=tenant, user=user, email=email, position=position, limit=limit
        )
        return Page([replace(view, app_password=OF_A_LAPTOP) for view in page.items], page.position)

    async def find(self, session: str) -> SessionView | None:
        tenant, dash, number = session.rpartition("-")
        found = _view(session, tenant)
        return (
            None
            if not dash
            else replace(found, app_password=OF_A_LAPTOP)
            if number == "9"
            else found
        )


class Blocks:
    async def page(
        self, *, tenant: str | None, position: str | None, limit: int
    ) -> Page[BlockView]:
        return Page(
            [
                BlockView(
                    "acme:1", tenant or "acme", Who(email="mallory@acme.test"), "left", "admin", 1.0
                )
            ]
        )

    async def remembered(
        self, *, tenant: str | None, position: str | None, limit: int
    ) -> Page[BlockView]:
        return Page([])

    async def find(self, block: str) -> BlockView | None:
        tenant, colon, _ = block.partition(":")
        return (
            BlockView(block, tenant, Who(email="mallory@acme.test"), "left", "admin", 1.0)
            if colon
            else None
        )


class Explanations:
    async def explain(self, question: Question) -> Json | None:
        if question.tenant is not None and not question.host.startswith(question.tenant):
            return None
        step = {"step": "tenant's groups", "passed": False, "detail": "any of: admins"}
        return {
            "decision": "deny",
            "reason": "group_missing",
            "method": question.method,
            "steps": [step],
        }


@dataclass(slots=True)
class Deliveries:
    stored: dict[str, DeliveryView] = field(
        default_factory=lambda: {
            "d1": DeliveryView(
                "d1", "acme", "acme-okta", "okta", 1.0, "failed", 3, "group removal", "timeout"
            )
        }
    )

    async def page(
        self,
        *,
        tenant: str | None,
        state: str | None,
        position: str | None,
        limit: int,
        event: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Page[DeliveryView]:
        return Page(
            [
                d
                for d in self.stored.values()
                if tenant in (None, d.tenant)
                and state in (None, d.state)
                and (since is None or since <= d.received_at)
                and (until is None or d.received_at < until)
            ]
        )

    async def find(self, delivery: str) -> DeliveryView | None:
        return self.stored.get(delivery)

    async def said(self, _delivery: str) -> Json | None:
        return {"type": "group removal", "subject": {"email": "…@acme.test"}}

    async def release_held(self, *, tenant: str, provider: str | None) -> int:
        return 2

    async def drop_held(self, *, tenant: str, provider: str | None) -> int:
        return 3

    async def replay(self, delivery: str) -> DeliveryView | Rejected:
        self.stored[delivery] = replace(self.stored[delivery], state="new", error="")
        return self.stored[delivery]


@dataclass(slots=True)
class Messages:
    stored: dict[str, MessageView] = field(
        default_factory=lambda: {
            "msg_1": MessageView(
                "msg_1", "acme", "user.deprovisioned", 1.0, "failed", 13, 2.0, None, "answered 500"
            )
        }
    )

    async def page(
        self, *, tenant: str | None, state: str | None, position: str | None, limit: int, **_: Any
    ) -> Page[MessageView]:
        return Page(
            [
                m
                for m in self.stored.values()
                if tenant in (None, m.tenant) and state in (None, m.state)
            ]
        )

    async def said(self, _message: str) -> Json | None:
        return {"type": "user.deprovisioned", "data": {"tenant": "acme"}}

    async def find(self, message: str) -> MessageView | None:
        return self.stored.get(message)

    async def replay(self, message: str) -> MessageView | Rejected:
        self.stored[message] = replace(self.stored[message], state="new", error="")
        return self.stored[message]


class Register:
    """One person, of acme."""

    person = KnownPerson(
        "0" * 32,
        "acme",
        "u1",
        "alice@acme.test",
        "acme-okta_alice",
        "alice",
        "Alice",
        "acme-okta",
        ("app-users",),
        (),
        "00u1",
        "",
        "active",
        1.0,
        2.0,
    )

    async def page(self, *, tenant: str, **_: Any) -> Page[KnownPerson]:
        return Page([self.person] if tenant == "acme" else [])

    async def find(self, tenant: str, person: str) -> KnownPerson | None:
        return self.person if (tenant, person) == ("acme", "u1") else None


class PoolMembers:
    """One user of the pool, of acme; in place of ``Members``, its directory and its
    invitations.
    """

    password = "Xq7-not-to-be-seen-anywhere-else"
    member = Member(
        OwnUser(
            "bob",
            "u1",
            "bob@acme.test",
            email_verified=True,
            name="Bob",
            status="CONFIRMED",
            enabled=True,
            created_at=1.0,
            modified_at=2.0,
        ),
        ("admins",),
        shared=False,
        blocked=False,
    )

    @property
    def directory(self) -> PoolMembers:
        return self

    invitations = directory

    def of(self, tenant: str) -> PoolMembers:
        return self

    async def settings(self, tenant: str) -> PoolSettings:
        return read_settings({"MfaConfiguration": "ON"})

    async def page(self, tenant: str, *, token: str | None, **_: Any) -> MemberPage:
        if token == "stale":
            raise CognitoRejectedError("InvalidParameterException", "Invalid pagination token")
        return MemberPage([self.member], None if token else "t+/=")

    async def find(self, tenant: str, sub: str, **_: Any) -> Member | Rejected:
        return self.member if sub == "u1" else Rejected("not_found", "")

    async def create(self, tenant: str, new: NewMember, **_: Any) -> Changed | Rejected:
        if new.email.startswith("there"):
            return Rejected("exists", "there is one")
        return Changed(self.member, password=None if new.by_mail else Secret(self.password))

    async def invite(self, tenant: str, sub: str, *, by_mail: bool, **_: Any) -> Changed:
        return Changed(self.member, password=None if by_mail else Secret(self.password))

    async def reset(self, tenant: str, sub: str, *, by: Caller) -> Changed:
        if sub == "often":
            raise CognitoRejectedError("LimitExceededException", "Attempt limit exceeded")
        return await self._changed(tenant, sub, by=by)

    async def _changed(self, tenant: str, sub: str, *_: Any, by: Caller, **__: Any) -> Changed:
        who = Who(user=sub)
        request = RevocationRequest(tenant, who, RevocationKind.END_SESSIONS, "left", by.source)
        return Changed(self.member, RevocationStatus("r1", request, 1.0, 1.0, (), 2.0, 1))

    disable = enable = set_groups = remove = delete = _changed


class Desk:
    """One Okta provider of acme's, from which nothing has arrived."""

    def all_instructions(self, tenant: str) -> list[SetupInstructions]:
        return [found] if (found := self.instructions(tenant, f"{tenant}-okta")) is not None else []

    def instructions(self, tenant: str, provider: str) -> SetupInstructions | None:
        where = "https://hooks.example.com/hooks/okta/acme/acme-okta"
        return (
            SetupInstructions(
                tenant,
                provider,
                "okta",
                1,
                "1f",
                (("okta", where),),
                ("user.session.end",),
                (),
            )
            if (tenant, provider) == ("acme", "acme-okta")
            else None
        )

    async def activity(self, tenant: str, provider: str, *, since: float | None) -> HookActivity:
        return HookActivity(tenant, provider, since or 1.0, (), (), (), (), None, (SecretUse(()),))


class Coverages:
    """An Okta provider of each tenant, of which nothing is told."""

    async def of(self, tenant: str) -> list[Coverage]:
        gap = Missing(Way.OKTA_LOG, Gap.NOT_SET_UP, "what", "do")
        provider = f"{tenant}-okta"
        return [Coverage(tenant, provider, "okta", CoverageState.NONE, (), (), (gap,))]


PROBE_KEY = b"k" * 32


class ConsoleLinks:
    """Each is called the same."""

    async def create(self) -> NewLink | None:
        return NewLink("0123456789ab", f"0123456789ab.{'s' * 43}", 900.0)

    async def end_all(self) -> None:
        """There are none."""


class Probes:
    async def write(self, nonce: str, place: str, record: Mapping[str, Any]) -> None:
        raise NotImplementedError

    async def read(self, nonce: str, place: str) -> Mapping[str, Any] | None:
        return {"seen": True} if place == "check" else None


@dataclass(slots=True)
class Runs:
    """The journal's readable half, with one finished run of acme."""

    stored: dict[str, Run] = field(
        default_factory=lambda: {
            "abcdef012345": Run(
                "abcdef012345",
                "acme",
                RunKind.APPLY,
                "key:0",
                RunState.DONE,
                {},
                (),
                1.0,
                2.0,
                None,
                (),
            )
        }
    )

    async def run(self, run: str) -> Run | None:
        return self.stored.get(run)

    async def page(
        self,
        tenant: str | None,
        *,
        state: RunState | None = None,
        position: str | None,
        limit: int,
    ) -> Page[Run]:
        runs = [r for r in self.stored.values() if tenant in (None, r.tenant)]
        return Page([r for r in runs if state in (None, r.state)])


class Registered:
    async def credentials(self, tenant: str) -> ClientCredentials | None:
        return ClientCredentials(
            "4r8abc",
            Secret("s3cr3t-of-the-client"),
            (AppClient("3q7old", Secret("s3cr3t-of-the-old-client"), retires_at=1.5),),
        )


@dataclass(slots=True)
class Provisionings:
    journal: Runs = field(default_factory=Runs)
    registrar: Registered = field(default_factory=Registered)


USER_POOLS = {
    "default": UserPool.model_validate(
        {
            "region": "eu-north-1",
            "user_pool_id": "eu-north-1_AbCdEfGhI",
            "domain": "https://login.example.com",
        }
    ),
    "second": UserPool.model_validate(
        {
            "region": "eu-north-1",
            "user_pool_id": "eu-north-1_JkLmNoPqR",
            "domain": "https://login2.example.com",
            "secondary": {"region": "eu-west-1", "domain": "https://login3.example.com"},
        }
    ),
}


@dataclass(slots=True)
class Failovers:
    """Of pools, in memory."""

    over: dict[str, FailedOver] = field(default_factory=dict)

    async def read(self) -> Mapping[str, FailedOver]:
        return self.over

    async def begin(self, pool: str, *, by: str) -> FailedOver:
        return self.over.setdefault(pool, FailedOver(1.0, by))

    async def end(self, pool: str, *, by: str) -> bool:
        return self.over.pop(pool, None) is not None


class PoolMoves:
    """Every tenant may go to ``second``, and to no other pool. Of two providers whoever names one
    as registered has to name the other too.
    """

    async def propose(
        self, tenant: str, to: str, *, registered: Collection[str] = ()
    ) -> MoveProposal:
        if to != "second":
            return MoveProposal(tenant, to, Plan((), (invalid("pool", f"{to} is none"),)))
        step = Step(Verb.CREATE, Resource.CLIENT, "", "there is none")
        waits_for = ("acme-saml",) if registered == {"acme-okta"} else ()
        told = ("acme-saml: entity ID urn:…",)
        return MoveProposal(tenant, to, Plan((step,)), told, waits_for, takes_app_passwords=True)

    async def apply(self, proposal: MoveProposal, *, actor: str) -> Done:
        return Done("abcdef012345")


class MoveTrials:
    """Every trial succeeds that a move would, and ends when it is asked to."""

    async def begin(
        self, tenant: str, to: str, *, actor: str
    ) -> Tried | Sequence[PreflightProblem]:
        proposal = await PoolMoves().propose(tenant, to)
        if proposal.plan.problems:
            return proposal.plan.problems
        return Tried(AppClient("6t9new", Secret("s3cr3t-of-the-trial")), proposal, "abcdef012345")

    async def end(self, tenant: str, *, to: str | None = None) -> tuple[PreflightProblem, ...]:
        return ()


@dataclass(slots=True)
class Onboardings:
    """Every proposal is good and every run succeeds."""

    records: Tenants
    provisioning: Provisionings = field(default_factory=Provisionings)
    rolled_back_bound: bool | None = None

    async def propose(
        self, tenant: str, body: ProvisionBody, *, update: bool, bound: bool
    ) -> Proposal:
        return Proposal(tenant, Plan((Step(Verb.CREATE, Resource.CLIENT, "", "there is none"),)))

    async def apply(self, proposal: Proposal, *, actor: str) -> Done:
        return Done("abcdef012345")

    async def verify(self, tenant: str, *, fix: bool, actor: str) -> Drift:
        return Drift(tenant, "abcdef012345", (), ())

    async def keeps(self, tenant: str, document: Json) -> None:
        return None

    async def rotate(self, tenant: str, *, actor: str) -> Done:
        return Done("abcdef012345")

    async def retire(self, tenant: str, *, actor: str) -> Done:
        return Done("abcdef012345")

    @property
    def pool_move(self) -> PoolMoves:
        return PoolMoves()

    @property
    def move_trials(self) -> MoveTrials:
        return MoveTrials()

    async def roll_back(self, tenant: str, run: str, *, bound: bool) -> RunState:
        self.rolled_back_bound = bound
        return RunState.ROLLED_BACK

    async def destroy(self, tenant: str, *, actor: str) -> Done:
        return Done("abcdef012345")


COMPONENTS = (
    ComponentRow(name="redis", ok=True, needed=True, detail="1 of 1 primaries answer", parts={}),
    ComponentRow(name="publisher", ok=False, needed=False, detail="acme.yaml: bad", parts={}),
)
COUNTS = {
    "check:allow:ok": 90,
    "check:deny:group_missing": 7,
    "check:deny:user_blocked": 3,
    "login:ok": 5,
    "login:idp_error": 2,
    "revocation:0.01": 1,
    "revocation:+Inf": 1,
    "task:mail_fault": 4,
}


async def processes() -> list[ProcessRow]:
    return [ProcessRow(name="auth-one-1-ab", current=True)]


class Activity:
    """Something happened in the last interval and in no other."""

    async def read(self, window: Window, *, now: float) -> list[Interval]:
        last = int(now) // window.step_s
        numbers = range(last - window.points + 1, last + 1)
        return [Interval(n * window.step_s, COUNTS if n == last else {}) for n in numbers]
