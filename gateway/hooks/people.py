"""Who is signed in, by what their provider calls them: the hooks' ``People`` over the store's
index.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.core.person import Person
from gateway.core.revocation import Who
from gateway.sessions.aliases import AliasIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.keys.ring import KeyRing
    from gateway.sessions.directory import StoreDirectory


MAX_NAMES: Final = 20
"""Looked up for one person; each costs two commands."""


class SignedIn:
    """Implements ``hooks.api.People``. The index knows each name without its provider; the
    display record says whose it is.
    """

    def __init__(self, directory: StoreDirectory, ring: Callable[[], KeyRing]) -> None:
        self._directory = directory
        self._ring = ring

    async def find(
        self, tenant: str, *, provider: str, idp_subject: str = "", oid: str = "", email: str = ""
    ) -> Sequence[Person]:
        name = next(
            (
                (kind, value)
                for kind, value in (("idp_subject", idp_subject), ("oid", oid), ("email", email))
                if value
            ),
            None,
        )
        if name is None:
            return ()
        aliases = AliasIndex(tenant, self._ring().sealing).named(*name)
        views = await self._directory.all_of(tenant, aliases)
        return tuple(
            {
                view.user: Person(view.user, view.email, view.idp_subject, view.oid)
                for view in views
                if view.provider == provider
            }.values()
        )

    async def names_of(self, tenant: str, email: str) -> Sequence[Who]:
        """The ids of whoever last signed in with this address, each as a block may name it. Raises
        ``UnavailableError``.
        """
        last = await self._directory.last_login(tenant, "email", email)
        if last is None:
            return ()
        ids = (
            Who(user=last.user),
            Who(idp_subject=last.idp_subject or None),
            Who(oid=last.oid or None),
        )
        return [replace(who, provider=last.provider) for who in ids if who != Who()]

    async def known(
        self, tenant: str, *, provider: str, names: Sequence[tuple[str, str]]
    ) -> Sequence[Person]:
        """By addresses only where there is no id: they have owners one after another. ``provider``
        "": any.
        """
        ids = [name for name in names if name[0] != "email"]
        people: dict[str, Person] = {}
        for kind, value in (ids or names)[:MAX_NAMES]:
            last = await self._directory.last_login(tenant, kind, value)
            if last is not None and provider in {"", last.provider}:
                people[last.user] = Person(last.user, last.email, last.idp_subject, last.oid)
        return tuple(people.values())
