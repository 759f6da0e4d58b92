"""Which part of a tenant document is changed on which form: every field, once. Labels are texts of
the catalogs; in code font beside them stands the field's own name, as in a tenant file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, get_args

from gateway.console.fields import Field, Kind
from gateway.console.texts import N_
from gateway.core.hook_target import WebhookEvent
from gateway.core.model import EmailTrust, ProviderKind

if TYPE_CHECKING:
    from collections.abc import Mapping

_NONE: Final = ("", N_("the default"))


@dataclass(frozen=True, slots=True)
class Section:
    """One form. ``optional``: an object of the document that is there only where one of its
    ``keys`` is.
    """

    name: str
    label: str
    fields: tuple[Field, ...]
    optional: str = ""
    keys: tuple[str, ...] = ("url",)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(one.path for one in self.fields)


GENERAL: Final = Section(
    "general",
    N_("General"),
    (
        Field("name", N_("Name"), required=True),
        Field(
            "hosts",
            N_("Hosts"),
            Kind.LINES,
            N_("One a line, for example app.example.com or *.app.example.com."),
            empty=(),
        ),
        Field(
            "email_domains",
            N_("E-mail domains"),
            Kind.LINES,
            N_("One a line. Whoever signs in has an address of one of them."),
            empty=(),
        ),
        Field(
            "default_provider",
            N_("Provider that is used without a choice"),
            help=N_("The name of one of the providers; empty: people choose."),
        ),
        Field(
            "fallback_providers",
            N_("Providers to fall back on"),
            Kind.LINES,
            N_("Names, one a line: offered for addresses of no provider."),
            empty=(),
        ),
        Field(
            "contacts",
            N_("Contacts"),
            Kind.LINES,
            N_("Addresses, one a line: told before a secret or certificate ends."),
            empty=(),
        ),
    ),
)
STATE: Final = Section(
    "state",
    N_("State"),
    (Field("active", N_("Active: people may sign in"), Kind.SWITCH),),
)
CLIENT: Final = Section(
    "client",
    N_("App client"),
    (
        Field(
            "client",
            N_("Who keeps the app client"),
            Kind.CHOICE,
            options=(("", N_("you: type its ID and secret")), ("managed", N_("the gateway"))),
        ),
        Field("client_id", N_("Client ID")),
        Field("client_secret", N_("Client secret"), Kind.SECRET),
        Field("pool", N_("User pool"), help=N_("One of cognito.pools; empty: as it is now.")),
        Field("scopes", N_("Scopes"), Kind.LINES, N_("One a line; openid is one."), empty=()),
    ),
)
PASSWORDS: Final = Section(
    "passwords",
    N_("Passwords of the pool"),
    (
        Field(
            "password_client.client",
            N_("Who keeps the app client"),
            Kind.CHOICE,
            N_("For rules with basic: cognito. The gateway makes it with the next provisioning."),
            options=(("", N_("you: type its ID and secret")), ("managed", N_("the gateway"))),
        ),
        Field("password_client.client_id", N_("Client ID")),
        Field("password_client.client_secret", N_("Client secret"), Kind.SECRET),
        Field(
            "password_client.secret",
            N_("With a secret"),
            Kind.SWITCH,
            N_("Of one that the gateway makes. Without, everybody can try passwords with it."),
            empty=True,
        ),
    ),
    optional="password_client",
    keys=("client", "client_id"),
)
ACCESS: Final = Section(
    "groups",
    N_("Groups and roles"),
    (
        Field(
            "allowed_groups",
            N_("Allowed groups"),
            Kind.NAMES,
            N_("One a line, exactly as the provider sends them. Nobody comes in by an empty list."),
        ),
        Field(
            "allowed_roles",
            N_("Allowed roles"),
            Kind.NAMES,
            N_("One a line, exactly as the provider sends them. Nobody comes in by an empty list."),
        ),
    ),
)
HEADERS: Final = Section(
    "headers",
    N_("Headers and cookies"),
    (
        Field(
            "headers",
            N_("Headers from claims"),
            Kind.PAIRS,
            N_("One a line, for example X-Department: claim:custom:department."),
        ),
        Field(
            "app_cookies",
            N_("Cookies of the app that end with a session"),
            Kind.LINES,
            N_("One a line."),
            empty=(),
        ),
        Field(
            "clear_domain_cookies",
            N_("Also clear them for the domains above"),
            Kind.SWITCH,
        ),
        Field("paths.ignore_case", N_("The app ignores case in paths"), Kind.SWITCH),
        Field("paths.windows", N_("The app reads paths as Windows does"), Kind.SWITCH),
        Field("paths.unicode", N_("The app folds Unicode in paths"), Kind.SWITCH),
        Field("paths.suffixes", N_("The app ignores suffixes of paths"), Kind.SWITCH),
    ),
)
SESSIONS: Final = Section(
    "sessions",
    N_("Sessions"),
    (
        Field(
            "session.idle_timeout",
            N_("Ends without a request after"),
            help=N_("A duration such as 30m or 12h; empty: as the gateway has it."),
        ),
        Field(
            "session.max_lifetime",
            N_("Ends at the latest after"),
            help=N_("A duration such as 30m or 12h; empty: as the gateway has it."),
        ),
        Field("session.max_per_user", N_("Sessions of one person"), Kind.NUMBER),
        Field(
            "session.idle_counts.exclude",
            N_("Paths whose requests keep no session alive"),
            Kind.LINES,
            N_("One a line."),
            empty=(),
        ),
        Field("session.idle_counts.websocket", N_("An open WebSocket counts for")),
        Field("app_passwords.lifetime", N_("App passwords end after")),
        Field("app_passwords.login_within", N_("App passwords need a sign-in within")),
        Field("app_passwords.max_per_user", N_("App passwords of one person"), Kind.NUMBER),
    ),
)
WEBHOOK: Final = Section(
    "webhook",
    N_("Webhook"),
    (
        Field(
            "webhook.url",
            N_("Address"),
            help=N_("Where the app hears of its people; empty: it hears nothing."),
        ),
        Field("webhook.secret", N_("Secret"), Kind.SECRET),
        Field("webhook.previous_secret", N_("Previous secret"), Kind.SECRET),
        Field(
            "webhook.events",
            N_("Events"),
            Kind.LINES,
            N_("One a line; empty: all but user.signed_in."),
        ),
        Field(
            "webhook.format",
            N_("Format"),
            Kind.CHOICE,
            options=(("standard", "standard"), ("cloudevents", "cloudevents")),
        ),
    ),
    optional="webhook",
)
BRANDING: Final = Section(
    "branding",
    N_("Look of the pages"),
    (
        Field("branding.logo", N_("Logo"), help=N_("An https address."), empty=""),
        Field("branding.color", N_("Color"), help=N_("For example #0b5fff.")),
        Field("branding.support", N_("Whom to ask for help"), empty=""),
        Field(
            "branding.group_labels",
            N_("What people read for a group"),
            Kind.PAIRS,
            N_("One a line: GROUP = TEXT."),
            between=" = ",
        ),
    ),
)
PROVIDER: Final = Section(
    "provider",
    N_("Provider"),
    (
        Field("name", N_("Name"), help=N_("As Cognito knows it."), required=True),
        Field(
            "kind",
            N_("Kind"),
            Kind.CHOICE,
            options=tuple((str(kind), str(kind)) for kind in ProviderKind),
        ),
        Field("label", N_("Text of its button"), empty=""),
        Field("issuer", N_("Issuer"), help=N_("Not of kind saml.")),
        Field("entity_id", N_("Entity ID"), help=N_("Of kind saml.")),
        Field("active", N_("Active: people may sign in"), Kind.SWITCH),
        Field("hidden", N_("Not shown where people choose"), Kind.SWITCH),
        Field(
            "domains",
            N_("Domains"),
            Kind.LINES,
            N_("One a line; empty: those of the tenant that no other provider has."),
        ),
        Field(
            "groups",
            N_("Required groups"),
            Kind.NAMES,
            N_("One a line, in addition to the tenant's."),
        ),
        Field(
            "roles",
            N_("Required roles"),
            Kind.NAMES,
            N_("One a line, in addition to the tenant's."),
        ),
        Field(
            "email_trust",
            N_("Why its e-mail addresses are believed"),
            Kind.CHOICE,
            options=(_NONE, *((str(one), str(one)) for one in EmailTrust)),
        ),
        Field("url_decode_groups", N_("Groups arrive URL-encoded"), Kind.SWITCH),
        Field("members_only", N_("Only members of the tenant's group in the pool"), Kind.SWITCH),
        Field("secret_expires", N_("Client secret ends on"), Kind.DATE),
        Field(
            "accounts",
            N_("Accounts"),
            Kind.JSON,
            N_(
                "Of social providers: who of their people is the tenant's. A JSON list of id,"
                " email, groups, roles."
            ),
            empty=(),
        ),
        Field("hooks.secrets", N_("Secrets of its hooks"), Kind.SECRETS),
        Field("hooks.secrets_expire", N_("Secrets of its hooks end on"), Kind.DATE),
        Field("hooks.directory_id", N_("Directory ID")),
        Field("hooks.client_id", N_("Client ID of the directory")),
        Field("hooks.client_secret", N_("Client secret of the directory"), Kind.SECRET),
        Field(
            "hooks.client_secret_expires", N_("Client secret of the directory ends on"), Kind.DATE
        ),
        Field("hooks.audience", N_("Audience of signed events")),
        Field("hooks.api_token", N_("Okta API token"), Kind.SECRET),
        Field("hooks.service_account", N_("Key of a Google service account"), Kind.SECRET),
        Field("hooks.admin_email", N_("Administrator for whom it reads")),
        Field("hooks.api_url", N_("Address of the directory's API")),
    ),
)
CREATE: Final = Section(
    "create",
    N_("New tenant"),
    (
        Field(
            "id",
            N_("Tenant ID"),
            help=N_("Lower-case letters, digits and dashes. It cannot be changed later."),
            required=True,
        ),
        *GENERAL.fields[:3],
        ACCESS.fields[0],
        *CLIENT.fields[:3],
        *(replace(one, path=f"provider.{one.path}") for one in PROVIDER.fields[:5]),
        *STATE.fields,
    ),
)
"""What a tenant cannot be without."""
SECTIONS: Final[Mapping[str, Section]] = {
    one.name: one
    for one in (
        GENERAL,
        STATE,
        ACCESS,
        CLIENT,
        PASSWORDS,
        HEADERS,
        SESSIONS,
        WEBHOOK,
        BRANDING,
    )
}
"""Forms of the document itself; providers and rules have forms of their own."""
EVENTS: Final = tuple(sorted(get_args(WebhookEvent)))


def new_document(form: Mapping[str, Any]) -> dict[str, Any]:
    """The document of what ``CREATE`` asks for."""
    document = {name: value for name, value in form.items() if name != "provider"}
    return {**document, "providers": [form["provider"]]}


def optional_left_out(section: Section, document: dict[str, Any]) -> dict[str, Any]:
    """Without the object that the form leaves empty."""
    name = section.optional
    value = document.get(name) or {}
    if name and not any(value.get(key) for key in section.keys):
        return {**document, name: None}
    return document
