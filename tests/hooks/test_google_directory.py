"""A Google Workspace directory by the Directory API: pushes, readings, and what goes wrong with
both, against the stand-in.
"""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from sqlalchemy import select

from demo import faults
from demo.jose import SigningKey
from gateway.core.hook_target import HookTarget, WebhookTarget
from gateway.core.model import ProviderKind, Secret
from gateway.core.person import Person
from gateway.database.schema import directory_channels, directory_cursors
from gateway.errors import PeerError
from gateway.hooks.reconcile.fetch import ThrottledError
from gateway.hooks.reconcile.google_client import SCOPES
from gateway.hooks.removal_limit import BrakeLimits
from gateway.hooks.sources.credential import channel_token
from tests.hooks.living import INTERVAL_S, living_hooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.idp.directory import Person as Account
    from demo.idp.google_directory import GoogleDirectory, ServiceAccount
    from gateway.database.engine import Database
    from tests.hooks.living import Living

SECRET = "hooli-hook-secret-0123456789abcdef"
KEY = ("hooli", "hooli-google")


@dataclass
class Workspace:
    """One customer's Google Workspace with its administrator, and the hooks that read it."""

    living: Living
    google: GoogleDirectory
    account: ServiceAccount
    directory: Any

    @property
    def target(self) -> HookTarget:
        found = self.living.world.targets.by_key[KEY]
        assert isinstance(found, HookTarget)
        return found

    def change(self, **changes: Any) -> None:
        self.living.world.targets.by_key[KEY] = replace(self.target, **changes)

    def add(self, name: str, *groups: str) -> Account:
        found: Account = self.directory.add_person(
            f"{name}@hooli.test", name=name.title(), groups=groups
        )
        return found

    def group(self, name: str) -> Any:
        return next(g for g in self.directory.groups.values() if g.name == name)

    async def read(self) -> None:
        """One interval later."""
        self.living.clock.advance(INTERVAL_S)
        await self.living.round()
        # Being back is looked up once more.
        self.living.clock.advance(6)
        await self.living.world.settled()

    async def pushed(self) -> None:
        await self.google.channels.outbox.idle()
        await self.living.world.settled()

    def refused(self) -> set[tuple[str, str]]:
        """(kind or group, id or address) of what stands."""
        return {
            (r.group_overlay or r.kind.value, r.who.idp_subject or r.who.email or r.who.user or "")
            for r in self.living.world.revoker.standing
        }

    def blocked(self) -> set[str]:
        return {whom for kind, whom in self.refused() if kind == "block"}

    async def channels(self) -> list[Any]:
        async with self.living.world.database.read() as connection:
            query = select(directory_channels).order_by(directory_channels.c.created_at)
            return list((await connection.execute(query)).all())


@contextlib.asynccontextmanager
async def workspace_hooks(
    database: Database, *, brake: BrakeLimits | None = None
) -> AsyncIterator[Workspace]:
    async with living_hooks(database, brake=brake) as living:
        customer = await living.cloud.add_idp("hooli-google", kind="google")
        google = customer.google
        assert google is not None
        directory = customer.server.directory
        admin = directory.add_person("admin@hooli.test", name="Ada Admin")
        google.admins.add(admin.email)
        account = google.add_account(_key(living))
        living.world.targets.by_key = {
            KEY: HookTarget(
                tenant="hooli",
                provider="hooli-google",
                kind=ProviderKind.GOOGLE,
                issuer="https://accounts.google.com",
                secrets=(Secret(SECRET),),
                directory_id=None,
                client_id=None,
                client_secret=None,
                api_token=None,
                api_url=customer.server.origin,
                audience=None,
                groups_used=frozenset({"staff"}),
                allowed_groups=frozenset({"staff"}),
                service_account=Secret(account.key_file()),
                admin_email=admin.email,
            )
        }
        yield Workspace(living, google, account, directory)


def _key(living: Living) -> SigningKey:
    return living.cloud.customers["acme-okta"].server.key


