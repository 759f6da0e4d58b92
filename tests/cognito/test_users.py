"""What is done to people in the pool, against the stand-in's control plane: each repeats
harmlessly, and says honestly what it could not know.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

from demo.cognito.control import faults
from demo.cognito.control.errors import ApiError
from gateway.cognito.api import (
    UNANSWERED_ATTEMPTS,
    CognitoRejectedError,
    UnansweredError,
    open_cognito,
)
from gateway.cognito.users import CognitoUsers
from tests.demo.conftest import clock, cloud
from tests.provisioning.bench import READ_S, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from demo.cloud import DemoCloud
    from demo.cognito.pool import User

__all__ = ["clock", "cloud"]
GROUPS = "custom:groups"


@pytest.fixture
async def users(cloud: DemoCloud, tmp_path: Path) -> AsyncIterator[CognitoUsers]:
    cognito = cloud.cognito
    config = config_for(
        tmp_path,
        endpoint_url=cognito.endpoint_url,
        domain=cognito.url,
        issuer=cognito.issuer,
        pool_id=cognito.pool.pool_id,
    )
    async with open_cognito(config, read_s=READ_S, per_second=1000.0) as api:
        yield CognitoUsers(api)


WRITES: dict[str, Callable[[CognitoUsers, str], Awaitable[bool]]] = {
    "AdminUserGlobalSignOut": lambda users, who: users.sign_out(who),
    "AdminDisableUser": lambda users, who: users.disable(who),
    "AdminEnableUser": lambda users, who: users.enable(who),
    "AdminUpdateUserAttributes": lambda users, who: users.remove_group(
        who, "admins", url_decode_groups=True
    ),
}
"""Operation of Cognito → the method that ends in it. One started cloud serves a row of the table
for all of them.
"""


@dataclass(frozen=True, slots=True)
class Write:
    """One of them, and somebody in the pool to whom only this is done."""

    operation: str
    perform: Callable[[], Awaitable[bool]]
    user: User


@pytest.fixture
def writes(users: CognitoUsers, cloud: DemoCloud) -> list[Write]:
    made = []
    for operation, perform in WRITES.items():
        user = cloud.cognito.pool.add_user(
            f"acme-okta_{operation}",
            password="",
            email="a@acme.test",
            **{GROUPS: "[R%26D, admins]"},
        )
        made.append(Write(operation, partial(perform, users, user.username), user))
    return made


def has_happened(write: Write) -> bool:
    """Its effect, and no other."""
    groups = "[R%26D]" if write.operation == "AdminUpdateUserAttributes" else "[R%26D, admins]"
    return (write.user.enabled, write.user.attributes[GROUPS]) == (
        write.operation != "AdminDisableUser",
        groups,
    )


async def test_it_is_done_and_done_again_does_no_harm(writes: list[Write]) -> None:
    for write in writes:
        for _ in range(2):
            assert await write.perform(), write.operation
            assert has_happened(write), write.operation


async def test_who_is_disabled_is_still_found(users: CognitoUsers, writes: list[Write]) -> None:
    for write in writes:
        await users.disable(write.user.username)
        assert await write.perform(), write.operation
        assert write.user.enabled is (write.operation == "AdminEnableUser")


async def test_who_is_not_there_needs_nothing_done(users: CognitoUsers) -> None:
    for operation, perform in WRITES.items():
        assert await perform(users, "acme-okta_nobody") is False, operation


async def test_throttled_it_waits_and_is_done(writes: list[Write], cloud: DemoCloud) -> None:
    for write in writes:
        cloud.cognito.control.faults.plan(write.operation, faults.throttle)
        assert await write.perform(), write.operation
        assert [
            call.outcome
            for call in cloud.cognito.control.calls
            if call.operation == write.operation
        ] == ["TooManyRequestsException", "ok"]


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
async def test_unanswered_it_is_repeated(
    writes: list[Write], cloud: DemoCloud, *, after: bool
) -> None:
    for write in writes:
        cloud.cognito.control.faults.plan(write.operation, faults.drop_connection, after=after)
        assert await write.perform(), write.operation
        assert has_happened(write), write.operation


async def test_never_answered_nobody_knows(writes: list[Write], cloud: DemoCloud) -> None:
    for write in writes:
        cloud.cognito.control.faults.plan(
            write.operation, faults.internal_error, times=UNANSWERED_ATTEMPTS
        )
        with pytest.raises(UnansweredError):
            await write.perform()
        assert await write.perform(), f"{write.operation}: and afterwards it can be done"
    cloud.cognito.control.faults.plan(
        "AdminDisableUser", faults.hang(asyncio.Event()), times=UNANSWERED_ATTEMPTS
    )
    with pytest.raises(UnansweredError):
        await writes[1].perform()


async def test_refused_it_says_so_in_cognitos_words(writes: list[Write], cloud: DemoCloud) -> None:
    for write in writes:
        cloud.cognito.control.faults.plan(
            write.operation, faults.fail(ApiError("NotAuthorizedException", "planned"))
        )
        with pytest.raises(CognitoRejectedError) as refused:
            await write.perform()
        assert (refused.value.code, str(refused.value), write.user.enabled) == (
            "NotAuthorizedException",
            "planned",
            True,
        )


STORED = {
    "as Cognito writes a list": ("[R%26D, admins]", True, True, "[R%26D]"),
    "unencoded": ("[R&D, admins]", False, True, "[R&D]"),
    "a JSON list": ('["R&D", "admins"]', True, True, '["R&D"]'),
    "the last one": ("[admins]", True, True, "[]"),
    "one name alone": ("admins", True, True, "[]"),
    "another name alone": ("R&D", True, True, "R&D"),
    "truncated": ("[R%26D, admi", True, False, "[R%26D, admi"),
    "nothing": (None, True, True, None),
}
"""What is stored, whether it is form-decoded, whether it surely lacks the group afterwards, and
what is stored then.
"""


async def test_a_group_is_taken_out_in_the_form_that_is_there(
    users: CognitoUsers, cloud: DemoCloud
) -> None:
    for number, (case, (stored, url_decode_groups, lacks, left)) in enumerate(STORED.items()):
        attributes = {} if stored is None else {GROUPS: stored}
        user = cloud.cognito.pool.add_user(
            f"acme-okta_{number}", password="", email="a@acme.test", **attributes
        )
        assert (
            await users.remove_group(user.username, "admins", url_decode_groups=url_decode_groups)
            is lacks
        ), case
        assert user.attributes.get(GROUPS) == left, case


async def test_people_are_found_by_address_over_all_pages(
    users: CognitoUsers, cloud: DemoCloud
) -> None:
    pool = cloud.cognito.pool
    wanted = {
        pool.add_user(f"acme-okta_{n}", password="", email="many@acme.test").username
        for n in range(61)
    }
    wanted.add(pool.add_user("acme-okta_shouted", password="", email="MANY@Acme.Test").username)
    pool.add_user("acme-okta_other", password="", email="other@acme.test")
    found = await users.usernames("many@acme.test")
    assert (set(found), len(found)) == (wanted, 62), (
        "in whatever case Cognito has it: it searches without"
    )
    assert await users.usernames("nobody@acme.test") == ()


@pytest.mark.parametrize(
    "address", ['x" or email = "other@acme.test', "back\\slash@acme.test", "line\nbreak@acme.test"]
)
async def test_an_address_that_would_not_be_one_word_of_the_filter_finds_nobody(
    users: CognitoUsers, cloud: DemoCloud, address: str
) -> None:
    cloud.cognito.pool.add_user("acme-okta_other", password="", email="other@acme.test")
    assert await users.usernames(address) == ()
    assert [call for call in cloud.cognito.control.calls if call.operation == "ListUsers"] == []


async def test_a_group_is_looked_for_among_everybody_of_one_provider(
    users: CognitoUsers, cloud: DemoCloud
) -> None:
    pool = cloud.cognito.pool
    for number in range(70):
        pool.add_user(
            f"acme-okta_{number:02}",
            password="",
            email="a@acme.test",
            **{GROUPS: "[users, R%26D]" if number in {3, 69} else "[users]"},
        )
    pool.add_user("globex-okta_1", password="", email="b@acme.test", **{GROUPS: "[R%26D]"})
    assert await users.with_group("acme-okta", "R&D", url_decode_groups=True) == (
        "acme-okta_03",
        "acme-okta_69",
    )
    assert await users.with_group("acme-okta", "nobody", url_decode_groups=True) == ()


async def test_somebody_without_groups_and_a_page_without_people_hide_nobody(
    users: CognitoUsers, cloud: DemoCloud
) -> None:
    """ListUsers fails where it is asked for a custom attribute that one user of the pool has not,
    and a page without anybody may have a next one (API reference).
    """
    pool = cloud.cognito.pool
    pool.behaviour.lists_begin_empty = True
    pool.add_user("acme-okta_1", password="", email="a@acme.test", **{GROUPS: "[admins]"})
    pool.add_user("acme-okta_2", password="", email="b@acme.test")
    pool.add_user("operator", password="")
    assert await users.with_group("acme-okta", "admins", url_decode_groups=True) == ("acme-okta_1",)
    assert await users.usernames("b@acme.test") == ("acme-okta_2",)


@pytest.mark.parametrize("ignores_case", [False, True])
async def test_a_group_is_found_under_a_provider_whose_name_the_pool_keeps_in_lower_case(
    users: CognitoUsers, cloud: DemoCloud, *, ignores_case: bool
) -> None:
    """A search for user names regards case or not: AWS says both."""
    pool = cloud.cognito.pool
    pool.case_sensitive, pool.behaviour.username_search_ignores_case = False, ignores_case
    pool.add_user("Acme-Okta_1", password="", email="a@acme.test", **{GROUPS: "[admins]"})
    assert await users.with_group("Acme-Okta", "admins", url_decode_groups=True) == ("acme-okta_1",)


@pytest.mark.parametrize(
    "name", ["acme-okta_john smith", f"acme-okta_{'x' * 119}", "acme-okta_a\u200bb"]
)
async def test_who_has_a_name_that_cognito_takes_of_nobody_is_nobody(
    users: CognitoUsers, cloud: DemoCloud, name: str
) -> None:
    """Cognito refuses the call, and with it the rest of what was to be done for that person."""
    assert await users.find(name) is None
    for perform in WRITES.values():
        assert await perform(users, name) is False
    assert await users.usernames(f"{'x' * 250}@acme.test") == ()
    assert cloud.cognito.control.calls == []
