from __future__ import annotations

from typing import Any

import pytest

from gateway.hooks.event import Effect, Group, Subject
from gateway.hooks.scim import filter as scim_filter
from gateway.hooks.scim import patch, resources
from gateway.hooks.scim.filter import Budget, ScimError
from tests.hooks.samples import NOW, load

R = "11111111-1111-4111-8111-111111111111"
OID = "b6f0c1f0-0f6e-4d7a-8d50-2f0e1d6a7b11"
BOB: dict[str, Any] = {"userName": "bob@acme.com", "externalId": "00ubob", "active": True}
SUBJECT = resources.subject(BOB, R)


def patched(document: dict[str, Any], *operations: object) -> dict[str, Any]:
    return patch.parse_patch({"Operations": list(operations)}).apply(document)


def effects(
    before: dict[str, Any] | None, after: dict[str, Any] | None, *, said: bool = False
) -> list[Effect]:
    return [e.effect for e in resources.user_events(R, before, after, now=NOW, inactive_said=said)]


@pytest.mark.parametrize("case", load("scim_patches.json"), ids=lambda c: c["name"])
def test_active_false_in_all_its_spellings(case: dict[str, Any]) -> None:
    after = resources.user_document(patch.parse_patch(case["body"]).apply(BOB))
    events = resources.user_events(R, BOB, after, now=NOW)
    assert [(e.effect, e.subject) for e in events if e.effect is not Effect.RENAMED] == (
        [(Effect.BLOCK, SUBJECT)] if case["inactive"] else []
    )


def test_activation_gives_back_and_deletion_refuses() -> None:
    inactive = {**BOB, "active": False}
    assert effects(inactive, BOB) == [Effect.LIFT]
    assert effects(BOB, None) == [Effect.RENAMED, Effect.BLOCK]
    assert effects(None, BOB) == []
    assert effects(None, inactive) == [Effect.BLOCK]
    assert effects(inactive, inactive, said=True) == [Effect.BLOCK]
    assert [e.effect for e in resources.succession_events(R, BOB, now=NOW)] == [
        Effect.RENAMED,
        Effect.LIFT,
    ]
    assert [e.effect for e in resources.succession_events(R, inactive, now=NOW)] == [
        Effect.RENAMED,
        Effect.BLOCK,
    ]


def test_another_login_ends_what_was_open_under_the_old_one() -> None:
    before = {"userName": "old@acme.com", "active": True}
    follows, ends = resources.user_events(
        R, before, {"userName": "new@acme.com", "active": True}, now=NOW
    )
    assert (follows.effect, follows.subject) == (
        Effect.RENAMED,
        resources.subject({"userName": "new@acme.com"}, R),
    )
    assert (ends.effect, ends.subject) == (
        Effect.END_SESSIONS,
        resources.subject({"userName": "old@acme.com"}, R),
    )


@pytest.mark.parametrize("value", ["no", 2, None, {}, [], [[False]], {"value": {"value": False}}])
def test_an_active_that_cannot_be_understood_is_refused(value: Any) -> None:
    with pytest.raises(ScimError):
        resources.user_document({**BOB, "active": value})


