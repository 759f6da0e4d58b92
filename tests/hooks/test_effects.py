"""Whom an event binds, for how long, and what the app is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.person import Person
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.hooks.effects import Around, Found, Kept, is_another, overdue, plan
from gateway.hooks.event import BY_HAND, Effect, Group, HookEvent, Source, Subject
from gateway.hooks.ordering import AccountState
from gateway.hooks.payload import dump_event, dump_kept, load_event, load_kept
from tests.hooks.world import okta_target

TARGET = okta_target()
SALES = Group("00g1", "Sales")
P = "acme-okta"
BOB = Person("cognito-sub-bob", "bob@acme.com")


def event(
    effect: Effect,
    *,
    subject: Subject | None = Subject("00ubob", email="bob@acme.com"),  # noqa: B008 - a frozen value
    group: Group | None = None,
    at: float = 10.0,
) -> HookEvent:
    return HookEvent(Source.OKTA, "t", effect, subject, group, at, "id")


def asked(requests: tuple[RevocationRequest, ...]) -> set[tuple[Who, str, str | None]]:
    return {(r.who, r.kind.value, r.group_overlay) for r in requests}


@pytest.mark.parametrize(
    ("subject", "found", "block", "only_now"),
    [
        pytest.param(
            Subject("00ubob", email="bob@acme.com"),
            Found((BOB,)),
            {Who(idp_subject="00ubob", provider=P)},
            set(),
            id="known-by-id",
        ),
        pytest.param(
            Subject("00ubob", email="bob@acme.com"),
            Found((BOB,), by_address=True),
            {Who(idp_subject="00ubob", provider=P), Who(user=BOB.user, provider=P)},
            {Who(email="bob@acme.com", provider=P)},
            id="id-never-seen-address-signed-in",
        ),
        pytest.param(
            Subject("00ubob", email="bob@acme.com"),
            Found(by_address=True),
            {Who(idp_subject="00ubob", provider=P)},
            {Who(email="bob@acme.com", provider=P)},
            id="nobody-signed-in",
        ),
        pytest.param(
            Subject(email="bob@acme.com"),
            Found((BOB,), by_address=True),
            {Who(user=BOB.user, provider=P)},
            {Who(email="bob@acme.com", provider=P)},
            id="address-only-signed-in",
        ),
        pytest.param(
            Subject(email="bob@acme.com"),
            Found(by_address=True),
            {Who(email="bob@acme.com", provider=P)},
            set(),
            id="address-only-nobody",
        ),
        pytest.param(
            Subject(oid="o-1"), Found(), {Who(oid="o-1", provider=P)}, set(), id="object-id"
        ),
    ],
)
def test_a_block_binds_ids_and_an_address_only_where_nothing_else_is_known(
    subject: Subject, found: Found, block: set[Who], only_now: set[Who]
) -> None:
    planned = plan(
        event(Effect.BLOCK, subject=subject),
        target=TARGET,
        kept=None,
        received_at=20.0,
        found=found,
    )
    assert asked(planned.revoke) == {(w, "block", None) for w in block} | {
        (w, "end_sessions", None) for w in only_now
    }
    assert planned.kept is not None
    assert {r.who for r in planned.kept.imposed} == block
    back = plan(
        event(Effect.LIFT, subject=subject, at=11.0),
        target=TARGET,
        kept=planned.kept,
        received_at=20.0,
        found=found,
    )
    assert {r.who for r in back.lift} == block
    assert back.kept is not None
    assert back.kept.imposed == ()


OKTA_OLD, OKTA_NEW, OID_OLD, OID_NEW = (
    f"00u{'a' * 17}",
    f"00u{'b' * 17}",
    f"{'a' * 8}-aaaa-aaaa-aaaa-{'a' * 12}",
    f"{'b' * 8}-bbbb-bbbb-bbbb-{'b' * 12}",
)


@pytest.mark.parametrize(
    ("subject", "person", "another"),
    [
        pytest.param(
            Subject(OKTA_OLD, email="x@acme.com"),
            Person("u", "x@acme.com", OKTA_NEW),
            True,
            id="okta-other-id",
        ),
        pytest.param(
            Subject(OKTA_OLD, email="x@acme.com"),
            Person("u", "x@acme.com", OKTA_OLD),
            False,
            id="okta-same-id",
        ),
        pytest.param(
            Subject(OKTA_OLD, email="x@acme.com"),
            Person("u", "x@acme.com", "x@acme.com"),
            False,
            id="saml-name-id-cannot-be-compared",
        ),
        pytest.param(
            Subject(OKTA_OLD, email="x@acme.com"), Person("u", "x@acme.com"), False, id="id-unknown"
        ),
        pytest.param(
            Subject(oid=OID_OLD, email="x@acme.com"),
            Person("u", "x@acme.com", "pairwise", OID_NEW.upper()),
            True,
            id="entra-other-oid",
        ),
        pytest.param(
            Subject(oid=OID_OLD, email="x@acme.com"),
            Person("u", "x@acme.com", "pairwise", OID_OLD.upper()),
            False,
            id="entra-same-oid",
        ),
        pytest.param(
            Subject(oid=OID_OLD, email="x@acme.com"),
            Person("u", "x@acme.com", "pairwise"),
            False,
            id="entra-oid-unknown",
        ),
        pytest.param(
            Subject.of_record(
                "r", [("idp_subject", OKTA_OLD), ("oid", OKTA_OLD), ("email", "x@acme.com")]
            ),
            Person("u", "x@acme.com", OKTA_NEW),
            True,
            id="scim-okta",
        ),
        pytest.param(
            Subject.of_record("r", [("oid", OID_OLD), ("email", "x@acme.com")]),
            Person("u", "x@acme.com", "pairwise", OID_NEW),
            False,
            id="scim-external-id-of-any-meaning",
        ),
        pytest.param(
            Subject(email="x@acme.com"),
            Person("u", "x@acme.com", OKTA_NEW),
            False,
            id="address-only",
        ),
    ],
)
def test_a_known_different_id_of_one_form_is_another_person(
    subject: Subject, person: Person, another: bool
) -> None:
    assert is_another(subject, person) is another


def test_what_an_address_of_another_person_keeps_out_of() -> None:
    okta = _asked_of(Subject(OKTA_OLD, email="x@acme.com"))
    assert okta == {(Who(idp_subject=OKTA_OLD, provider=P), "block", None)}
    record = _asked_of(
        Subject.of_record(
            "r", [("idp_subject", OKTA_OLD), ("email", "x@acme.com"), ("email", "y@acme.com")]
        )
    )
    assert record == {
        (Who(idp_subject=OKTA_OLD, provider=P), "block", None),
        (Who(email="y@acme.com", provider=P), "block", None),
    }


def _asked_of(subject: Subject) -> set[tuple[Who, str, str | None]]:
    found = Found(by_address=True, others=frozenset({"x@acme.com"}))
    return asked(
        plan(
            event(Effect.BLOCK, subject=subject),
            target=TARGET,
            kept=None,
            received_at=20.0,
            found=found,
        ).revoke
    )


def test_a_group_counts_by_name_or_id_and_is_remembered_even_where_it_does_not() -> None:
    by_name = plan(
        event(Effect.GROUP_REMOVED, group=SALES),
        target=TARGET,
        kept=None,
        received_at=20.0,
        found=Found((BOB,)),
    )
    assert asked(by_name.revoke) == {
        (Who(idp_subject="00ubob", provider=P), "end_sessions", "Sales")
    }
    by_id = plan(
        event(Effect.GROUP_REMOVED, group=Group("00gID", "x")),
        target=TARGET,
        kept=None,
        received_at=20.0,
        found=Found((BOB,)),
    )
    assert asked(by_id.revoke) == {(Who(idp_subject="00ubob", provider=P), "end_sessions", "00gID")}
    unused = plan(
        event(Effect.GROUP_REMOVED, group=Group("00g2", "Canteen")),
        target=TARGET,
        kept=None,
        received_at=20.0,
        found=Found((BOB,)),
    )
    assert unused.revoke == ()
    assert unused.kept is not None
    wider = replace(TARGET, groups_used=frozenset({"Canteen"}))
    again = overdue(unused.kept, target=wider)
    assert again is not None
    assert (again.event_time, again.id) == (10.0, None)
    late = plan(again, target=wider, kept=unused.kept, received_at=99.0, found=Found((BOB,)))
    assert asked(late.revoke) == {
        (Who(idp_subject="00ubob", provider=P), "end_sessions", "Canteen")
    }
    assert late.kept is not None
    assert late.kept.state == unused.kept.state
    assert overdue(late.kept, target=wider) is None


def test_a_group_counts_by_every_name_that_it_had() -> None:
    renamed = plan(
        event(Effect.GROUP_REMOVED, group=Group("00g1", "Former", ("Sales",))),
        target=TARGET,
        kept=None,
        received_at=20.0,
        found=Found((BOB,)),
    )
    assert asked(renamed.revoke) == {
        (Who(idp_subject="00ubob", provider=P), "end_sessions", "Sales")
    }


def test_a_deleted_group_is_taken_from_everybody() -> None:
    planned = plan(
        event(Effect.GROUP_DELETED, subject=None, group=SALES),
        target=TARGET,
        kept=None,
        received_at=20.0,
        found=Found(),
    )
    assert asked(planned.revoke) == {(Who(group="Sales", provider=P), "end_sessions", "Sales")}
    assert planned.notice is not None
    assert (planned.notice.type, planned.notice.group, planned.notice.people) == (
        "group.removed",
        SALES,
        (),
    )
    again = plan(
        event(Effect.GROUP_DELETED, subject=None, group=SALES, at=15.0),
        target=TARGET,
        kept=planned.kept,
        received_at=20.0,
        found=Found(),
    )
    assert again.notice is None, "told once"
    back = plan(
        event(Effect.GROUP_ADDED, subject=None, group=SALES, at=16.0),
        target=TARGET,
        kept=again.kept,
        received_at=20.0,
        found=Found(),
    )
    assert back.notice is not None
    assert back.notice.type == "group.restored"


def test_an_application_that_is_not_ours_does_not_matter() -> None:
    removed = event(Effect.APP_REMOVED, group=Group("0oaOTHER", "Other"))
    assert plan(removed, target=TARGET, kept=None, received_at=20.0, found=Found()).revoke == ()
    ours = plan(
        replace(removed, group=Group("0oa1")),
        target=TARGET,
        kept=None,
        received_at=20.0,
        found=Found((BOB,)),
    )
    assert asked(ours.revoke) == {(Who(idp_subject="00ubob", provider=P), "end_sessions", None)}
    assert ours.kept is None


REFUSED = Kept(AccountState(refused=True, at=5.0), event(Effect.BLOCK, at=5.0))
OUT = Kept(AccountState(refused=True, at=5.0), event(Effect.GROUP_REMOVED, group=SALES, at=5.0))


@pytest.mark.parametrize(
    ("what", "kept", "around", "told"),
    [
        pytest.param(event(Effect.BLOCK), None, Around(), "user.deprovisioned", id="blocked"),
        pytest.param(event(Effect.BLOCK), REFUSED, Around(blocked=True), None, id="blocked-again"),
        pytest.param(event(Effect.LIFT), REFUSED, Around(blocked=True), "user.restored", id="back"),
        pytest.param(
            event(Effect.LIFT),
            REFUSED,
            Around(blocked=True, lost=frozenset({"Sales"})),
            None,
            id="back-but-out-of-the-group",
        ),
        pytest.param(
            event(Effect.GROUP_REMOVED, group=SALES),
            None,
            Around(),
            "user.deprovisioned",
            id="out-of-the-only-group",
        ),
        pytest.param(
            event(Effect.GROUP_REMOVED, group=SALES),
            None,
            Around(blocked=True),
            "user.group_removed",
            id="out-of-the-group-while-blocked",
        ),
        pytest.param(
            event(Effect.GROUP_REMOVED, group=Group("00gID")),
            None,
            Around(),
            "user.group_removed",
            id="a-group-of-a-rule",
        ),
        pytest.param(
            event(Effect.GROUP_ADDED, group=SALES),
            OUT,
            Around(lost=frozenset({"Sales"})),
            "user.restored",
            id="back-in-the-group",
        ),
        pytest.param(
            event(Effect.GROUP_ADDED, group=SALES),
            OUT,
            Around(blocked=True, lost=frozenset({"Sales"})),
            "user.group_added",
            id="back-in-the-group-while-blocked",
        ),
        pytest.param(event(Effect.END_SESSIONS), None, Around(), None, id="sessions-ended"),
        pytest.param(
            event(Effect.BLOCK, at=1.0),
            Kept(AccountState(refused=False, at=5.0), event(Effect.LIFT, at=5.0)),
            Around(),
            None,
            id="late-deactivation",
        ),
    ],
)
def test_the_app_hears_of_access_as_a_whole(
    what: HookEvent, kept: Kept | None, around: Around, told: str | None
) -> None:
    notice = plan(
        what, target=TARGET, kept=kept, received_at=20.0, found=Found((BOB,)), around=around
    ).notice
    assert (notice.type if notice else None) == told


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"Sales"}, "user.deprovisioned"),
        (set(), "user.group_removed"),
        (None, "user.group_removed"),
    ],
    ids=["the provider's only group", "a provider without any", "no group of the provider"],
)
def test_a_group_that_only_the_provider_asks_for_is_access_too(
    own: set[str] | None, told: str
) -> None:
    target = replace(
        TARGET, allowed_groups=None, provider_groups=None if own is None else frozenset(own)
    )
    removed = event(Effect.GROUP_REMOVED, group=SALES)
    notice = plan(removed, target=target, kept=None, received_at=20.0, found=Found((BOB,))).notice
    assert (notice.type if notice else None) == told


def test_late_deactivation_still_ends_sessions() -> None:
    kept = Kept(AccountState(refused=False, at=15.0), event(Effect.LIFT, at=15.0))
    planned = plan(
        event(Effect.BLOCK), target=TARGET, kept=kept, received_at=20.0, found=Found((BOB,))
    )
    assert asked(planned.revoke) == {(Who(idp_subject="00ubob", provider=P), "end_sessions", None)}
    assert planned.kept is not None
    assert not planned.kept.state.refused


def test_events_and_standings_survive_storage() -> None:
    one = event(Effect.GROUP_REMOVED, group=SALES)
    assert load_event(dump_event(one)) == (one, "")
    assert load_event(dump_event(one, trace="00-aa")) == (one, "00-aa")
    kept = Kept(
        AccountState(refused=True, at=1.0),
        one,
        (RevocationRequest("acme", Who(idp_subject="x"), RevocationKind.BLOCK, "t", "okta"),),
    )
    assert load_kept(dump_kept(kept), kept.state) == kept


def test_only_an_addition_that_is_the_newest_word_of_a_provider_exempts_from_a_deletion_and_by_ids_only() -> (  # noqa: E501 - a test's name is a sentence
    None
):
    added = event(Effect.GROUP_ADDED, group=SALES)

    def exempt(one: HookEvent, kept: Kept | None = None) -> set[tuple[Who, str, str | None]]:
        return asked(plan(one, target=TARGET, kept=kept, received_at=20.0, found=Found()).exempt)

    assert exempt(added) == {(Who(idp_subject="00ubob", provider=P), "end_sessions", "Sales")}
    assert exempt(added, Kept(AccountState(refused=True, at=5.0), added)) == exempt(added)
    for nothing in (
        replace(added, type=BY_HAND),
        replace(added, event_time=None),
        replace(added, subject=Subject(email="bob@acme.com")),
        replace(added, subject=None),
        replace(added, source=Source.SCIM, subject=Subject("00ubob", record="r-1")),
        replace(added, group=Group(name="Sales")),
        event(Effect.GROUP_REMOVED, group=SALES),
    ):
        assert exempt(nothing) == set(), nothing
    assert exempt(added, Kept(AccountState(refused=True, at=15.0), added)) == set(), (
        "older than what is known"
    )
