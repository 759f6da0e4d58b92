"""Subject identifiers of security event tokens (RFC 9493, and the older forms that providers still
send).

Only what names a person: ``iss_sub``, ``email``, ``opaque``, ``aliases``, and complex subjects
through their ``user`` member. An ``iss_sub`` of another issuer names somebody else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.hooks.event import EntryError, Subject, address, items, mapping, text

if TYPE_CHECKING:
    from collections.abc import Collection


def subject_of(value: object, *, issuers: Collection[str], entra: bool = False) -> Subject:
    """The person; ``EntryError`` where none is named. ``entra``: ids are object ids, not the
    pairwise ``sub`` of tokens.
    """
    return _subject(mapping(value, "subject"), issuers, entra=entra, nested=False)


def _subject(
    value: dict[str, Any], issuers: Collection[str], *, entra: bool, nested: bool
) -> Subject:
    user = value.get("user")
    if isinstance(user, dict) and not nested:
        # SSF 1.0 §3.2: a complex subject; device, session and tenant only narrow it, and ending
        # more than asked is safe.
        return _subject(user, issuers, entra=entra, nested=True)
    form = value.get("format", value.get("subject_type"))
    form = form.replace("-", "_") if isinstance(form, str) else ""
    if form == "iss_sub":
        if not isinstance(value.get("iss"), str) or value["iss"] not in issuers:
            msg = "subject.iss is another issuer"
            raise EntryError(msg)
        return _by_id(value.get("sub"), "subject.sub", entra=entra)
    if form == "opaque":
        return _by_id(value.get("id"), "subject.id", entra=entra)
    if form == "email":
        email = address(value.get("email"))
        if not email:
            msg = "subject.email is not an address"
            raise EntryError(msg)
        return Subject(email=email)
    if form == "aliases" and not nested:
        subject = Subject()
        for alias in items(value.get("identifiers"), "subject.identifiers")[:16]:
            one = _subject(mapping(alias, "subject.identifiers"), issuers, entra=entra, nested=True)
            subject = replace(
                subject,
                idp_subject=subject.idp_subject or one.idp_subject,
                oid=subject.oid or one.oid,
                email=subject.email or one.email,
            )
        if subject:
            return subject
    msg = "subject has a format that names no person"
    raise EntryError(msg)


def _by_id(value: object, field: str, *, entra: bool) -> Subject:
    identifier = text(value, field)
    return Subject(oid=identifier) if entra else Subject(idp_subject=identifier)