@pytest.mark.parametrize(
    ("document", "names"),
    [
        pytest.param(
            BOB,
            {("idp_subject", "00ubob"), ("idp_subject", "bob@acme.com"), ("email", "bob@acme.com")},
            id="okta",
        ),
        pytest.param(
            {
                "userName": "Carol@globex.onmicrosoft.com",
                "externalId": "carol",
                "emails": [{"type": "work", "value": "Carol@Globex.test"}],
            },
            {
                ("idp_subject", "carol"),
                ("idp_subject", "Carol@globex.onmicrosoft.com"),
                ("email", "carol@globex.onmicrosoft.com"),
                ("email", "carol@globex.test"),
            },
            id="microsofts-default-mapping",
        ),
        pytest.param(
            {"userName": "carol@globex.test", "externalId": OID.upper()},
            {
                ("idp_subject", OID),
                ("oid", OID),
                ("idp_subject", "carol@globex.test"),
                ("email", "carol@globex.test"),
            },
            id="object-id-in-upper-case",
        ),
        pytest.param(
            {"userName": "bob", "emails": ["b@x.com", {"value": "bob@acme.com", "primary": True}]},
            {("idp_subject", "bob"), ("email", "bob@acme.com"), ("email", "b@x.com")},
            id="no-address-as-login",
        ),
        pytest.param(
            {"userName": "bob", "emails": {"value": "x@bücher.test"}},
            {("idp_subject", "bob"), ("email", "x@xn--bcher-kva.test")},
            id="one-address-no-list",
        ),
        pytest.param(
            {"userName": "bob", "externalId": "bob@acme.com"},
            {("idp_subject", "bob"), ("idp_subject", "bob@acme.com"), ("email", "bob@acme.com")},
            id="address-as-external-id",
        ),
        pytest.param(
            {"userName": "bob", "emails": [7, None, {"value": 7}, [], {"type": "work"}]},
            {("idp_subject", "bob")},
            id="nonsense",
        ),
    ],
)
def test_every_name_that_a_document_asserts_is_the_persons(
    document: dict[str, Any], names: set[tuple[str, str]]
) -> None:
    assert set(resources.subject(document, R).names) == names


def test_primary_email_stands_in_for_a_login_that_is_no_address() -> None:
    document = {
        "userName": "bob",
        "emails": [{"value": "b@x.com"}, {"value": "bob@acme.com", "primary": True}],
    }
    assert resources.subject(document, R).email == "bob@acme.com"


def test_what_a_put_omits_of_what_decides_about_access_is_unchanged() -> None:
    stored = resources.user_document(
        {**BOB, "active": False, "emails": [{"value": "b@acme.com"}], "title": "x"}
    )
    after = resources.user_document(
        resources.replaced("User", {"USERNAME": "bob@acme.com"}, stored), stored
    )
    assert after == {
        "userName": "bob@acme.com",
        "externalId": "00ubob",
        "active": False,
        "emails": [{"value": "b@acme.com"}],
    }
    cleared = resources.user_document(
        resources.replaced(
            "User",
            {"userName": "bob@acme.com", "Emails": [], "externalID": None, "ACTIVE": True},
            stored,
        ),
        stored,
    )
    assert cleared == {"userName": "bob@acme.com", "active": True, "emails": []}
    group = resources.group_document(GROUP)
    assert (
        resources.group_document(resources.replaced("Group", {"displayName": "app-users"}, group))
        == group
    )
    for body in (
        {"displayName": "app-users", "members": []},
        {"displayName": "app-users", "members": None},
    ):
        assert resources.group_document(resources.replaced("Group", body, group))["members"] == []


@pytest.mark.parametrize("value", [..., None, False, True, []])
def test_active_is_not_given_back_by_being_removed(value: Any) -> None:
    inactive = {**BOB, "active": False}
    operation = (
        {"op": "remove", "path": "active"}
        if value is ...
        else {"op": "Remove", "path": "Active", "value": value}
    )
    assert resources.user_document(patched(inactive, operation), inactive)["active"] is False


GROUP: dict[str, Any] = {
    "displayName": "app-users",
    "externalId": "g-1",
    "members": [{"value": "1"}, {"value": "2"}],
}


def told(
    before: dict[str, Any] | None, after: dict[str, Any] | None, *, removed: tuple[str, ...] = ()
) -> set[tuple[str, Group | None, tuple[str, ...]]]:
    return {
        (e.effect.value.removeprefix("members_"), e.group, e.members)
        for e in resources.group_events("sg", before, after, now=NOW, said_removed=removed)
    }


BY_ID, BY_NAME = (
    Group("g-1", "app-users", spelling="g-1"),
    Group("g-1", "app-users", spelling="app-users"),
)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "Remove", "path": "members", "value": [{"value": "1"}]},
        {"op": "remove", "path": "members", "value": {"value": "1"}},
        {"op": "remove", "path": 'members[value eq "1"]'},
        {"op": "replace", "path": "members", "value": [{"value": "2"}]},
        {"op": "replace", "value": {"members": [{"value": "2", "display": "Eve"}]}},
        {
            "op": "remove",
            "path": 'urn:ietf:params:scim:schemas:core:2.0:Group:members[value eq "1"]',
        },
    ],
)
def test_member_removed_in_every_form(operation: dict[str, Any]) -> None:
    after = resources.group_document(patched(GROUP, operation))
    assert told(GROUP, after) == {("removed", BY_ID, ("1",)), ("removed", BY_NAME, ("1",))}


