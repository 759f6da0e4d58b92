"""What a person may do in the console: the grants of their groups, and the caller of the admin API
that follows for one operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.admin.keys import AdminKey
from gateway.console.sign_in import Person
from gateway.core.scopes import Scope
from gateway.tenants.index import is_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.config.console import ConsoleGroup
    from gateway.sessions.console_links import Opened

FRESH_S: Final = 600
"""How old a sign-in may be for what cannot be undone, or hands out a secret. Shorter, and people
sign in again between two steps of one task; longer, and an unlocked screen is enough.
"""


@dataclass(frozen=True, slots=True)
class Grant:
    """``tenants``: globs of ids; empty: of all tenants."""

    scopes: frozenset[Scope]
    tenants: tuple[str, ...] = ()

    def is_for(self, tenant: str | None) -> bool:
        return not self.tenants or (tenant is not None and is_within(tenant, self.tenants))


@dataclass(frozen=True, slots=True)
class Operator:
    """A person with their grants; without any, they may see nothing."""

    person: Person
    grants: tuple[Grant, ...]

    def may(self, scope: Scope) -> bool:
        """For at least one tenant."""
        return any(_holds(grant.scopes, scope) for grant in self.grants)

    def may_everywhere(self, scope: Scope) -> bool:
        return _holds(_scopes(g for g in self.grants if not g.tenants), scope)

    def is_fresh(self, now: float) -> bool:
        return now - self.person.auth_time <= FRESH_S

    def caller(self, scope: Scope, tenant: str | None) -> AdminKey:
        """Who asks the API for something of ``tenant`` (None: of no single one).

        Whoever is limited to some tenants is what a key bound to this one would be, with everything
        that such a key may not do.
        """
        if tenant is None or self.may_everywhere(scope):
            return self._key(_scopes(g for g in self.grants if not g.tenants))
        return self._key(_scopes(g for g in self.grants if g.is_for(tenant)), tenant=tenant)

    def lister(self) -> AdminKey:
        """Who asks for the list of tenants."""
        if self.may_everywhere(Scope.TENANTS_READ):
            return self.caller(Scope.TENANTS_READ, None)
        able = [g for g in self.grants if _holds(g.scopes, Scope.TENANTS_READ)]
        globs = tuple(sorted({glob for grant in able for glob in grant.tenants}))
        scopes = frozenset({Scope.TENANTS_READ}) if globs else frozenset()
        return self._key(scopes, within=globs)

    def _key(
        self,
        scopes: frozenset[Scope],
        *,
        tenant: str | None = None,
        within: tuple[str, ...] = (),
    ) -> AdminKey:
        person = self.person
        return AdminKey(
            person.sub,
            person.email,
            scopes,
            tenant,
            0,
            None,
            person=not person.link,
            console_link=person.link,
            within=within,
        )


def operator_of(person: Person, groups: Mapping[str, ConsoleGroup]) -> Operator:
    """``groups``: as ``console.groups`` says."""
    return Operator(
        person,
        tuple(
            Grant(frozenset(group.scopes), group.tenants or ())
            for name, group in sorted(groups.items())
            if name in person.groups
        ),
    )


def holder_of(link: Opened) -> Operator:
    """Whoever opened a one-time link has every scope, as everybody has on the gateway's machine."""
    person = Person(link.id, "", "", "", "", frozenset(), int(link.at), link=True)
    return Operator(person, (Grant(frozenset({Scope.OPERATOR})),))


def _scopes(grants: Iterable[Grant]) -> frozenset[Scope]:
    return frozenset(scope for grant in grants for scope in grant.scopes)


def _holds(scopes: frozenset[Scope], scope: Scope) -> bool:
    return scope in scopes or Scope.OPERATOR in scopes
