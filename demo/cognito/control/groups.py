"""Groups of the pool: create, get, delete, list, and who is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.cognito.control.errors import ApiError, limit_exceeded, not_found
from demo.cognito.control.state import ControlState, page
from demo.cognito.pool import Group

if TYPE_CHECKING:
    from demo.cognito.pool import Pool


def create_group(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool, name = state.pool_of(request), request["GroupName"]
    if name in pool.groups:
        raise ApiError("GroupExistsException", "A group with the name already exists.")
    if len(pool.groups) >= state.quotas.groups:
        raise limit_exceeded(f"Maximum number of groups ({state.quotas.groups}) reached.")
    group = Group(name, str(request.get("Description", "")), created=pool.clock())
    pool.groups[name] = group
    return {"Group": described(pool, group)}


def get_group(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    return {"Group": described(pool, existing(pool, request["GroupName"]))}


def delete_group(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Nobody is in it any more, whoever makes another of the name."""
    pool = state.pool_of(request)
    name = existing(pool, request["GroupName"]).name
    del pool.groups[name]
    for user in pool.users.values():
        user.groups = [group for group in user.groups if group != name]
    return {}


def list_groups(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    shown, following = page(
        pool,
        [group for _, group in sorted(pool.groups.items())],
        size=request.get("Limit"),
        token=request.get("NextToken"),
    )
    return {
        "Groups": [described(pool, group) for group in shown],
        **({"NextToken": following} if following else {}),
    }


def existing(pool: Pool, name: str) -> Group:
    """The group of that name, case included."""
    group = pool.groups.get(name)
    if group is None:
        raise not_found("Group not found.")
    return group


def described(pool: Pool, group: Group) -> dict[str, Any]:
    """As every operation shows it; an empty description is left out."""
    return {
        "GroupName": group.name,
        "UserPoolId": pool.pool_id,
        **({"Description": group.description} if group.description else {}),
        "CreationDate": group.created,
        "LastModifiedDate": group.created,
    }