def test_removing_an_empty_list_removes_nobody_and_removing_the_attribute_everybody() -> None:
    assert resources.group_document(
        patched(GROUP, {"op": "Remove", "path": "members", "value": []})
    ) == resources.group_document(GROUP)
    assert (
        resources.group_document(patched(GROUP, {"op": "remove", "path": "members"}))["members"]
        == []
    )
    assert (
        resources.group_document(patched(GROUP, {"op": "replace", "path": "members", "value": []}))[
            "members"
        ]
        == []
    )


def test_member_added_and_group_deleted() -> None:
    after = resources.group_document(
        patched(GROUP, {"op": "Add", "path": "members", "value": [{"value": "3"}]})
    )
    assert told(GROUP, after) == {("added", BY_ID, ("3",)), ("added", BY_NAME, ("3",))}
    assert told(GROUP, None) == {("removed", BY_ID, ("1", "2")), ("removed", BY_NAME, ("1", "2"))}


def test_a_group_with_another_name_is_lost_under_the_old_one_and_gained_under_the_new_one() -> None:
    former = Group("g-1", "former", spelling="former")
    assert told(GROUP, {**GROUP, "displayName": "former"}) == {
        ("removed", BY_NAME, ("1", "2")),
        ("added", former, ("1", "2")),
    }
    assert told(GROUP, {**GROUP, "displayName": "former", "members": []}) == {
        ("removed", BY_NAME, ("1", "2")),
        ("removed", BY_ID, ("1", "2")),
    }
    assert told(
        GROUP, {**GROUP, "displayName": "former", "members": [{"value": "2"}]}, removed=("9",)
    ) == {
        ("removed", BY_NAME, ("1", "2", "9")),
        ("removed", BY_ID, ("1", "9")),
        ("added", former, ("2",)),
    }
    other = {**GROUP, "externalId": "g-2"}
    assert told(GROUP, other) == {
        ("removed", BY_ID, ("1", "2")),
        ("added", Group("g-2", "app-users", spelling="g-2"), ("1", "2")),
    }


def test_a_member_named_in_a_removal_is_refused_even_if_never_listed() -> None:
    assert told(GROUP, GROUP, removed=("3",)) == {
        ("removed", BY_ID, ("3",)),
        ("removed", BY_NAME, ("3",)),
    }


@pytest.mark.parametrize(
    ("operation", "removed"),
    [
        ({"op": "Remove", "path": "members", "value": [{"value": "3"}]}, {"3"}),
        (
            {"op": "remove", "path": 'members[value eq "2819c223-7f76-453a-919d-413861904646"]'},
            {"2819c223-7f76-453a-919d-413861904646"},
        ),  # RFC 7644 §3.5.2.2
        (
            {
                "op": "remove",
                "path": 'urn:ietf:params:scim:schemas:core:2.0:Group:members[ value EQ "3" ]',
            },
            {"3"},
        ),
        ({"op": "remove", "path": "members"}, set()),
        ({"op": "add", "path": 'members[value eq "3"]'}, set()),
        ({"op": "remove", "path": 'emails[value eq "3"]'}, set()),
    ],
)
def test_whom_a_removal_names_is_read_in_both_forms(
    operation: dict[str, Any], removed: set[str]
) -> None:
    assert patch.parse_patch({"Operations": [operation]}).members_removed == removed


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Operations": []},
        {"Operations": {}},
        {"Operations": ["x"]},
        {"Operations": [{"op": "move", "path": "active"}]},
        {"Operations": [{"op": "remove"}]},
        {"Operations": [{"op": "replace", "path": "a b", "value": 1}]},
        {"Operations": [{"op": "replace", "path": 7, "value": 1}]},
        {"Operations": [{"op": "remove", "path": 'members[value like "1"]'}]},
        {"Operations": [{"op": "replace", "value": "active"}]},
        {"Operations": [{"op": "replace", "path": "a" * 257, "value": 1}]},
        {"Operations": [{"op": "replace", "path": "urn:" + "a:" * 3000 + "active", "value": 1}]},
        {
            "Operations": [
                {"op": "remove", "path": "members[" + " and ".join(["value eq 1"] * 101) + "]"}
            ]
        },
        {"Operations": [{"op": "replace", "value": {f"a{n}": 1 for n in range(257)}}]},
        {"Operations": [{"op": "replace", "path": f"b{n}", "value": 1} for n in range(257)]},
    ],
)
def test_a_patch_that_is_not_understood_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ScimError):
        patch.parse_patch(body).apply(BOB)


