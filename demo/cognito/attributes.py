"""User attributes: the pool's schema, what each scope reveals, and how an upstream claim becomes an
attribute's string.

Rules (Amazon Cognito developer guide, "Mapping IdP attributes" and "ID token"):
- every attribute is stored as a string, whatever the claim was;
- a claim that the IdP did not send leaves the stored attribute as it is;
- custom attributes carry the prefix ``custom:`` everywhere but in AddCustomAttributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote_plus

from demo.jose import compact_json

EMAIL_ATTRIBUTES = frozenset({"email", "email_verified"})
PHONE_ATTRIBUTES = frozenset({"phone_number", "phone_number_verified"})
PROFILE_ATTRIBUTES = frozenset(
    {
        "name",
        "family_name",
        "given_name",
        "middle_name",
        "nickname",
        "preferred_username",
        "profile",
        "picture",
        "website",
        "gender",
        "birthdate",
        "zoneinfo",
        "locale",
        "updated_at",
    }
)
STANDARD_ATTRIBUTES = EMAIL_ATTRIBUTES | PHONE_ATTRIBUTES | PROFILE_ATTRIBUTES | {"address"}
SCOPE_ATTRIBUTES = {
    "email": EMAIL_ATTRIBUTES,
    "phone": PHONE_ATTRIBUTES,
    "profile": PROFILE_ATTRIBUTES,
}
BOOLEAN_ATTRIBUTES = frozenset({"email_verified", "phone_number_verified"})
"""Booleans in the ID token, strings in userInfo and in the API."""

MAX_LENGTH = 2048
"""The longest value any attribute takes; a longer mapped value fails the sign-in."""


@dataclass(frozen=True, slots=True)
class SchemaAttribute:
    """One attribute of the pool's schema, named with its prefix."""

    name: str
    data_type: str = "String"
    mutable: bool = True
    required: bool = False
    min_length: int = 0
    max_length: int = MAX_LENGTH

    @property
    def is_custom(self) -> bool:
        return self.name.startswith(("custom:", "dev:"))


def standard_schema() -> dict[str, SchemaAttribute]:
    """What every pool has before anyone adds an attribute. ``sub`` is required and immutable."""
    types = {
        "email_verified": "Boolean",
        "phone_number_verified": "Boolean",
        "updated_at": "Number",
    }
    schema = {
        name: SchemaAttribute(name, types.get(name, "String"))
        for name in sorted(STANDARD_ATTRIBUTES)
    }
    return {"sub": SchemaAttribute("sub", mutable=False, required=True, min_length=1), **schema}


class Flattening(Enum):
    """How a multi-valued claim becomes one string. The vendor's text says brackets; other forms
    were seen in the field.
    """

    BRACKETS_ENCODED = "[a, R%26D]"
    BRACKETS_PLAIN = "[a, R&D]"
    JSON = '["a","R&D"]'
    SCALAR_FOR_ONE = "a, or brackets for several"


def flatten(value: Any, form: Flattening) -> str | None:
    """The stored string of a claim; ``None`` where there is no claim to store (absent and null are
    the same).
    """
    match value:
        case None:
            return None
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case list():
            return _flatten_list([flatten(item, form) or "" for item in value], form)
        case _:
            return compact_json(value)


def _flatten_list(items: list[str], form: Flattening) -> str:
    if form is Flattening.JSON:
        return compact_json(items)
    if form is Flattening.SCALAR_FOR_ONE and len(items) == 1:
        return items[0]
    if form is not Flattening.BRACKETS_PLAIN:
        # Form-URL-encoding keeps . - * _ and makes a space a plus.
        items = [quote_plus(item, safe="*").replace("~", "%7E") for item in items]
    return "[" + ", ".join(items) + "]"