@pytest.fixture
async def hooli(database: Database) -> AsyncIterator[Workspace]:
    async with workspace_hooks(database) as found:
        yield found


async def test_suspended_archived_and_deleted_users_are_blocked_by_id_and_address(
    hooli: Workspace,
) -> None:
    anna, ben, cleo, dora = (hooli.add(n, "staff") for n in ("anna", "ben", "cleo", "dora"))
    await hooli.read()
    assert hooli.refused() == set()
    await hooli.directory.suspend(anna)
    hooli.google.archive(ben)
    await hooli.directory.delete(cleo)
    await hooli.pushed()
    expected = {name for one in (anna, ben, cleo) for name in (one.id, one.email)}
    assert hooli.blocked() == expected
    assert dora.id not in hooli.blocked()
    await hooli.read()
    assert hooli.blocked() == expected


async def test_every_removal_is_found_within_an_interval_though_a_third_of_the_pushes_is_lost(
    hooli: Workspace,
) -> None:
    rng = random.Random(7)
    people = [hooli.add(f"person{n:03d}", "staff") for n in range(120)]
    await hooli.read()
    hooli.google.channels.outbox.switches.loss = 0.3
    gone = rng.sample(people, 60)
    for number, one in enumerate(gone):
        match number % 3:
            case 0:
                await hooli.directory.suspend(one)
            case 1:
                hooli.google.archive(one)
            case _:
                await hooli.directory.delete(one)
    await hooli.pushed()
    lost = len(hooli.google.channels.outbox.lost)
    assert 5 < lost < 40, "the stand-in loses about a third"
    blocked = {one.id for one in gone} & hooli.blocked()
    assert blocked != {one.id for one in gone}
    assert len(blocked) >= len(gone) - lost
    await hooli.read()
    assert {one.id for one in people} & hooli.blocked() == {one.id for one in gone}


async def test_each_removal_is_told_to_the_app_once(hooli: Workspace) -> None:
    anna = hooli.add("anna", "staff")
    hooli.living.world.targets.webhooks["hooli"] = _webhook()
    await hooli.read()
    hooli.google.channels.outbox.switches.duplicate = True
    await hooli.directory.suspend(anna)
    await hooli.pushed()
    await hooli.read()
    await hooli.read()
    told = [event for event, _, _ in await hooli.living.world.messages()]
    assert told == ["user.deprovisioned"]


async def test_who_left_a_group_loses_it_and_who_is_back_has_it_again(hooli: Workspace) -> None:
    anna = hooli.add("anna", "staff")
    hooli.add("ben", "staff")
    await hooli.read()
    await hooli.directory.remove_from_group(anna, hooli.group("staff"))
    await hooli.pushed()
    assert hooli.refused() == set(), "Google has no push for members"
    await hooli.read()
    assert {("staff", anna.id), ("staff", anna.email)} <= hooli.refused()
    await hooli.directory.add_to_group(anna, hooli.group("staff"))
    await hooli.read()
    assert hooli.refused() == set()


async def test_members_through_other_groups_and_of_the_whole_customer_stay(
    hooli: Workspace,
) -> None:
    anna, ben = hooli.add("anna", "sales"), hooli.add("ben", "staff")
    cleo = hooli.add("cleo")
    staff, sales = hooli.group("staff"), hooli.group("sales")
    hooli.google.nested[staff.id] = {sales.id}
    await hooli.read()
    hooli.google.nested.clear()
    await hooli.read()
    assert {whom for kind, whom in hooli.refused() if kind == "staff"} == {anna.id, anna.email}
    # The whole customer becomes a member: everybody has it.
    hooli.google.of_everybody.add(staff.id)
    await hooli.directory.remove_from_group(ben, staff)
    await hooli.read()
    assert ("staff", ben.id) not in hooli.refused()
    # And is none any more: whoever is not named has lost it.
    hooli.google.of_everybody.clear()
    await hooli.read()
    lost = {whom for kind, whom in hooli.refused() if kind == "staff"}
    assert {ben.id, cleo.id} <= lost