@pytest.mark.parametrize(
    ("sent", "attribute", "sub"),
    [
        ("urn:ietf:params:scim:schemas:core:2.0:User:userName", "userName", None),
        ("URN:scim:schemas:core:1.0:name.familyName", "name", "familyName"),
        (
            'urn:ietf:params:scim:schemas:core:2.0:User:emails[type eq "urn:x:y"].value',
            "emails",
            "value",
        ),
        ("active", "active", None),
    ],
)
def test_a_schema_before_a_name_is_taken_off(sent: str, attribute: str, sub: str | None) -> None:
    path = scim_filter.parse_path(sent)
    assert (path.attribute, path.sub) == (attribute, sub)
    wanted = scim_filter.parse_filter(
        'urn:ietf:params:scim:schemas:core:2.0:User:userName eq "a:b c[" and urn:x:id eq "1"'
    )
    assert wanted.equalities == {"username": "a:b c[", "id": "1"}


def test_a_whole_extension_in_a_value_without_path_stays_an_extension() -> None:
    urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    after = patched(
        BOB, {"op": "replace", "value": {urn: {"department": "x"}, f"{urn}:costCenter": "y"}}
    )
    assert after == {**BOB, urn: {"department": "x"}, "costCenter": "y"}


def test_patch_leaves_the_original_alone() -> None:
    document = {**GROUP, "emails": [{"type": "work", "value": "a"}], "name": {"givenName": "a"}}
    patched(
        document,
        {"op": "remove", "path": 'members[value eq "1"]'},
        {"op": "replace", "path": 'emails[type eq "work"].value', "value": "b"},
        {"op": "add", "path": "name.givenName", "value": "b"},
    )
    assert document == {
        **GROUP,
        "emails": [{"type": "work", "value": "a"}],
        "name": {"givenName": "a"},
    }
    assert len(GROUP["members"]) == 2


def test_operations_on_one_list_follow_one_another() -> None:
    after = patched(
        GROUP,
        {"op": "add", "path": "members", "value": [{"value": "3"}, {"value": "1"}]},
        {"op": "remove", "path": 'members[value eq "1"]'},
        {"op": "remove", "path": 'members[value eq "2" and type eq "x"]'},
        {"op": "add", "path": "members", "value": {"value": "4"}},
    )
    assert [m["value"] for m in after["members"]] == ["2", "3", "4"]


@pytest.mark.parametrize(
    "body",
    [
        {"userName": "x", "roles": [{}] * 251},
        {"userName": "x", **{f"a{n}": 1 for n in range(256)}},
        {"userName": "x", "a": [[[[[[[[[1]]]]]]]]]},
        {"userName": "x", "emails": [{"value": f"a{n}@x.com"} for n in range(21)]},
        {"userName": "x", "active": True, "Active": False},
        {"userName": "x" * 1025},
        {"userName": "x", "externalId": "y" * 257},
    ],
)
def test_a_resource_wider_or_deeper_than_any_needs_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ScimError):
        resources.user_document(body)


