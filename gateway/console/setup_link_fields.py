"""What is asked for a new setup link. Labels are texts of the catalogs."""

from __future__ import annotations

from typing import Final

from gateway.console.fields import Field, Kind
from gateway.console.texts import N_
from gateway.setup.model import Approval, Part, SetupProvider

DAY_S: Final = 86_400
DEFAULTS: Final = {"parts": [Part.SIGN_IN], "expires_in": str(7 * DAY_S), "language": "en"}
TENANT: Final = Field("tenant_id", N_("Tenant ID"), required=True)
FIELDS: Final = (
    Field(
        "parts",
        N_("What the link is for"),
        Kind.SEVERAL,
        options=(
            (Part.SIGN_IN, N_("connect an identity provider")),
            (Part.ACCESS, N_("choose the groups that get in")),
            (Part.OFFBOARDING, N_("set up removals: hooks or SCIM")),
            (Part.DOMAINS, N_("prove e-mail domains")),
            (Part.MAINTAIN, N_("look after the connection")),
            (Part.RENEW, N_("renew the secret or the metadata of a live connection")),
        ),
    ),
    Field(
        "recipients",
        N_("Recipients"),
        Kind.LINES,
        N_("Their e-mail addresses, one a line, at most three."),
        empty=(),
        required=True,
    ),
    Field(
        "language",
        N_("Language"),
        Kind.CHOICE,
        options=(("en", "English"), ("de", "Deutsch"), ("fr", "Français"), ("es", "Español")),
    ),
    Field(
        "expires_in",
        N_("Lifetime"),
        Kind.CHOICE,
        options=(
            (str(DAY_S), N_("1 day")),
            (str(7 * DAY_S), N_("7 days")),
            (str(30 * DAY_S), N_("30 days")),
        ),
    ),
    Field(
        "approval",
        N_("Approval"),
        Kind.CHOICE,
        N_("Who lets people sign in with what was connected."),
        options=(
            ("", N_("as the configuration says")),
            (Approval.REQUIRED, N_("an operator")),
            (Approval.OTHER_PERSON, N_("an operator who did not make the link")),
            (Approval.NONE, N_("nobody: the recipient goes live")),
        ),
    ),
    Field(
        "providers",
        N_("Guides that are offered"),
        Kind.SEVERAL,
        N_("None: all of them."),
        options=tuple((one, "") for one in SetupProvider),
    ),
    Field("note", N_("Note"), help=N_("For operators; the recipient does not see it.")),
)
NEW_TENANT: Final = (
    Field("tenant.name", N_("Name")),
    Field(
        "tenant.hosts",
        N_("Hosts"),
        Kind.LINES,
        N_("One a line, for example app.example.com or *.app.example.com."),
        empty=(),
    ),
    Field("tenant.email_domains", N_("E-mail domains"), Kind.LINES, N_("One a line."), empty=()),
    Field(
        "tenant.groups",
        N_("Groups"),
        Kind.LINES,
        N_("Who gets in, one a line. Empty where the recipient chooses them."),
    ),
)
"""Of a tenant that does not exist yet."""
CONNECTION: Final = (
    Field(
        "connection.email_domains",
        N_("E-mail domains"),
        Kind.LINES,
        N_("Of those who sign in with the new provider, one a line."),
        empty=(),
    ),
    Field(
        "connection.groups",
        N_("Groups"),
        Kind.LINES,
        N_("Who gets in with it. Empty: the recipient chooses, or the tenant's groups count."),
    ),
)
"""Of a provider that a tenant gets beside those that it has."""