async def test_a_deleted_group_is_taken_from_everybody(database: Database) -> None:
    async with workspace_hooks(database) as hooli:
        hooli.add("anna", "staff")
        await hooli.read()
        await hooli.directory.delete_group(hooli.group("staff"))
        await hooli.read()
        said = [call for call in hooli.living.world.revoker.said() if call[3] == "staff"]
        assert ("revoke", "end_sessions", "group staff", "staff") in said


async def test_a_restored_user_is_let_in_again(hooli: Workspace) -> None:
    anna = hooli.add("anna", "staff")
    await hooli.read()
    await hooli.directory.delete(anna)
    await hooli.pushed()
    assert anna.id in hooli.blocked()
    hooli.google.undelete(anna)
    await hooli.read()
    await hooli.read()
    assert hooli.blocked() == set()


async def test_who_is_restored_without_the_group_does_not_get_it_by_an_old_token(
    hooli: Workspace,
) -> None:
    anna = hooli.add("anna", "staff")
    await hooli.read()
    await hooli.directory.delete(anna)
    await hooli.pushed()
    await hooli.read()
    anna.group_ids.clear()
    hooli.google.undelete(anna)
    await hooli.read()
    await hooli.read()
    assert hooli.blocked() == set()
    assert ("staff", anna.id) in hooli.refused()


async def test_a_stale_answer_to_a_push_is_mended_by_the_reading(hooli: Workspace) -> None:
    anna = hooli.add("anna", "staff")
    await hooli.read()
    hooli.google.channels.outbox.switches.stale_s = 60.0
    await hooli.directory.suspend(anna)
    await hooli.google.channels.outbox.idle()
    hooli.living.clock.advance(6)
    await hooli.living.world.settled()
    assert hooli.blocked() == set(), "the directory still shows what was"
    await hooli.read()
    assert anna.id in hooli.blocked()


async def test_somebody_who_gets_an_address_is_not_refused_for_whoever_had_it(
    hooli: Workspace,
) -> None:
    anna = hooli.add("anna", "staff")
    await hooli.read()
    await hooli.directory.delete(anna)
    await hooli.pushed()
    assert hooli.blocked() == {anna.id, anna.email}
    second = hooli.directory.add_person("anna@hooli.test", name="Anna Second", groups=("staff",))
    await hooli.read()
    assert hooli.blocked() == {anna.id}
    # What is said again of the first one does not reach the second one either.
    hooli.living.world.people.people.append(
        (*KEY, {"idp_subject": second.id, "email": second.email}, Person("u-2", second.email))
    )
    await hooli.read()
    assert hooli.blocked() == {anna.id}


async def test_a_blocked_user_who_is_renamed_is_refused_under_the_new_address(
    hooli: Workspace,
) -> None:
    anna = hooli.add("anna", "staff")
    await hooli.read()
    await hooli.directory.suspend(anna)
    await hooli.pushed()
    hooli.google.rename(anna, "annabel@hooli.test")
    await hooli.read()
    assert hooli.blocked() == {anna.id, "anna@hooli.test", "annabel@hooli.test"}


async def test_a_renamed_user_signs_in_anew(hooli: Workspace) -> None:
    anna = hooli.add("anna", "staff")
    await hooli.read()
    hooli.google.rename(anna, "annabel@hooli.test")
    await hooli.read()
    ended = {call[2] for call in hooli.living.world.revoker.said()}
    assert {anna.id, "anna@hooli.test", "annabel@hooli.test"} <= ended
    assert hooli.refused() == set()


# --- readings