def test_a_subject_of_a_record_keeps_every_name_once() -> None:
    person = Subject.of_record(
        R, [("email", "A@x.com"), ("idp_subject", "1"), ("email", "b@x.com"), ("email", "a@X.com")]
    )
    assert person.names == (("idp_subject", "1"), ("email", "a@x.com"), ("email", "b@x.com"))
    assert person.key == f"record:{R}"
    assert person.joined(Subject(oid="2")).names == (
        ("idp_subject", "1"),
        ("oid", "2"),
        ("email", "a@x.com"),
        ("email", "b@x.com"),
    )


FILTERED: dict[str, Any] = {
    "id": "Ab-1",
    "externalId": "00uBob",
    "userName": "Bob@acme.com",
    "active": False,
    "age": 7,
    "nickName": "",
    "name": {"familyName": "Straße"},
    "meta": {"created": "2026-11-01T10:00:00.000Z"},
    "emails": [
        {"type": "work", "value": "bob@acme.com"},
        {"Type": "home", "Value": "bob@home.test"},
    ],
    "urn:x:ext:2.0:User": {"department": "Sales"},
    "members": [{"value": "1"}, "2"],
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('userName eq "bob@ACME.com"', True),
        ("USERNAME EQ bob@acme.com", True),
        ('userName ne "eve"', True),
        ('userName ne "bob@acme.com"', False),
        ('title ne "x"', True),
        ('title eq "x"', False),
        ('userName co "@ACME"', True),
        ('userName sw "BOB"', True),
        ('userName ew ".com"', True),
        ('userName ew "bob"', False),
        ('name.familyName eq "STRASSE"', True),
        ("userName pr", True),
        ("title pr", False),
        ("nickName pr", False),
        ("emails pr", True),
        ("title eq null", True),
        ("userName ne null", True),
        ("active eq false", True),
        ("active eq True", False),
        ('externalId eq "00ubob"', False),
        ('externalId eq "00uBob"', True),
        ('externalId sw "00U"', False),
        ('id eq "ab-1"', False),
        ("age gt 6", True),
        ("age ge 8", False),
        ("age eq 7", True),
        ('meta.created gt "2026-11-01T11:00:00+02:00"', True),
        ('meta.created lt "2026-11-01T10:00:00Z"', False),
        ("meta.created ge 2015-10-10T14:38:21.8617979-07:00", True),
        ('userName gt "alice"', True),
        ('emails eq "bob@home.test"', True),
        ('emails.value co "home"', True),
        ('emails.type eq "work" and emails.value eq "bob@home.test"', True),
        ('emails[type eq "work" and value co "home"]', False),
        ('emails[type eq "work"].value eq "BOB@acme.com"', True),
        ('emails[type eq "work"].value eq "bob@home.test"', False),
        ('emails[not (type eq "work")].value sw "bob"', True),
        ('members[value eq "2"]', True),
        ('members eq "1"', True),
        ('title eq "x" or userName sw "b" and active eq true', False),
        ('(title eq "x" or userName sw "b") and active eq false', True),
        ("not (active eq true)", True),
        ("urn:x:ext:2.0:User:department eq sales", True),
        ('urn:ietf:params:scim:schemas:core:2.0:User:userName sw "b"', True),
        ('displayName eq "a]b(c\\" and"', False),
    ],
)
def test_a_filter_holds_as_the_rfc_says(text: str, holds: bool) -> None:
    assert scim_filter.parse_filter(text).holds(FILTERED, Budget(1000)) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "userName",
        "userName eq",
        "userName like b",
        'userName eq "b',
        "eq b",
        'userName eq "b" and',
        'userName eq "b" userName eq "c"',
        "(userName pr",
        "userName pr)",
        "not userName pr",
        "a.b.c pr",
        "active gt true",
        "active co true",
        "title gt null",
        "emails[type eq work",
        "emails[].value eq x",
        "userName eq (b)",
        'userName "eq" b',
        "1a pr",
        "(" * 9 + "a pr" + ")" * 9,
        " or ".join(["a pr"] * 101),
        'userName eq "\\x"',
    ],
)
def test_a_filter_that_is_not_understood_is_said_to_be(text: str) -> None:
    with pytest.raises(ScimError) as caught:
        scim_filter.parse_filter(text)
    assert caught.value.scim_type == "invalidFilter"
