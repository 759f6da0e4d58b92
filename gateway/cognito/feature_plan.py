"""What the feature plan of a user pool means for the gateway. Pure.

Source: Cognito developer guide, "User pool feature plans"; ``UserPoolTier`` of DescribeUserPool.
Federation, groups, the classic pages and tokens for machines are in each plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LITE, ESSENTIALS, PLUS = "LITE", "ESSENTIALS", "PLUS"
PLANS: Final = (LITE, ESSENTIALS, PLUS)


@dataclass(frozen=True, slots=True)
class Feature:
    """What Essentials and Plus have beyond Lite. ``absent``: what holds without it."""

    name: str
    absent: str


FEATURES: Final = (
    Feature(
        "managed login (version 2)",
        "the classic pages are shown, and Cognito ignores prompt",
    ),
    Feature(
        "refresh token rotation",
        "where Cognito refuses it, no app client can be provisioned",
    ),
    Feature(
        "tracked sessions",
        "a revocation cannot end the user's login cookie at Cognito, which may sign the same "
        "browser in for an hour without asking the identity provider",
    ),
    Feature(
        "replication to a second region",
        "the pool cannot be failed over",
    ),
)


def plan_of(described: Mapping[str, Any]) -> str:
    """``UserPool`` of DescribeUserPool; "" where it names none of those that are known."""
    tier = str(described.get("UserPoolTier") or "").upper()
    return tier if tier in PLANS else ""


def features_sentence(plan: str) -> str:
    """What the plan has, or what holds without it."""
    if plan == LITE:
        return "Lite lacks " + "; ".join(f"{each.name}: {each.absent}" for each in FEATURES)
    names = ", ".join(each.name for each in FEATURES[:-1])
    extra = (
        "; of what only Plus has (threat protection, export of logs), the gateway uses nothing"
        if plan == PLUS
        else ""
    )
    return (
        f"{plan.capitalize()} has {names} and {FEATURES[-1].name}. Sessions are tracked once that "
        f"is switched on{extra}"
    )