async def test_a_reading_goes_on_after_a_restart_and_restarts_when_its_page_token_has_ended(
    hooli: Workspace,
) -> None:
    people = [hooli.add(f"person{n}", "staff") for n in range(7)]
    await hooli.read()
    hooli.google.page_size = 4
    await hooli.directory.suspend(people[0])
    await hooli.pushed()
    hooli.living.world.revoker.calls.clear()
    for one in people[1:4]:
        one.status = type(one.status).SUSPENDED
    reading = hooli.living.google
    assert await reading.read(hooli.target, until=0.0) == (2, False)
    hooli.google.calls.clear()
    other = hooli.living.restarted()
    assert (await other.google.read(hooli.target))[1] is True
    await hooli.living.world.settled()
    assert {one.id for one in people[:4]} <= hooli.blocked()
    assert await reading.read(hooli.target, until=0.0) == (0, False)
    hooli.google.expire_page_tokens()
    people[5].status = type(people[5].status).SUSPENDED
    assert (await reading.read(hooli.target))[1] is True
    await hooli.living.world.settled()
    assert people[5].id in hooli.blocked()


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_list_that_fails_blocks_nobody(hooli: Workspace, status: int) -> None:
    hooli.add("anna", "staff")
    await hooli.read()
    faults_of = hooli.living.cloud.customers["hooli-google"].server.faults
    faults_of.always("directory", faults.status(status, "{}", "application/json"))
    await hooli.read()
    faults_of.clear()
    assert hooli.refused() == set()
    assert all(not state[0].startswith("reading/") for state in await hooli.living.world.states())


async def test_nobody_is_not_found_where_nobody_is_listed(hooli: Workspace) -> None:
    anna = hooli.add("anna", "staff")
    await hooli.read()
    client = hooli.living.google._google
    client._listed_at.clear()
    hooli.directory.people.clear()
    hooli.living.clock.advance(1.0)
    with pytest.raises(PeerError, match="lists nobody"):
        await client.user(hooli.target, anna.id)


async def test_an_answer_that_is_short_by_many_is_held_for_an_operator(
    database: Database,
) -> None:
    async with workspace_hooks(database, brake=BrakeLimits(people=3, percent=10)) as hooli:
        people = [hooli.add(f"person{n:02d}", "staff") for n in range(30)]
        await hooli.read()
        for one in people[:20]:
            one.group_ids.clear()
        await hooli.read()
        lost = {whom for kind, whom in hooli.refused() if kind == "staff" and "@" not in whom}
        assert 0 < len(lost) <= 4
        states = [state for _, state, _ in await hooli.living.world.states()]
        assert states.count("held") >= 16


async def test_quotas_are_waited_for_longer_each_time_and_lose_nothing(hooli: Workspace) -> None:
    anna = hooli.add("anna", "staff")
    await hooli.read()
    client, switches = hooli.living.google._google, hooli.google.channels.outbox.switches
    anna.status = type(anna.status).SUSPENDED
    pauses = []
    for _ in range(4):
        switches.throttled = 1
        with pytest.raises(ThrottledError) as caught:
            await hooli.living.google.read(hooli.target)
        pauses.append(int(caught.value.after_s))
        before = len(hooli.google.calls)
        with pytest.raises(ThrottledError):
            await hooli.living.google.read(hooli.target)
        assert len(hooli.google.calls) == before, "not asked while it is to be left alone"
        hooli.living.clock.advance(caught.value.after_s)
    assert pauses == [1, 2, 4, 8]
    await hooli.living.google.read(hooli.target)
    await hooli.living.world.settled()
    assert anna.id in hooli.blocked()
    assert client._quotas[next(iter(client._quotas))].failures == 0


