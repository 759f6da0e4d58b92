"""From an IdP's claims to a profile of the pool: creation, mapping, and everything that makes
Cognito refuse.

Rules (developer guide, "Mapping IdP attributes to profiles and tokens"):
- the username is ``<provider>_<subject>``; a new profile joins the group ``<pool>_<provider>``;
- mapped attributes are overwritten at every sign-in, but a claim that is absent leaves the old
  value standing;
- one value over the attribute's length, or an immutable attribute mapped at a later sign-in, fails
  the whole sign-in.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from demo.cognito.attributes import Flattening, flatten
from demo.cognito.pool import AppClient, IdentityProvider, Pool, User

if TYPE_CHECKING:
    from collections.abc import Mapping


class SignInError(Exception):
    """The text goes to the application as ``error_description``; ``error`` beside it."""

    def __init__(self, description: str, *, error: str = "invalid_request") -> None:
        super().__init__(description)
        self.error = error


def sign_in(
    pool: Pool, client: AppClient, provider: IdentityProvider, claims: Mapping[str, Any]
) -> User:
    """Find or create the profile of this subject and apply the mapping; raises ``SignInError`` and
    then changes nothing.
    """
    subject = flatten(claims.get(provider.mapping["username"]), pool.behaviour.flattening)
    if not subject:
        raise SignInError("username attribute mapping required")
    username = pool.fold(f"{provider.name}_{subject}")
    user = pool.users.get(username)
    if user is not None and not user.enabled:
        raise SignInError("User is disabled.", error="access_denied")
    mapped = _mapped_values(pool, client, provider, claims)
    for name, value in mapped.items():
        attribute = pool.schema[name]
        if user is not None and not attribute.mutable:
            raise SignInError(f"user.{name}: Attribute cannot be updated.\n")
        if len(value) > attribute.max_length:
            raise SignInError(
                f"user.{name}: Attribute value is longer than {attribute.max_length} characters.\n"
            )
    absent = (
        set()
        if pool.behaviour.claim_kept_when_absent
        else {name for name in provider.mapping if name not in mapped and client.may_write(name)}
    )
    kept = {n: v for n, v in (user.attributes if user else {}).items() if n not in absent}
    known = {**kept, **mapped}
    missing = sorted(
        name
        for name, found in pool.schema.items()
        if found.required and name != "sub" and name not in known
    )
    if missing:
        raise SignInError(f"attributes required: [{', '.join(missing)}]")
    now = pool.clock()
    if user is None:
        user = User(
            username=username,
            sub=str(uuid.uuid4()),
            created=now,
            groups=[f"{pool.pool_id}_{provider.name}"],
            provider=provider.name,
            provider_type=provider.kind,
            idp_subject=subject,
            idp_issuer=claims.get("saml:issuer"),
        )
        pool.users[username] = user
    user.attributes = known
    user.modified = now
    return user


def _mapped_values(
    pool: Pool, client: AppClient, provider: IdentityProvider, claims: Mapping[str, Any]
) -> dict[str, str]:
    values = {}
    for name, claim in provider.mapping.items():
        form = Flattening.SCALAR_FOR_ONE if provider.kind == "SAML" else pool.behaviour.flattening
        value = flatten(claims.get(claim), form)
        if name == "username" or value is None:
            continue
        if client.may_write(name):
            values[name] = value
        elif pool.behaviour.unwritable_attribute_fails:
            raise SignInError(f"user.{name}: A client attempted to write unauthorized attribute\n")
    return values
