"""Under which names a person is indexed, revoked and overlaid; all of them HMACs
(``seal.Aliases``).

An IdP subject, an ``oid``, an e-mail address or a group is only unique within one provider of a
tenant, and a revocation may or may not say which provider it means. So the index knows each without
its provider, and marks (watermarks, blocks) and overlays are looked up both with and without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.core.canonical import canonical_address, canonical_id
from gateway.sessions.seal import Aliases, aliases_under

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.core.model import Identity
    from gateway.keys.ring import Key

SubjectHash = str
"""22 characters: the HMAC of one name."""
IDENTITIES_KEPT: Final = 256
"""Whose names are remembered, by what they were last asked for: logins that are under way."""
MAX_GROUPS_KEPT: Final = 50
"""Of such an identity. The names of one with more are made anew: a hundred bytes each, and four for
a group.
"""


@dataclass(frozen=True, slots=True)
class OverlayKey:
    """One place where groups may be taken away from a person; its fields are HMACs of groups under
    the same key of the ring.
    """

    key: SubjectHash
    groups: Mapping[SubjectHash, str]
    """HMAC → the group as this login reports it."""
    everybody: bool = False
    """Of all people of the provider: single ones may be exempt."""


@dataclass(frozen=True, slots=True)
class RemovedGroup:
    """A group that was taken away. ``cleared`` (tenant clock, 0: never): since then Cognito's
    stored attribute does not hold it either.
    """

    place: int
    """1-based number of the overlay key."""
    field: SubjectHash
    group: str
    since: int
    cleared: int
    everybody: bool = False
    """Taken from all people of the provider."""
    exempts: bool = False
    """No removal: of what was taken from everybody at ``since`` or before, the group is this
    person's all the same.
    """


def normal(kind: str, value: str) -> str:
    """The one spelling under which a name is written and looked up."""
    return canonical_address(value) if kind == "email" else canonical_id(value)


class AliasIndex:
    """Aliases of one tenant under every key of the ring; the first key writes the index, every key
    reads.
    """

    def __init__(self, tenant: str, keys: Iterable[Key]) -> None:
        self.tenant = tenant
        self._rings = tuple(map(aliases_under, keys))

    def index(self, identity: Identity) -> list[SubjectHash]:
        """Where a session of this person is entered; the user first, the tenant last."""
        return list(_remembered(identity, _index)(self.tenant, self._rings, identity))

    def users(self, identity: Identity) -> list[SubjectHash]:
        """The person's user alias under each key, the writing one first."""
        return self.named("user", identity.sub)

    def user(self, identity: Identity) -> SubjectHash:
        return self.users(identity)[0]

    def provider(self, name: str) -> SubjectHash:
        return self._rings[0].of(self.tenant, "provider", name)

    def providers(self, name: str) -> list[SubjectHash]:
        return [ring.of(self.tenant, "provider", name) for ring in self._rings]

    def named(self, kind: str, value: str) -> list[SubjectHash]:
        """The index entries of one name, under every key."""
        return [ring.of(self.tenant, kind, normal(kind, value)) for ring in self._rings]

    def everybody(self) -> list[SubjectHash]:
        """The index entry of the whole tenant, under every key; also its mark."""
        return self.named("tenant", "")

    def mark(self, kind: str, value: str, provider: str | None) -> list[SubjectHash]:
        """Where a revocation of one name is written, under every key."""
        return _mark(self.tenant, self._rings, kind, normal(kind, value), provider)

    def marks(self, identity: Identity, *, family: str) -> list[SubjectHash]:
        """Every place where a revocation of this person, session, group or tenant may stand."""
        return self.standing(identity) + self.mark("session", family, None)

    def standing(self, identity: Identity) -> list[SubjectHash]:
        """As above, less what is said of one session only."""
        return list(_remembered(identity, _standing)(self.tenant, self._rings, identity))

    def overlays(self, identity: Identity) -> list[OverlayKey]:
        """Every place where a group may be taken away from this person."""
        keys = []
        for ring in self._rings:
            groups = {
                ring.of(self.tenant, "overlay", normal("group", group)): group
                for group in identity.groups
            }
            for kind, value in (*_names(identity), ("tenant", "")):
                text = normal(kind, value)
                everybodys = OverlayKey(
                    ring.of(self.tenant, f"{kind} at", identity.provider, text),
                    groups,
                    everybody=kind == "tenant",
                )
                keys += [OverlayKey(ring.of(self.tenant, kind, text), groups), everybodys]
        return keys

    def overlay_fields(self, group: str) -> list[SubjectHash]:
        """The field of one group in the overlays that ``mark`` names, key by key."""
        return [ring.of(self.tenant, "overlay", normal("group", group)) for ring in self._rings]


