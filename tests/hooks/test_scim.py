from __future__ import annotations

from typing import Any

import pytest

from gateway.core.model import ProviderKind
from gateway.hooks import scim, scim_patch, scim_store
from gateway.hooks.event import Effect, Group, Subject
from gateway.hooks.scim_patch import ScimError
from tests.hooks.samples import NOW, load

BOB: dict[str, Any] = {"userName": "bob@acme.com", "externalId": "00ubob", "active": True}
SUBJECT = Subject(idp_subject="00ubob", email="bob@acme.com")


@pytest.mark.parametrize("case", load("scim_patches.json"), ids=lambda c: c["name"])
def test_active_false_in_all_its_spellings(case: dict[str, Any]) -> None:
    after = scim.user_document(scim_patch.apply(BOB, case["body"]))
    events = scim.user_events(BOB, after, kind=ProviderKind.OKTA, now=NOW)
    assert [(e.effect, e.subject) for e in events] == ([(Effect.BLOCK, SUBJECT)] if case["inactive"] else [])


def test_activation_gives_back_and_deletion_refuses() -> None:
    inactive = {**BOB, "active": False}
    assert [e.effect for e in scim.user_events(inactive, BOB, kind=ProviderKind.OKTA, now=NOW)] == [Effect.LIFT]
    assert [e.effect for e in scim.user_events(BOB, None, kind=ProviderKind.OKTA, now=NOW)] == [Effect.BLOCK]
    assert [e.effect for e in scim.user_events(None, BOB, kind=ProviderKind.OKTA, now=NOW)] == [Effect.LIFT]
    assert [e.effect for e in scim.user_events(inactive, inactive, kind=ProviderKind.OKTA, now=NOW, inactive_said=True)] == [Effect.BLOCK]


def test_another_login_ends_what_was_open_under_the_old_one() -> None:
    before = {"userName": "old@acme.com", "active": True}
    [event] = scim.user_events(before, {"userName": "new@acme.com", "active": True}, kind=ProviderKind.OIDC, now=NOW)
    assert (event.effect, event.subject) == (Effect.END_SESSIONS, Subject(email="old@acme.com"))


@pytest.mark.parametrize("value", ["no", 2, None, {}, [], [[False]], {"value": {"value": False}}])
def test_an_active_that_cannot_be_understood_is_refused(value: Any) -> None:
    with pytest.raises(ScimError):
        scim.user_document({**BOB, "active": value})


def test_for_entra_an_external_id_counts_only_as_object_id() -> None:
    oid = "b6f0c1f0-0f6e-4d7a-8d50-2f0e1d6a7b11"
    assert scim.subject({**BOB, "externalId": oid}, ProviderKind.ENTRA) == Subject(oid=oid, email="bob@acme.com")
    assert scim.subject(BOB, ProviderKind.ENTRA) == Subject(email="bob@acme.com")


def test_primary_email_stands_in_for_a_login_that_is_no_address() -> None:
    document = {"userName": "bob", "emails": [{"value": "b@x.com"}, {"value": "bob@acme.com", "primary": True}]}
    assert scim.subject(document, ProviderKind.OIDC).email == "bob@acme.com"


GROUP: dict[str, Any] = {"displayName": "app-users", "externalId": "g-1", "members": [{"value": "1"}, {"value": "2"}]}
PEOPLE = {"1": SUBJECT, "2": Subject(email="eve@acme.com"), "3": Subject(email="new@acme.com")}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "Remove", "path": "members", "value": [{"value": "1"}]},
        {"op": "remove", "path": 'members[value eq "1"]'},
        {"op": "replace", "path": "members", "value": [{"value": "2"}]},
        {"op": "replace", "value": {"members": [{"value": "2", "display": "Eve"}]}},
        {"op": "remove", "path": 'urn:ietf:params:scim:schemas:core:2.0:Group:members[value eq "1"]'},
    ],
)
def test_member_removed_in_every_form(operation: dict[str, Any]) -> None:
    after = scim.group_document(scim_patch.apply(GROUP, {"Operations": [operation]}))
    [event] = scim.group_events("sg", GROUP, after, people=PEOPLE, now=NOW)
    assert (event.effect, event.subject, event.group) == (Effect.GROUP_REMOVED, SUBJECT, Group("g-1", "app-users"))


def test_member_added_and_group_deleted() -> None:
    after = scim.group_document(scim_patch.apply(GROUP, {"Operations": [{"op": "Add", "path": "members", "value": [{"value": "3"}]}]}))
    assert [(e.effect, e.subject) for e in scim.group_events("sg", GROUP, after, people=PEOPLE, now=NOW)] == [(Effect.GROUP_ADDED, PEOPLE["3"])]
    assert [e.effect for e in scim.group_events("sg", GROUP, None, people=PEOPLE, now=NOW)] == [Effect.GROUP_REMOVED] * 2


def test_a_member_named_in_a_removal_is_refused_even_if_never_listed() -> None:
    [event] = scim.group_events("sg", GROUP, GROUP, people=PEOPLE, now=NOW, said_removed=["3"])
    assert (event.effect, event.subject) == (Effect.GROUP_REMOVED, PEOPLE["3"])


@pytest.mark.parametrize(
    ("operation", "removed"),
    [
        ({"op": "Remove", "path": "members", "value": [{"value": "3"}]}, {"3"}),
        ({"op": "remove", "path": 'members[value eq "2819c223-7f76-453a-919d-413861904646"]'}, {"2819c223-7f76-453a-919d-413861904646"}),  # RFC 7644 §3.5.2.2
        ({"op": "remove", "path": 'urn:ietf:params:scim:schemas:core:2.0:Group:members[ value EQ "3" ]'}, {"3"}),
        ({"op": "remove", "path": "members"}, set()),
        ({"op": "add", "path": 'members[value eq "3"]'}, set()),
        ({"op": "remove", "path": 'emails[value eq "3"]'}, set()),
    ],
)
def test_whom_a_removal_names_is_read_in_both_forms(operation: dict[str, Any], removed: set[str]) -> None:
    assert scim_store._said_removed({"Operations": [operation]}) == removed


@pytest.mark.parametrize(
    "body",
    [{}, {"Operations": []}, {"Operations": {}}, {"Operations": ["x"]}, {"Operations": [{"op": "move", "path": "active"}]}, {"Operations": [{"op": "remove"}]},
     {"Operations": [{"op": "replace", "path": "a b", "value": 1}]}, {"Operations": [{"op": "replace", "path": 7, "value": 1}]},
     {"Operations": [{"op": "remove", "path": 'members[value co "1"]'}]}, {"Operations": [{"op": "replace", "value": "active"}]}],
)  # fmt: skip
def test_a_patch_that_is_not_understood_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ScimError):
        scim_patch.apply(BOB, body)


def test_patch_leaves_the_original_alone() -> None:
    scim_patch.apply(GROUP, {"Operations": [{"op": "remove", "path": "members"}]})
    assert len(GROUP["members"]) == 2