async def test_what_the_token_endpoint_refuses_is_told_and_blocks_nobody(
    hooli: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    hooli.add("anna", "staff")
    await hooli.read()
    client = hooli.living.google._google
    hooli.account.scopes = frozenset(SCOPES[:1])
    client._tokens.clear()
    with pytest.raises(PeerError, match="exactly the three scopes"):
        await client.user(hooli.target, "1")
    hooli.account.scopes = frozenset(SCOPES)
    admin = hooli.directory.by_email("admin@hooli.test")
    admin.status = type(admin.status).SUSPENDED
    client._tokens.clear()
    with pytest.raises(PeerError, match="admin_email an active administrator"):
        await client.user(hooli.target, "1")
    await hooli.read()
    assert hooli.refused() == set()
    private = json.loads(hooli.account.key_file())["private_key"].splitlines()[1]
    assert private not in caplog.text
    assert private not in repr(hooli.target)


@pytest.mark.parametrize("is_removed", [True, False])
async def test_nothing_of_a_key_is_remembered_that_its_provider_has_no_more(
    hooli: Workspace, is_removed: bool
) -> None:
    client, targets = hooli.living.google._google, hooli.living.world.targets
    await hooli.living.google.read(hooli.target)
    (credential,) = client._tokens
    assert hooli.account.key_file() in credential and client._signers._kept
    client.forget_gone(targets)
    assert client._signers._kept and client._tokens, "the provider has it"
    if is_removed:
        targets.by_key = {}
    else:
        hooli.change(admin_email="other@hooli.test")
    client.forget_gone(targets)
    assert client._signers._kept == {}
    for memory in (client._tokens, client._quotas, client._listed_at, client._used):
        assert memory == {}


async def test_a_service_account_with_a_role_of_its_own_acts_for_nobody(hooli: Workspace) -> None:
    hooli.change(admin_email=None)
    with pytest.raises(PeerError, match="403"):
        await hooli.living.google.read(hooli.target)
    hooli.account.admin = True
    hooli.living.google._google._tokens.clear()
    assert (await hooli.living.google.read(hooli.target))[1] is True


async def test_a_token_that_was_withdrawn_is_asked_for_again(hooli: Workspace) -> None:
    await hooli.read()
    hooli.google._tokens.clear()
    assert (await hooli.living.google.read(hooli.target))[1] is True


async def test_a_key_is_parsed_once_for_all_tokens_and_anew_where_it_is_another(
    hooli: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    load = serialization.load_pem_private_key

    def counted(data: bytes, password: bytes | None) -> Any:
        parsed.append(data)
        return load(data, password)

    monkeypatch.setattr(serialization, "load_pem_private_key", counted)
    for _ in range(3):
        hooli.google._tokens.clear()
        await hooli.read()
    assert len(parsed) == 1
    hooli.change(service_account=Secret(hooli.google.add_account(SigningKey.generate()).key_file()))
    await hooli.read()
    assert len(parsed) == 2
    assert hooli.refused() == set()


async def test_a_user_who_cannot_be_read_is_skipped_alone(
    hooli: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    anna = hooli.add("anna", "staff")
    ben = hooli.add("ben", "staff")
    await hooli.read()
    ben.status = type(ben.status).SUSPENDED
    honest = hooli.google._shown

    def spoiled(person: Account, query: Any) -> dict[str, Any]:
        return {**honest(person, query), **({"suspended": "no"} if person is anna else {})}

    hooli.google._shown = spoiled  # type: ignore[method-assign]  # what the stand-in answers once
    await hooli.read()
    assert ben.id in hooli.blocked()
    assert anna.id not in hooli.blocked()
    assert "reconcile_entries_skipped" in caplog.text


# --- channels


async def test_a_channel_is_opened_for_each_kind_of_change_and_followed_before_it_ends(
    hooli: Workspace,
) -> None:
    await hooli.read()
    first = await hooli.channels()
    assert sorted(row.event for row in first) == ["delete", "undelete", "update"]
    await hooli.google.channels.outbox.idle()
    assert {sent.status for sent in hooli.google.channels.outbox.sent} == {200}, "sync is answered"
    hooli.living.clock.advance(4 * 3600)
    await hooli.read()
    rows = await hooli.channels()
    assert len(rows) == 6, "both are open for a while"
    await hooli.read()
    assert {row.id for row in first} == set(hooli.google.channels.stopped)
    assert len(await hooli.channels()) == 3
    # Nothing is lost meanwhile.
    anna = hooli.add("anna", "staff")
    await hooli.directory.suspend(anna)
    await hooli.pushed()
    assert anna.id in hooli.blocked()


async def test_channels_that_have_ended_are_opened_again_and_the_directory_read_at_once(
    hooli: Workspace,
) -> None:
    await hooli.read()
    hooli.living.clock.advance(13 * 3600)
    await hooli.living.google.maintain(hooli.target)
    async with hooli.living.world.database.read() as connection:
        wanted = [r.wanted_at for r in await connection.execute(select(directory_cursors))]
    assert any(wanted)
    live = hooli.google.channels.live()
    assert sorted(one.event for one in live) == ["delete", "undelete", "update"]


async def test_without_a_public_address_or_a_secret_there_are_readings_only(
    hooli: Workspace,
) -> None:
    hooli.change(secrets=())
    anna = hooli.add("anna", "staff")
    anna.status = type(anna.status).SUSPENDED
    await hooli.read()
    assert await hooli.channels() == []
    assert anna.id in hooli.blocked()


def _headers(channel: str = "c-1", **changes: str) -> dict[str, str]:
    token = channel_token(Secret(SECRET), tenant=KEY[0], provider=KEY[1], channel=channel)
    return {
        "X-Goog-Channel-ID": channel,
        "X-Goog-Channel-Token": token,
        "X-Goog-Resource-State": "update",
        "X-Goog-Message-Number": "7",
    } | {f"X-Goog-{name.replace('_', '-')}": value for name, value in changes.items()}


PATH = "/hooks/google/hooli/hooli-google"


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        (_headers(), PATH, 200),
        (_headers(Channel_Token="x" * 43), PATH, 401),
        (_headers(Channel_Token=""), PATH, 401),
        (_headers(Channel_ID="c-2"), PATH, 401),
        (_headers(Channel_ID=""), PATH, 401),
        (_headers(), "/hooks/google/hooli/hooli-okta", 401),
        (_headers(), "/hooks/google/acme/hooli-google", 401),
        ({}, PATH, 401),
    ],
    ids=["ours", "wrong", "empty", "channel", "no-channel", "provider", "tenant", "none"],
)
async def test_only_the_token_of_the_channel_itself_proves_a_push(
    hooli: Workspace, headers: dict[str, str], path: str, status: int
) -> None:
    got, _ = await hooli.living.world.post(path, json={"id": "1"}, headers=headers)
    assert got == status
    states = await hooli.living.world.states()
    assert bool(states) is (status == 200)


async def test_a_push_at_a_provider_without_a_service_account_proves_nothing(
    hooli: Workspace,
) -> None:
    hooli.change(service_account=None)
    got, _ = await hooli.living.world.post(PATH, json={"id": "1"}, headers=_headers())
    assert got == 401


@pytest.mark.parametrize("body", [b"", b"{}", b'{"id": 5}'], ids=["empty", "no-id", "number"])
async def test_a_push_that_names_nobody_has_the_directory_read_at_once(
    hooli: Workspace, body: bytes
) -> None:
    anna = hooli.add("anna", "staff")
    await hooli.read()
    anna.status = type(anna.status).SUSPENDED
    got, _ = await hooli.living.world.post(PATH, data=body, headers=_headers())
    assert got == 200
    await hooli.living.world.settled()
    hooli.living.clock.advance(6)
    await hooli.living.round()
    assert anna.id in hooli.blocked()


async def test_a_forged_deletion_is_looked_up(hooli: Workspace) -> None:
    anna = hooli.add("anna", "staff")
    await hooli.read()
    await hooli.living.world.post(
        PATH, json={"id": anna.id}, headers=_headers(Resource_State="delete")
    )
    hooli.living.clock.advance(6)
    await hooli.living.world.settled()
    assert hooli.refused() == set()


async def test_an_unknown_state_is_kept_as_skipped(hooli: Workspace) -> None:
    got, _ = await hooli.living.world.post(
        PATH, json={"id": "1"}, headers=_headers(Resource_State="exists")
    )
    assert got == 200
    assert await hooli.living.world.states() == []


def _webhook() -> WebhookTarget:
    return WebhookTarget("hooli", "http://127.0.0.1:9/never", (Secret("w" * 40),))


# --- what Google does not document: either answer is safe


@pytest.mark.parametrize("told", ["id", "address", "nothing"])
async def test_a_user_whose_tokens_carry_no_directory_id_is_refused_all_the_same(
    hooli: Workspace, told: str
) -> None:
    anna = hooli.add("anna", "staff")
    subject = {"id": anna.id, "address": anna.email, "nothing": "another-id"}[told]
    hooli.living.world.people.people.append(
        (*KEY, {"idp_subject": subject, "email": anna.email}, Person("u-1", anna.email))
    )
    await hooli.read()
    await hooli.directory.suspend(anna)
    await hooli.pushed()
    # Whoever signs in by any of these is refused: also somebody who was away.
    assert {anna.id, anna.email} <= hooli.blocked()
    kinds = {
        (r.who.idp_subject is not None, r.who.email is not None)
        for r in hooli.living.world.revoker.standing
        if anna.email in {r.who.idp_subject, r.who.email}
    }
    assert kinds == {(True, False), (False, True)}, "as a subject, and as an address"


@pytest.mark.parametrize(
    ("expiration", "life_s"),
    [("+3600000", 3600), ("+172800000", 172_800), ("+999999999999", 172_800), (None, 3600)],
)
async def test_a_channel_lives_as_long_as_the_answer_says(
    hooli: Workspace, expiration: str | None, life_s: float
) -> None:
    honest = hooli.google.channels.open

    def spoiled(event: str, body: dict[str, Any], *, uri: str) -> dict[str, Any]:
        answer = honest(event, body, uri=uri)
        at = int(hooli.living.clock() * 1000)
        answer["expiration"] = str(at + int(expiration)) if expiration is not None else None
        return answer

    hooli.google.channels.open = spoiled  # type: ignore[method-assign]  # another answer
    await hooli.living.google.maintain(hooli.target)
    for row in await hooli.channels():
        assert row.expires_at - row.created_at == pytest.approx(life_s, abs=5)


async def test_what_google_leaves_out_of_a_user_is_false(hooli: Workspace) -> None:
    anna, ben = hooli.add("anna", "staff"), hooli.add("ben", "staff")
    await hooli.read()
    await hooli.directory.suspend(anna)
    await hooli.pushed()
    honest = hooli.google._shown

    def spoiled(person: Account, query: Any) -> dict[str, Any]:
        return {k: v for k, v in honest(person, query).items() if v is not False}

    hooli.google._shown = spoiled  # type: ignore[method-assign]  # what is false is left out
    await hooli.directory.suspend(ben)
    await hooli.directory.unsuspend(anna)
    await hooli.read()
    assert ben.id in hooli.blocked()
    assert anna.id not in hooli.blocked()


@pytest.mark.parametrize("status", [400, 410])
async def test_a_page_token_that_has_ended_begins_the_reading_anew(
    hooli: Workspace, status: int
) -> None:
    people = [hooli.add(f"person{n}", "staff") for n in range(6)]
    await hooli.read()
    hooli.google.page_size = 3
    assert await hooli.living.google.read(hooli.target, until=0.0) == (0, False)
    people[5].status = type(people[5].status).SUSPENDED
    faults_of = hooli.living.cloud.customers["hooli-google"].server.faults
    faults_of.once("directory", faults.status(status, "{}", "application/json"))
    assert (await hooli.living.google.read(hooli.target))[1] is True
    await hooli.living.world.settled()
    assert people[5].id in hooli.blocked()
    assert len(hooli.blocked()) == 2


async def test_a_group_counts_by_its_address_too(hooli: Workspace) -> None:
    named = frozenset({"staff@groups.test"})
    hooli.change(groups_used=named, allowed_groups=named)
    anna, ben = hooli.add("anna", "staff"), hooli.add("ben", "staff")
    await hooli.read()
    await hooli.directory.remove_from_group(anna, hooli.group("staff"))
    await hooli.read()
    assert ("staff@groups.test", anna.id) in hooli.refused()
    assert ("staff@groups.test", ben.id) not in hooli.refused()
    await hooli.directory.delete_group(hooli.group("staff"))
    await hooli.read()
    said = [call[2:] for call in hooli.living.world.revoker.said()]
    assert ("group staff@groups.test", "staff@groups.test") in said
