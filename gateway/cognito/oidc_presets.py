"""What vendors of OpenID Connect providers call their claims, where it is not what everybody calls
them. Pure.

Sources: Zitadel, "Claims" and "Scopes"; OneLogin, groups of an OpenID Connect app; IBM Verify, ID
token of a custom application. The others' names are the usual ones, or their administrator's.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.cognito.desired import GROUPS, GROUPS_SCOPE

if TYPE_CHECKING:
    from collections.abc import Mapping


class OidcPreset(StrEnum):
    """Whose claims an OpenID Connect provider sends."""

    AUTH0 = "auth0"
    AUTHENTIK = "authentik"
    DUO = "duo"
    IBM_VERIFY = "ibm-verify"
    JUMPCLOUD = "jumpcloud"
    KEYCLOAK = "keycloak"
    ONELOGIN = "onelogin"
    PINGONE = "pingone"
    ZITADEL = "zitadel"
    OTHER = "other"


CLAIMS: Mapping[OidcPreset, Mapping[str, str]] = {
    **{preset: {} for preset in OidcPreset},
    OidcPreset.IBM_VERIFY: {GROUPS: "groupIds"},
    # An object, {"role": {"organization id": "domain"}}: ``core.groups`` reads its names.
    OidcPreset.ZITADEL: {GROUPS: "urn:zitadel:iam:org:project:roles"},
}
"""Pool attribute → claim, in place of the usual one."""
EXTRA_SCOPES: Mapping[OidcPreset, tuple[str, ...]] = {
    **dict.fromkeys(OidcPreset, ()),
    # Without it, no groups are sent.
    OidcPreset.ONELOGIN: (GROUPS_SCOPE,),
}
"""Beyond ``openid profile email``. Never guessed from discovery: a scope that is offered to some
clients and not to this one fails every login (Keycloak).
"""

ISSUERS: Mapping[OidcPreset, str] = {
    OidcPreset.AUTH0: "https://acme.eu.auth0.com/",
    OidcPreset.AUTHENTIK: "https://sso.acme.com/application/o/gateway/",
    OidcPreset.DUO: "https://sso-abcd1234.sso.duosecurity.com/oidc/DIXXXXXXXXXXXXXXXXXX",
    OidcPreset.IBM_VERIFY: "https://acme.verify.ibm.com/oidc/endpoint/default",
    OidcPreset.JUMPCLOUD: "https://oauth.id.jumpcloud.com",
    OidcPreset.KEYCLOAK: "https://sso.acme.com/realms/acme",
    OidcPreset.ONELOGIN: "https://acme.onelogin.com/oidc/2",
    OidcPreset.PINGONE: "https://auth.pingone.com/00000000-0000-0000-0000-000000000000/as",
    OidcPreset.ZITADEL: "https://acme.zitadel.cloud",
    OidcPreset.OTHER: "https://login.acme.com",
}
"""An example of each, with the slash at its end where the vendor has one: what administrators are
shown.
"""
