"""Somebody who signed in, and an account of a directory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in here. ``user`` is Cognito's ``sub``, which apps know people by; one
    for each provider and subject.
    """

    user: str
    email: str
    idp_subject: str = ""
    oid: str = ""
    """As their provider calls them; "" where the login did not say."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of a directory. ``enabled`` is False for disabled and for deleted."""

    enabled: bool
    email: str = ""
    names: tuple[tuple[str, str], ...] = ()
    """What else tokens may call the user, where the directory tells (``event.Subject.names``)."""
