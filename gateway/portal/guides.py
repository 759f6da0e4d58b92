"""What to do at each identity provider: their menus and labels, our values. Data.

The labels are theirs, in English as their consoles have them; sentences around them are ours and
are translated. ``checked``: the day of the newest public documentation that a guide follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

from gateway.cognito.oidc_presets import ISSUERS, OidcPreset
from gateway.portal.texts import N_
from gateway.setup.model import Protocol, SetupProvider

if TYPE_CHECKING:
    from collections.abc import Mapping

OPEN, CHOOSE, PASTE, ENTER, COPY, NOTE = "open", "choose", "paste", "enter", "copy", "note"
"""Kinds of steps: go to a menu; choose something; paste our value into a field; type a value into a
field; copy theirs for the next page; a sentence.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """``label``: theirs, or our sentence of a note. ``value``: of ``PASTE`` a key of ``ours``, of
    ``ENTER`` the text itself.
    """

    kind: str
    label: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Screen:
    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Guide:
    """``kind`` and ``preset``: what provisioning is told. ``issuer``: an example of it, or whose it
    is always. ``no_groups``: what to change where a test brought none.
    """

    checked: date
    screens: tuple[Screen, ...]
    kind: str = "oidc"
    preset: str = "other"
    issuer: str = ""
    no_groups: str = N_("Send the groups of the application in a claim named groups.")


NAMES: Final[Mapping[SetupProvider, str]] = {
    SetupProvider.OKTA: "Okta",
    SetupProvider.ENTRA: "Microsoft Entra ID",
    SetupProvider.GOOGLE: "Google Workspace",
    SetupProvider.ONELOGIN: "OneLogin",
    SetupProvider.PINGONE: "PingOne",
    SetupProvider.JUMPCLOUD: "JumpCloud",
    SetupProvider.KEYCLOAK: "Keycloak",
    SetupProvider.AUTH0: "Auth0",
    SetupProvider.ADFS: "AD FS",
    SetupProvider.OTHER: N_("Something else"),
}
SUGGESTED: Final[Mapping[SetupProvider, Protocol]] = {
    name: Protocol.SAML if name in {SetupProvider.GOOGLE, SetupProvider.ADFS} else Protocol.OIDC
    for name in SetupProvider
}
"""Google sends groups by SAML only; AD FS is usually reached by nobody from outside."""
THEIR_NAMES: Final[Mapping[SetupProvider, Mapping[str, str]]] = {
    SetupProvider.ENTRA: {
        "issuer": "Directory (tenant) ID",
        "client_id": "Application (client) ID",
        "client_secret": "Value",
        "metadata_url": "App Federation Metadata Url",
    },
    SetupProvider.ONELOGIN: {"metadata_url": "Issuer URL"},
    SetupProvider.PINGONE: {"issuer": "Issuer ID", "metadata_file": "Download Metadata"},
    SetupProvider.JUMPCLOUD: {"metadata_url": "Copy Metadata URL"},
    SetupProvider.AUTH0: {"issuer": "Domain"},
    SetupProvider.GOOGLE: {"metadata_file": "Download Metadata"},
}
"""What a field of our form is called where it is copied, if it is called otherwise there."""
_CREATE = N_("Create the application")
_OURS = N_("Enter our addresses")
_GROUPS = N_("Send e-mail address and groups")
_PEOPLE = N_("Choose who may use it")
_THEIRS = N_("Copy their values")
_SELF = Step(NOTE, N_("Assign yourself too: you sign in with it in a moment."))
_NOTHING_ELSE = Step(NOTE, N_("Leave everything else as it is."))
_NEXT = Step(NOTE, N_("Keep this page of theirs open: the next page asks for these values."))


def _screens(*screens: tuple[str, tuple[Step, ...]]) -> tuple[Screen, ...]:
    return tuple(Screen(title, steps) for title, steps in screens)