def _names(identity: Identity) -> Iterator[tuple[str, str]]:
    yield "user", identity.sub
    for kind, value in (
        ("idp_subject", identity.idp_subject),
        ("oid", identity.oid),
        ("email", identity.email),
    ):
        if value:
            yield kind, value


def _mark(
    tenant: str, rings: tuple[Aliases, ...], kind: str, text: str, provider: str | None
) -> list[SubjectHash]:
    """``text``: as ``normal`` writes it."""
    if provider:
        return [ring.of(tenant, f"{kind} at", provider, text) for ring in rings]
    return [ring.of(tenant, kind, text) for ring in rings]


def _index(tenant: str, rings: tuple[Aliases, ...], identity: Identity) -> tuple[SubjectHash, ...]:
    ring = rings[0]
    return (
        *(ring.of(tenant, kind, normal(kind, value)) for kind, value in _names(identity)),
        *(ring.of(tenant, "group", normal("group", group)) for group in identity.groups),
        ring.of(tenant, "tenant", ""),
    )


def _standing(
    tenant: str, rings: tuple[Aliases, ...], identity: Identity
) -> tuple[SubjectHash, ...]:
    marks = []
    for kind, value in (
        ("tenant", ""),
        *_names(identity),
        *(("group", group) for group in identity.groups),
    ):
        text = normal(kind, value)
        marks += _mark(tenant, rings, kind, text, None)
        marks += _mark(tenant, rings, kind, text, identity.provider)
    return tuple(marks)


_Of = Callable[[str, tuple[Aliases, ...], "Identity"], tuple[SubjectHash, ...]]
_CACHED: Final[Mapping[_Of, _Of]] = {
    function: lru_cache(maxsize=IDENTITIES_KEPT)(function) for function in (_index, _standing)
}


def _remembered(identity: Identity, function: _Of) -> _Of:
    """A login asks twice for each, and its hand-over to another host again."""
    return _CACHED[function] if len(identity.groups) <= MAX_GROUPS_KEPT else function


def exempt_field(field: SubjectHash) -> str:
    """Beside ``field`` in a person's overlay: an HMAC is 22 characters long, so none of them is
    another's.
    """
    return f"+{field}"


def parse_overlay(text: str, places: list[OverlayKey]) -> list[RemovedGroup]:
    """What ``finish_login.lua`` found: ``<place> <field> <since>:<cleared>`` or ``<place> +<field>
    <since>`` by line. Groups that this login does not report say nothing.
    """
    removals = []
    for line in text.splitlines():
        place, field, times = line.split(" ")
        group = places[int(place) - 1].groups.get(field.removeprefix("+"))
        if group is not None and field.startswith("+"):
            removals.append(RemovedGroup(int(place), field, group, int(times), 0, exempts=True))
            continue
        if group is not None:
            since, _, cleared = times.partition(":")
            removals.append(
                RemovedGroup(
                    int(place),
                    field,
                    group,
                    int(since),
                    int(cleared),
                    everybody=places[int(place) - 1].everybody,
                )
            )
    return removals


def overlaid(
    reported: Identity, taken: list[RemovedGroup], *, began: int
) -> tuple[Identity, list[tuple[int, SubjectHash]]]:
    """The identity without the groups that are taken away, and the overlay entries that this login
    lifts.

    A login lifts only where Cognito's stored attribute was cleared after the removal and before
    this login began: then what it reports was given anew by the identity provider. What was taken
    from everybody is not gone for those who are exempt from it.
    """
    lifted = [(t.place, t.field) for t in taken if not t.exempts and t.since < t.cleared < began]
    exempt = {(t.group, t.since) for t in taken if t.exempts}

    def stands(t: RemovedGroup) -> bool:
        return (
            not t.exempts
            and not t.since < t.cleared < began
            and not (
                t.everybody
                and any(group == t.group and t.since <= since for group, since in exempt)
            )
        )

    removed_groups = {t.group for t in taken if stands(t)}
    # An exemption from what was cleared meanwhile has nothing to do any more.
    lifted += [
        (t.place, t.field)
        for t in taken
        if t.exempts
        and not any(
            other.everybody and other.group == t.group and (other.place, other.field) not in lifted
            for other in taken
        )
    ]
    return replace(
        reported, groups=tuple(group for group in reported.groups if group not in removed_groups)
    ), lifted
