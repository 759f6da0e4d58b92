from __future__ import annotations

import pytest

from gateway.hooks.event import DeliveryRejectedError, Effect, Group, SkipReason, Subject
from gateway.hooks.sources import okta
from tests.hooks.samples import load, okta_delivery, okta_event, raw

LUCA = Subject(idp_subject="00ufh433fil4JtjEw4x7", email="luca@acme.com")
SALES = Group("00g3vcxkvkIPY52jL4x7", "Sales")


def test_recorded_group_removal_names_person_group_time_and_id() -> None:
    delivery = okta.parse_delivery(raw(load("okta_group_remove.json")))
    [event] = delivery.events
    assert delivery.id == "85b60edb-4c9c-4b3e-9f0f-2a1f3f8f1f11"
    assert (event.effect, event.subject, event.group, event.event_time, event.id) == (
        Effect.GROUP_REMOVED,
        LUCA,
        SALES,
        1_767_225_600.0,
        "f1d0b993-7f1a-11f0-8d3a-0b5f2f6c1a2b",
    )


@pytest.mark.parametrize(("kind", "effect"), sorted(okta.EFFECTS.items()))
def test_every_listed_event_type_has_its_effect(kind: str, effect: Effect) -> None:
    entry = okta_event(kind, group=SALES.id)
    if effect is Effect.APP_REMOVED:
        entry["target"][1]["type"] = "AppInstance"
    [event] = okta.parse_delivery(raw(okta_delivery(entry))).events
    assert event.effect is effect
    assert event.subject == (
        None if effect in {Effect.GROUP_DELETED, Effect.GROUP_RENAMED} else LUCA
    )


@pytest.mark.parametrize(
    ("details", "former"),
    [
        (
            {"from": {"profile": {"name": "Sales"}}, "to": {"profile": {"name": "former"}}},
            ("Sales",),
        ),
        ({"from": {"name": "Sales"}}, ("Sales",)),
        ({"from": {"displayName": "Sales"}}, ("Sales",)),
        ({"from": {"name": 1}}, ()),
        ({"from": {"name": "a\x00"}}, ()),
        ({"from": "Sales"}, ()),
        ([], ()),
        (None, ()),
    ],
)
def test_the_name_before_is_read_where_okta_says_it_and_refuses_nothing_where_it_does_not(
    details: object, former: tuple[str, ...]
) -> None:
    entry = okta_event("group.profile.update", group=SALES.id)
    entry["target"][1]["changeDetails"] = details
    [event] = okta.parse_delivery(raw(okta_delivery(entry))).events
    assert event.group == Group(SALES.id, SALES.name, former)


def test_signing_oneself_out_names_the_actor() -> None:
    entry = okta_event("user.session.end", target=None)
    entry["actor"]["id"] = LUCA.idp_subject
    [event] = okta.parse_delivery(raw(okta_delivery(entry))).events
    assert event.subject is not None
    assert event.subject.idp_subject == LUCA.idp_subject


def test_an_event_that_did_not_succeed_has_no_effect() -> None:
    delivery = okta.parse_delivery(
        raw(okta_delivery(okta_event("user.lifecycle.deactivate", outcome={"result": "FAILURE"})))
    )
    assert delivery.events == ()
    assert [s.reason for s in delivery.skipped] == [SkipReason.NOT_SUCCESSFUL]


def test_one_malformed_of_a_hundred_is_shown_and_the_others_count() -> None:
    entries: list[object] = [okta_event("user.lifecycle.suspend", uuid=f"u-{n}") for n in range(99)]
    entries.insert(41, {"eventType": "user.lifecycle.suspend", "outcome": {"result": "SUCCESS"}})
    delivery = okta.parse_delivery(raw(okta_delivery(*entries)))
    assert len(delivery.events) == 99
    assert [(s.index, s.reason) for s in delivery.skipped] == [(41, SkipReason.MALFORMED)]


def test_an_unknown_type_is_skipped_not_refused() -> None:
    [skipped] = okta.parse_delivery(
        raw(okta_delivery(okta_event("user.mfa.factor.update")))
    ).skipped
    assert (skipped.type, skipped.reason) == ("user.mfa.factor.update", SkipReason.UNKNOWN_TYPE)


def test_several_people_in_one_refusal_are_each_refused_and_giving_back_to_several_is_malformed() -> (  # noqa: E501 - a test's name is a sentence
    None
):
    both = okta_event("user.lifecycle.deactivate")
    both["target"].append({"id": "00uOTHER", "type": "User", "alternateId": "x@acme.com"})
    assert [
        (e.subject and e.subject.idp_subject, e.id)
        for e in okta.parse_delivery(raw(okta_delivery(both))).events
    ] == [(LUCA.idp_subject, "u-1"), ("00uOTHER", "u-1#1")]
    both["eventType"] = "user.lifecycle.reactivate"
    assert [s.reason for s in okta.parse_delivery(raw(okta_delivery(both))).skipped] == [
        SkipReason.MALFORMED
    ]


def test_a_login_that_is_no_address_gives_no_email() -> None:
    entry = okta_event("user.lifecycle.suspend")
    entry["target"][0]["alternateId"] = "ACME\\luca"
    [event] = okta.parse_delivery(raw(okta_delivery(entry))).events
    assert event.subject == Subject(idp_subject=LUCA.idp_subject)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"eventType":"other"}',
        b'{"eventType":"com.okta.event_hook"}',
        b'{"eventType":"com.okta.event_hook","eventId":"e","data":{"events":{}}}',
        b'{"eventType":"com.okta.event_hook","eventId":"e\\u0000","data":{"events":[]}}',
        b"\xff\xfe",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b"[" * 5000,
    ],
)
def test_what_is_no_delivery_is_refused(body: bytes) -> None:
    with pytest.raises(DeliveryRejectedError):
        okta.parse_delivery(body)


@pytest.mark.parametrize("challenge", ["", "a\r\nb", "é", "x" * 513])
def test_verification_echoes_tokens_only(challenge: str) -> None:
    assert okta.verification("8BqL-xyz") == {"verification": "8BqL-xyz"}
    with pytest.raises(DeliveryRejectedError):
        okta.verification(challenge)
