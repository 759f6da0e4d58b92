"""What the smallest modules of the core hold: values that nobody changes."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import FrozenInstanceError, fields, is_dataclass

import pytest

import gateway.core
from gateway.core.decide import Trace
from gateway.core.model import AuthRequest, Branding, ProviderKind
from gateway.core.paging import Page
from gateway.core.person import Account, Person
from gateway.core.rules import _Node
from tests.core.build import provider

VALUES = sorted(
    {
        value
        for module in pkgutil.iter_modules(gateway.core.__path__, "gateway.core.")
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.name
    },
    key=lambda value: value.__qualname__,
)
MUTABLE = {AuthRequest, Trace, _Node}
"""One is made at every check, and a frozen one takes three times as long; the others are filled
while they are made.
"""


def test_a_value_of_the_core_is_frozen_and_has_no_room_for_more() -> None:
    assert len(VALUES) > 30
    for value in VALUES:
        made = object.__new__(value)
        assert not hasattr(made, "__dict__"), value
        if value not in MUTABLE:
            with pytest.raises(FrozenInstanceError):
                setattr(made, fields(value)[0].name, None)


def test_what_a_login_or_a_directory_does_not_say_is_empty() -> None:
    assert Person("u", "a@acme.test") == Person("u", "a@acme.test", idp_subject="", oid="")
    assert Account(enabled=False).email == ""
    last: Page[str] = Page(())
    assert last.position is None


def test_a_provider_is_called_by_its_vendor_or_where_that_says_nothing_by_its_label() -> None:
    assert provider(kind=ProviderKind.OKTA, label="Sign in").known_as == "Okta"
    assert provider(kind=ProviderKind.OIDC, label="Staff").known_as == "Staff"


def test_a_group_has_the_label_that_it_was_given_or_none() -> None:
    branding = Branding(group_labels=(("6f2c", "Sales"),))
    assert branding.labeled(["6f2c", "admins"]) == (("6f2c", "Sales"), ("admins", ""))