_OKTA_EXPRESSION = (
    "user.getGroups({'group.profile.name': 'app-', 'operator': 'STARTS_WITH'}).![profile.name]"
)
_OKTA = date(2026, 8, 21)
_OKTA_NEW = (
    Step(OPEN, "Applications and Resources > Applications"),
    Step(NOTE, N_("In older consoles: Applications › Applications.")),
    Step(CHOOSE, "Create App Integration"),
)
_ENTRA_GALLERY = (
    Step(OPEN, "entra.microsoft.com > Entra ID > Enterprise apps"),
    Step(CHOOSE, "New application > Create your own application"),
    Step(CHOOSE, "Integrate any other application you don't find in the gallery (Non-gallery)"),
)
_ENTRA_ASSIGN = (
    Step(OPEN, "Entra ID > Enterprise apps > your app > Users and groups"),
    Step(CHOOSE, "Add user/group"),
    _SELF,
)
_ENTRA_GROUPS = N_(
    "Groups arrive as object IDs, above 200 not at all, and members of nested groups are not "
    "counted. Assign the groups themselves to the app."
)
_SP_METADATA = Step(NOTE, N_("Where it asks for a name ID, choose the e-mail address."))

GUIDES: Final[Mapping[tuple[SetupProvider, Protocol], Guide]] = {
    (SetupProvider.OKTA, Protocol.OIDC): Guide(
        _OKTA,
        _screens(
            (
                _CREATE,
                (
                    *_OKTA_NEW,
                    Step(CHOOSE, "OIDC - OpenID Connect"),
                    Step(CHOOSE, "Web Application > Next"),
                ),
            ),
            (
                _OURS,
                (
                    Step(PASTE, "Sign-in redirect URIs", "redirect_uri"),
                    Step(CHOOSE, "Assignments: Limit access to selected groups"),
                    _SELF,
                    Step(CHOOSE, "Save"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(OPEN, "Sign On > Token claims"),
                    Step(CHOOSE, "Add expression"),
                    Step(ENTER, "Name", "groups"),
                    Step(ENTER, "Expression", _OKTA_EXPRESSION),
                    Step(NOTE, N_("Replace app- by what the names of your groups begin with.")),
                    Step(
                        NOTE,
                        N_("In older consoles: OpenID Connect ID Token › Edit › Groups claim."),
                    ),
                ),
            ),
            (
                _THEIRS,
                (
                    Step(OPEN, "General"),
                    Step(COPY, "Client ID"),
                    Step(COPY, "Client Secret"),
                    Step(NOTE, N_("The issuer is the address of your organization at Okta.")),
                    _NEXT,
                ),
            ),
        ),
        kind="okta",
        issuer="https://acme.okta.com",
        no_groups=N_("Okta: Sign On › Token claims. Assign yourself to the app and to the group."),
    ),
    (SetupProvider.OKTA, Protocol.SAML): Guide(
        _OKTA,
        _screens(
            (_CREATE, (*_OKTA_NEW, Step(CHOOSE, "SAML 2.0 > Next"))),
            (
                _OURS,
                (
                    Step(PASTE, "Single sign-on URL", "acs"),
                    Step(CHOOSE, "Use this for Recipient URL and Destination URL"),
                    Step(PASTE, "Audience URI (SP Entity ID)", "entity_id"),
                    Step(CHOOSE, "Name ID format: EmailAddress"),
                    Step(CHOOSE, "This is an internal app that we have created > Finish"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(OPEN, "Sign On > Attribute Statements"),
                    Step(CHOOSE, "Add expression"),
                    Step(ENTER, "email", "user.profile.email"),
                    Step(ENTER, "groups", _OKTA_EXPRESSION),
                    Step(NOTE, N_("Replace app- by what the names of your groups begin with.")),
                ),
            ),
            (_PEOPLE, (Step(OPEN, "Assignments > Assign"), _SELF)),
            (_THEIRS, (Step(OPEN, "Sign On"), Step(COPY, "Metadata URL"), _NEXT)),
        ),
        kind="saml",
        preset="okta",
        no_groups=N_("Okta: Sign On › Attribute Statements, a statement named groups."),
    ),
    (SetupProvider.ENTRA, Protocol.OIDC): Guide(
        date(2026, 9, 1),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "entra.microsoft.com > Entra ID > App registrations"),
                    Step(NOTE, N_("In older consoles: Identity › Applications.")),
                    Step(CHOOSE, "New registration"),
                    Step(CHOOSE, "Single tenant only"),
                ),
            ),
            (
                _OURS,
                (
                    Step(CHOOSE, "Redirect URI: Web"),
                    Step(PASTE, "Redirect URI", "redirect_uri"),
                    Step(CHOOSE, "Register"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(OPEN, "Token configuration"),
                    Step(CHOOSE, "Add optional claim > ID > email > Add"),
                    Step(CHOOSE, "Add groups claim > Groups assigned to the application"),
                    Step(CHOOSE, "ID: Group ID > Add"),
                    Step(NOTE, _ENTRA_GROUPS),
                ),
            ),
            (_PEOPLE, _ENTRA_ASSIGN),
            (
                _THEIRS,
                (
                    Step(OPEN, "Entra ID > App registrations > your app > Overview"),
                    Step(COPY, "Application (client) ID"),
                    Step(COPY, "Directory (tenant) ID"),
                    Step(OPEN, "Certificates & secrets > Client secrets > New client secret"),
                    Step(COPY, "Value"),
                    Step(NOTE, N_("Copy the Value, not the Secret ID. It is shown once.")),
                    _NEXT,
                ),
            ),
        ),
        kind="entra",
        issuer="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/v2.0",
        no_groups=N_("Entra ID: Token configuration › Add groups claim, and assign the groups."),
    ),
    (SetupProvider.ENTRA, Protocol.SAML): Guide(
        date(2026, 8, 1),
        _screens(
            (_CREATE, _ENTRA_GALLERY),
            (
                _OURS,
                (
                    Step(OPEN, "Single sign-on > SAML > Basic SAML Configuration > Edit"),
                    Step(PASTE, "Identifier (Entity ID)", "entity_id"),
                    Step(PASTE, "Reply URL (Assertion Consumer Service URL)", "acs"),
                    Step(CHOOSE, "Save"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(OPEN, "Attributes & Claims > Edit"),
                    Step(CHOOSE, "Add a group claim > Groups assigned to the application"),
                    Step(NOTE, _ENTRA_GROUPS),
                    _NOTHING_ELSE,
                ),
            ),
            (_PEOPLE, _ENTRA_ASSIGN),
            (
                _THEIRS,
                (
                    Step(OPEN, "Single sign-on > SAML Certificates"),
                    Step(COPY, "App Federation Metadata Url"),
                    _NEXT,
                ),
            ),
        ),
        kind="saml",
        preset="entra",
        no_groups=N_("Entra ID: Attributes and Claims › Add a group claim, and assign the groups."),
    ),
    (SetupProvider.GOOGLE, Protocol.SAML): Guide(
        date(2026, 8, 1),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "admin.google.com > Apps > Web and mobile apps"),
                    Step(CHOOSE, "Add app > Add custom SAML app"),
                    Step(COPY, "Download Metadata"),
                    Step(NOTE, N_("You need the role of a super administrator.")),
                    Step(CHOOSE, "Continue"),
                ),
            ),
            (
                _OURS,
                (
                    Step(PASTE, "ACS URL", "acs"),
                    Step(PASTE, "Entity ID", "entity_id"),
                    Step(CHOOSE, "Name ID format: EMAIL > Continue"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(ENTER, "Primary email", "email"),
                    Step(ENTER, "Group membership (optional) > App attribute", "groups"),
                    Step(CHOOSE, "Finish"),
                    Step(NOTE, N_("Pick the groups one by one, 75 at most.")),
                ),
            ),
            (
                _PEOPLE,
                (
                    Step(OPEN, "User access > View details"),
                    Step(CHOOSE, "ON for everyone > Save"),
                    Step(NOTE, N_("It takes some minutes until Google obeys.")),
                ),
            ),
        ),
        kind="saml",
        preset="google",
        no_groups=N_("Google: the app's SAML attribute mapping › Group membership."),
    ),
    (SetupProvider.GOOGLE, Protocol.OIDC): Guide(
        date(2026, 3, 1),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "console.cloud.google.com > Google Auth Platform > Get started"),
                    Step(CHOOSE, "Audience: Internal"),
                    Step(OPEN, "Clients > Create client > Web application"),
                ),
            ),
            (
                _OURS,
                (
                    Step(PASTE, "Authorized redirect URIs > Add URI", "redirect_uri"),
                    Step(CHOOSE, "Create"),
                ),
            ),
            (
                _THEIRS,
                (
                    Step(COPY, "Client ID"),
                    Step(COPY, "Client Secret"),
                    Step(NOTE, N_("Google sends no groups this way: everybody of your domain.")),
                    _NEXT,
                ),
            ),
        ),
        kind="google",
        issuer="https://accounts.google.com",
        no_groups=N_("Google sends no groups over OpenID Connect. Use SAML, or allow everybody."),
    ),
    (SetupProvider.ONELOGIN, Protocol.OIDC): Guide(
        date(2026, 8, 1),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "Applications > Applications > Add App"),
                    Step(CHOOSE, "OpenId Connect (OIDC) > Save"),
                ),
            ),
            (
                _OURS,
                (
                    Step(OPEN, "Configuration"),
                    Step(PASTE, "Redirect URI's", "redirect_uri"),
                    Step(OPEN, "SSO"),
                    Step(CHOOSE, "Token Endpoint: POST"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(OPEN, "Parameters > Groups"),
                    Step(CHOOSE, "User Roles, Semicolon Delimited input (Multi-value output)"),
                    Step(OPEN, "Access"),
                    _SELF,
                ),
            ),
            (
                _THEIRS,
                (
                    Step(OPEN, "SSO"),
                    Step(COPY, "Client ID"),
                    Step(COPY, "Show client secret"),
                    Step(COPY, "Issuer URL"),
                    _NEXT,
                ),
            ),
        ),
        preset="onelogin",
        issuer=ISSUERS[OidcPreset.ONELOGIN],
        no_groups=N_("OneLogin: Parameters › Groups. Groups are the names of your roles."),
    ),
    (SetupProvider.ONELOGIN, Protocol.SAML): Guide(
        date(2026, 7, 27),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "Applications > Applications > Add App"),
                    Step(CHOOSE, "SAML Custom Connector (Advanced) > Save"),
                ),
            ),
            (
                _OURS,
                (
                    Step(OPEN, "Configuration"),
                    Step(PASTE, "Audience (EntityID)", "entity_id"),
                    Step(PASTE, "Recipient", "acs"),
                    Step(PASTE, "ACS (Consumer) URL Validator", "acs_pattern"),
                    Step(PASTE, "ACS (Consumer) URL", "acs"),
                    Step(CHOOSE, "SAML initiator: Service Provider"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(OPEN, "Parameters > +"),
                    Step(ENTER, "Field name", "groups"),
                    Step(CHOOSE, "Include in SAML assertion, Multi-value parameter"),
                    Step(CHOOSE, "Value: User Roles"),
                    Step(NOTE, N_("Add a parameter email with the value Email likewise.")),
                ),
            ),
            (_THEIRS, (Step(OPEN, "SSO"), Step(COPY, "Issuer URL"), _NEXT)),
        ),
        kind="saml",
        preset="onelogin",
    ),
    (SetupProvider.PINGONE, Protocol.OIDC): Guide(
        date(2026, 7, 27),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "Applications > Applications > +"),
                    Step(CHOOSE, "OIDC Web App > Save"),
                ),
            ),
            (
                _OURS,
                (
                    Step(OPEN, "Configuration"),
                    Step(PASTE, "Redirect URIs", "redirect_uri"),
                    Step(CHOOSE, "Token Auth Method: Client Secret Post"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(OPEN, "Attribute Mappings > Add"),
                    Step(ENTER, "groups", "Group Names"),
                    Step(NOTE, N_("Switch the application on with its toggle.")),
                ),
            ),
            (
                _THEIRS,
                (
                    Step(OPEN, "Overview"),
                    Step(COPY, "Client ID"),
                    Step(COPY, "Client Secret"),
                    Step(COPY, "Issuer ID"),
                    _NEXT,
                ),
            ),
        ),
        preset="pingone",
        issuer=ISSUERS[OidcPreset.PINGONE],
    ),
    (SetupProvider.PINGONE, Protocol.SAML): Guide(
        date(2026, 7, 27),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "Applications > Applications > +"),
                    Step(CHOOSE, "SAML Application > Configure"),
                ),
            ),
            (
                _OURS,
                (Step(PASTE, "ACS URLs", "acs"), Step(PASTE, "Entity ID", "entity_id")),
            ),
            (
                _GROUPS,
                (
                    Step(OPEN, "Attribute Mappings > Add"),
                    Step(ENTER, "email", "Email Address"),
                    Step(ENTER, "groups", "Group Names"),
                    Step(NOTE, N_("Switch the application on with its toggle.")),
                ),
            ),
            (_THEIRS, (Step(OPEN, "Configuration"), Step(COPY, "Download Metadata"), _NEXT)),
        ),
        kind="saml",
        preset="ping",
    ),
    (SetupProvider.JUMPCLOUD, Protocol.OIDC): Guide(
        date(2026, 7, 27),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "Access > SSO Applications > Add New Application"),
                    Step(CHOOSE, "Custom OIDC App > Configure Application > SSO"),
                ),
            ),
            (
                _OURS,
                (
                    Step(PASTE, "Redirect URIs", "redirect_uri"),
                    Step(CHOOSE, "Client Authentication Type: Client Secret POST"),
                    Step(CHOOSE, "Standard Scopes: Email, Profile"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(CHOOSE, "include group attribute"),
                    Step(ENTER, "Groups Attribute Name", "groups"),
                    Step(OPEN, "User Groups"),
                    _SELF,
                ),
            ),
            (
                _THEIRS,
                (
                    Step(CHOOSE, "Activate"),
                    Step(COPY, "Client ID"),
                    Step(COPY, "Client Secret"),
                    Step(NOTE, N_("Both are shown once.")),
                    _NEXT,
                ),
            ),
        ),
        preset="jumpcloud",
        issuer=ISSUERS[OidcPreset.JUMPCLOUD],
    ),
    (SetupProvider.JUMPCLOUD, Protocol.SAML): Guide(
        date(2026, 7, 27),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "Access > SSO Applications > Add New Application"),
                    Step(CHOOSE, "Custom SAML App > Configure Application > SSO"),
                ),
            ),
            (
                _OURS,
                (
                    Step(PASTE, "SP Entity ID", "entity_id"),
                    Step(PASTE, "ACS URLs > Default URL", "acs"),
                    Step(CHOOSE, "Declare Redirect Endpoint"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(ENTER, "Service Provider Attribute Name (email)", "email"),
                    Step(ENTER, "include group attribute", "groups"),
                    Step(OPEN, "User Groups"),
                    _SELF,
                ),
            ),
            (_THEIRS, (Step(COPY, "Copy Metadata URL"), _NEXT)),
        ),
        kind="saml",
        preset="jumpcloud",
    ),
    (SetupProvider.KEYCLOAK, Protocol.OIDC): Guide(
        date(2026, 8, 1),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "Clients > Create client"),
                    Step(CHOOSE, "Client authentication: On"),
                ),
            ),
            (_OURS, (Step(PASTE, "Valid redirect URIs", "redirect_uri"), Step(CHOOSE, "Save"))),
            (
                _GROUPS,
                (
                    Step(OPEN, "Client scopes > …-dedicated > Add mapper > By configuration"),
                    Step(CHOOSE, "Group Membership"),
                    Step(ENTER, "Token Claim Name", "groups"),
                    Step(CHOOSE, "Full group path: Off"),
                    Step(CHOOSE, "Add to ID token: On"),
                ),
            ),
            (
                _THEIRS,
                (
                    Step(OPEN, "Settings"),
                    Step(COPY, "Client ID"),
                    Step(OPEN, "Credentials"),
                    Step(COPY, "Client Secret"),
                    _NEXT,
                ),
            ),
        ),
        preset="keycloak",
        issuer=ISSUERS[OidcPreset.KEYCLOAK],
    ),
    (SetupProvider.KEYCLOAK, Protocol.SAML): Guide(
        date(2026, 8, 1),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "Clients > Create client"),
                    Step(CHOOSE, "Client type: SAML"),
                    Step(PASTE, "Client ID", "entity_id"),
                ),
            ),
            (
                _OURS,
                (
                    Step(PASTE, "Valid redirect URIs", "acs"),
                    Step(OPEN, "Keys"),
                    Step(CHOOSE, "Client signature required: Off"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(OPEN, "Client scopes > …-dedicated > Add mapper > By configuration"),
                    Step(CHOOSE, "Group list"),
                    Step(ENTER, "Group attribute name", "groups"),
                    Step(CHOOSE, "Full group path: Off"),
                ),
            ),
            (
                _THEIRS,
                (
                    Step(NOTE, N_("The metadata URL ends in /protocol/saml/descriptor.")),
                    _NEXT,
                ),
            ),
        ),
        kind="saml",
        preset="keycloak",
    ),
    (SetupProvider.AUTH0, Protocol.OIDC): Guide(
        date(2026, 8, 20),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "Applications > Create Application"),
                    Step(CHOOSE, "Regular Web Applications > Create"),
                ),
            ),
            (
                _OURS,
                (
                    Step(OPEN, "Settings"),
                    Step(PASTE, "Allowed Callback URLs", "redirect_uri"),
                    Step(OPEN, "Credentials"),
                    Step(CHOOSE, "Client Secret (Post)"),
                ),
            ),
            (
                _THEIRS,
                (
                    Step(OPEN, "Settings"),
                    Step(COPY, "Domain"),
                    Step(COPY, "Client ID"),
                    Step(COPY, "Client Secret"),
                    _NEXT,
                ),
            ),
        ),
        preset="auth0",
        issuer=ISSUERS[OidcPreset.AUTH0],
        no_groups=N_("Auth0: a Login Action that sets a claim for groups. Ask us for its name."),
    ),
    (SetupProvider.ADFS, Protocol.SAML): Guide(
        date(2026, 7, 27),
        _screens(
            (
                _CREATE,
                (
                    Step(OPEN, "Server Manager > Tools > AD FS Management"),
                    Step(OPEN, "Relying Party Trusts > Add Relying Party Trust > Claims aware"),
                ),
            ),
            (
                _OURS,
                (
                    Step(CHOOSE, "Enable support for the SAML 2.0 WebSSO protocol"),
                    Step(PASTE, "Relying party SAML 2.0 SSO service URL", "acs"),
                    Step(PASTE, "Relying party trust identifier", "entity_id"),
                ),
            ),
            (
                _GROUPS,
                (
                    Step(OPEN, "Edit Claim Issuance Policy > Add Rule"),
                    Step(CHOOSE, "Send LDAP Attributes as Claims"),
                    Step(ENTER, "E-Mail-Addresses", "E-Mail Address"),
                    Step(ENTER, "Token-Groups - Unqualified Names", "groups"),
                    Step(CHOOSE, "Add Rule > Transform an Incoming Claim"),
                    Step(ENTER, "E-Mail Address", "Name ID, format Email"),
                ),
            ),
            (
                _THEIRS,
                (
                    Step(COPY, "/FederationMetadata/2007-06/FederationMetadata.xml"),
                    Step(NOTE, N_("Mostly it is reached inside your network only: paste it.")),
                    _NEXT,
                ),
            ),
        ),
        kind="saml",
        preset="adfs",
    ),
    (SetupProvider.OTHER, Protocol.OIDC): Guide(
        date(2026, 11, 29),
        _screens(
            (
                _CREATE,
                (
                    Step(NOTE, N_("Create a web application for OpenID Connect with a secret.")),
                    Step(PASTE, "Redirect URI", "redirect_uri"),
                    Step(NOTE, N_("The token endpoint takes the secret in the body (POST).")),
                ),
            ),
            (
                _GROUPS,
                (Step(NOTE, N_("Send the claims email and groups in the ID token.")), _SELF),
            ),
            (
                _THEIRS,
                (
                    Step(COPY, "Issuer"),
                    Step(COPY, "Client ID"),
                    Step(COPY, "Client secret"),
                    _NEXT,
                ),
            ),
        ),
        issuer=ISSUERS[OidcPreset.OTHER],
    ),
    (SetupProvider.OTHER, Protocol.SAML): Guide(
        date(2026, 11, 29),
        _screens(
            (
                _CREATE,
                (
                    Step(NOTE, N_("Create an application for SAML 2.0.")),
                    Step(PASTE, "ACS URL", "acs"),
                    Step(PASTE, "Entity ID", "entity_id"),
                    _SP_METADATA,
                ),
            ),
            (
                _GROUPS,
                (Step(NOTE, N_("Send the attributes email and groups.")), _SELF),
            ),
            (_THEIRS, (Step(COPY, "Metadata URL"), _NEXT)),
        ),
        kind="saml",
    ),
}


def guide_of(provider: str, protocol: str) -> Guide | None:
    """Of names from a form; None for what is none of ours."""
    if provider not in set(SetupProvider) or protocol not in set(Protocol):
        return None
    return GUIDES.get((SetupProvider(provider), Protocol(protocol)))


def protocols_of(provider: SetupProvider) -> tuple[Protocol, ...]:
    """The suggested one first."""
    protocols = [protocol for protocol in Protocol if (provider, protocol) in GUIDES]
    return tuple(sorted(protocols, key=lambda protocol: protocol is not SUGGESTED[provider]))
