"""What a person is told: for every reason and every login error a title, what happened, and what to
do.

Rules:
- Addressed to somebody who wants to work, not to run a gateway: no term that only an operator
  knows.
- Nothing here depends on what a URL says.
- English here is the message id of the catalogs in ``locale/``; a text is looked up when its page
  is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gateway.core.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Text:
    """Message ids. ``again``: whether trying the login again can help, so whether the page offers
    it. ``click``: whether ``do`` speaks of that link. ``start``: whether it speaks of the
    application's start page. ``help``: whether it says to ask somebody; ``access``: for access.
    """

    title: str
    happened: str
    do: str
    again: bool = True
    click: bool = False
    start: bool = False
    help: bool = False
    access: bool = False


def N_(message: str) -> str:  # noqa: N802 - the name gettext tools look for
    """Mark for extraction."""
    return message


MONTHS: Final = (
    N_("Jan"),
    N_("Feb"),
    N_("Mar"),
    N_("Apr"),
    N_("May"),
    N_("Jun"),
    N_("Jul"),
    N_("Aug"),
    N_("Sep"),
    N_("Oct"),
    N_("Nov"),
    N_("Dec"),
)
"""Short, as in a date. Most people read a date of the browser's own instead: ``static/page.js``."""

_WRONG_SET_UP = Text(
    N_("Sign-in is not set up correctly"),
    N_(
        "Your organization's sign-in and this application do not fit together. It is not "
        "your fault, and your password is fine."
    ),
    N_(
        "Please tell your support contact, and give them the request ID below: the "
        "gateway's log names the cause."
    ),
    help=True,
)
_NOT_ASSIGNED = Text(
    N_("Your organization has not given you access"),
    N_("Your organization's sign-in knows you, but this application is not assigned to you."),
    N_("Ask your IT department to assign the application to you, then sign in again."),
    help=True,
)
_DISABLED = Text(
    N_("Your account is disabled"),
    N_("You signed in, but your account for this application is disabled."),
    N_(
        "If it was enabled again a moment ago, wait a minute and try again. Otherwise ask "
        "your support contact."
    ),
    help=True,
)
_NO_ANSWER = Text(
    N_("The sign-in service did not answer"),
    N_("Your organization's sign-in or the service behind it did not answer in time."),
    N_(
        "Wait a minute and try again. If it goes on, tell your support contact the request "
        "ID below."
    ),
    help=True,
)

REASONS: Final[Mapping[Reason, Text]] = {
    Reason.OK: Text(
        N_("You have access"),
        N_("You are signed in and may use this page."),
        N_("Go on to the application."),
    ),
    Reason.PUBLIC: Text(
        N_("This page is public"),
        N_("This page can be opened without signing in."),
        N_("Go on to the application."),
    ),
    Reason.BEARER: Text(
        N_("A program has access"),
        N_("A program signed in with its own token."),
        N_("There is nothing to do."),
    ),
    Reason.APP_PASSWORD: Text(
        N_("A program of yours has access"),
        N_("A program signed in with an app password."),
        N_("There is nothing to do."),
    ),
    Reason.POOL_PASSWORD: Text(
        N_("A program of yours has access"),
        N_("A program signed in with your user name and password."),
        N_("There is nothing to do."),
    ),
    Reason.NO_SESSION: Text(
        N_("Please sign in"), N_("You are not signed in here."), N_("Sign in to go on."), click=True
    ),
    Reason.SESSION_EXPIRED: Text(
        N_("Please sign in again"),
        N_("You have been signed in for as long as your organization permits."),
        N_("Sign in again to go on."),
        click=True,
    ),
    Reason.SESSION_IDLE: Text(
        N_("Please sign in again"),
        N_("You were signed out because the application was not used for a while."),
        N_("Sign in again to go on."),
        click=True,
    ),
    Reason.SESSION_REVOKED: Text(
        N_("You were signed out"),
        N_(
            "Your session was ended: by you in another window, by your organization, or by "
            "an administrator."
        ),
        N_("Sign in again. If that is refused, ask your support contact."),
        help=True,
    ),
    Reason.WRONG_TENANT: Text(
        N_("You are signed in for another organization"),
        N_("This address belongs to an organization other than the one you are signed in for."),
        N_("Sign in with an account of this organization."),
    ),
    Reason.WRONG_HOST: Text(
        N_("Please sign in here"),
        N_("Your session belongs to another address."),
        N_("Sign in to go on."),
        click=True,
    ),
    Reason.TENANT_INACTIVE: Text(
        N_("Access is switched off for this organization"),
        N_("This organization's access to the application is switched off at the moment."),
        N_("Ask your support contact when it will be available again."),
        again=False,
        help=True,
    ),
    Reason.PROVIDER_INACTIVE: Text(
        N_("This way to sign in is switched off"),
        N_("Your organization's sign-in that you used is switched off at the moment."),
        N_("Sign in in another way, if one is offered, or ask your support contact."),
        help=True,
    ),
    Reason.UNKNOWN_HOST: Text(
        N_("Nothing is served at this address"),
        N_("No organization uses this address."),
        N_(
            "Check the address for typing mistakes, or use the link that your organization "
            "gave you."
        ),
        again=False,
    ),
    Reason.GROUP_MISSING: Text(
        N_("You do not have access to this page"),
        N_("You are signed in, but you are not in a group that may use this page."),
        N_("Ask for membership in one of the groups named here, then sign out and in again."),
        help=True,
        access=True,
    ),
    Reason.ROLE_MISSING: Text(
        N_("You do not have access to this page"),
        N_("You are signed in, but you do not have a role that may use this page."),
        N_("Ask for one of the roles named here, then sign out and in again."),
        help=True,
        access=True,
    ),
    Reason.EMAIL_DOMAIN: Text(
        N_("This account can't access this organization"),
        N_("You signed in, but your e-mail address does not belong to this organization."),
        N_("Sign in with your work account of this organization."),
    ),
    Reason.EMAIL_UNTRUSTED: Text(
        N_("Your e-mail address is not confirmed"),
        N_(
            "You signed in, but your e-mail address is missing, is not confirmed or cannot be read."
        ),
        N_(
            "Confirm your address with the service you signed in with, or ask your IT "
            "department to correct it. Then try again."
        ),
        help=True,
    ),
    Reason.RULE_DENIED: Text(
        N_("This page is closed"),
        N_("Nobody may open this page through this address."),
        N_("If you need it, ask your support contact."),
        again=False,
        help=True,
        access=True,
    ),
    Reason.USER_BLOCKED: Text(
        N_("Your access is blocked"),
        N_("Your organization or an administrator has blocked your access."),
        N_("If you think this is a mistake, ask your support contact."),
        again=False,
        help=True,
    ),
    Reason.REAUTHENTICATE: Text(
        N_("Please confirm who you are"),
        N_(
            "Your earlier sessions were ended. Before you can sign in again, your organization's "
            "sign-in must confirm who you are. This sign-in does not show that it did."
        ),
        N_(
            "Sign out at your organization's sign-in, or close all windows of the browser, "
            "then sign in again."
        ),
    ),
    Reason.IDENTITY_TOO_LARGE: Text(
        N_("You are in too many groups"),
        N_(
            "The information about you that the application needs, mostly your groups, is too "
            "long to be sent. It is never shortened."
        ),
        N_("Ask your IT department to send only the groups that matter for this application."),
        help=True,
    ),
    Reason.BAD_REQUEST: Text(
        N_("This address cannot be read"),
        N_("The address or the request is malformed, or could be understood in two ways."),
        N_("Open the application from its start page, not from this link."),
        again=False,
        start=True,
    ),
    Reason.UNTRUSTED_PROXY: Text(
        N_("Direct access isn't allowed"),
        N_("The request did not come through the web server that protects this application."),
        N_(
            "Use the link that your organization gave you. If this goes on, tell your "
            "support contact."
        ),
        again=False,
        help=True,
    ),
    Reason.BEARER_INVALID: Text(
        N_("The access token is not accepted"),
        N_("The program's access token is invalid, expired or not meant for this address."),
        N_("Get a new token for this application and try again."),
        again=False,
    ),
    Reason.APP_PASSWORD_INVALID: Text(
        N_("The app password is not accepted"),
        N_("The program's app password has ended, was revoked or is not one of this application."),
        N_("Make a new app password on the page of your sessions and enter it in the program."),
        again=False,
    ),
    Reason.APP_PASSWORD_SCOPE: Text(
        N_("The app password is not for this address"),
        N_(
            "The program's app password is valid, but was made for other addresses of this "
            "application."
        ),
        N_(
            "Make an app password for this address on the page of your sessions, or use "
            "the address it was made for."
        ),
        again=False,
    ),
    Reason.LOGIN_TOO_OLD: Text(
        N_("Please sign in with a browser"),
        N_(
            "The program's app password is valid, but you have not signed in with a "
            "browser for some time."
        ),
        N_("Sign in to the application with a browser; then the program works again."),
    ),
    Reason.POOL_PASSWORD_INVALID: Text(
        N_("User name or password is not accepted"),
        N_("The program's user name or password is wrong, or the account is disabled."),
        N_("Sign in with a browser to try them, and correct them in the program."),
        again=False,
    ),
    Reason.NO_POOL_PASSWORD: Text(
        N_("This account has no password here"),
        N_("The account signs in with your organization, which alone knows its password."),
        N_("Make an app password on the page of your sessions and enter it in the program."),
        again=False,
    ),
    Reason.SECOND_FACTOR_REQUIRED: Text(
        N_("This account needs a second factor"),
        N_("The password is right, but a program cannot answer for your second factor."),
        N_("Make an app password on the page of your sessions and enter it in the program."),
        again=False,
    ),
    Reason.NEW_PASSWORD_REQUIRED: Text(
        N_("Please sign in with a browser"),
        N_("The account needs a new password, or is not confirmed yet."),
        N_("Sign in to the application with a browser; then the program works."),
    ),
    Reason.TOO_MANY_ATTEMPTS: Text(
        N_("Too many wrong passwords"),
        N_("Somebody has tried wrong passwords too often within the last minutes."),
        N_("Correct the password in the program, and wait a few minutes."),
        again=False,
    ),
    Reason.COGNITO_UNAVAILABLE: Text(
        N_("Passwords cannot be checked right now"),
        N_("The service that knows passwords does not answer."),
        N_("Try again in a moment."),
    ),
    Reason.STORE_UNAVAILABLE: Text(
        N_("Please try again in a moment"),
        N_("Your session cannot be looked up at the moment. You are still signed in."),
        N_("Wait a few seconds and load the page again."),
    ),
    Reason.IDP_ERROR: Text(
        N_("Sign-in did not work"),
        N_("Your organization's sign-in reported an error."),
        N_("Try again. If it goes on, tell your support contact the request ID below."),
        help=True,
    ),
    Reason.LOGIN_STATE: Text(
        N_("This sign-in is no longer valid"),
        N_("The sign-in was finished already, took too long, or began in another browser."),
        N_("Start again: it takes one click."),
        click=True,
    ),
    Reason.BROWSER_MISMATCH: Text(
        N_("This sign-in began in another browser"),
        N_(
            "It was canceled for your protection: if somebody else sent you the link, it "
            "could have signed them in as you."
        ),
        N_(
            "Start again here: it takes one click. If somebody sent you this link, tell "
            "your support contact."
        ),
        click=True,
        help=True,
    ),
    Reason.LOGIN_LOOP: Text(
        N_("Too many sign-in attempts"),
        N_("You were sent to sign in several times within a short time, and never arrived."),
        N_(
            "Check that your browser accepts cookies from this address, then try once "
            "more. If it goes on, tell your support contact the request ID below."
        ),
        help=True,
    ),
}

LOGIN_ERRORS: Final[Mapping[str, Text]] = {
    "redirect_uri": _WRONG_SET_UP,
    "scope": _WRONG_SET_UP,
    "not_assigned": _NOT_ASSIGNED,
    "consent": Text(
        N_("Your organization has not approved this application"),
        N_(
            "An administrator of your organization has to approve the application before "
            "anybody can sign in."
        ),
        N_("Ask your IT department to approve it, then try again."),
        help=True,
    ),
    "idp_client": _WRONG_SET_UP,
    "idp_redirect": _WRONG_SET_UP,
    "user_disabled": _DISABLED,
    "idp_unreachable": _NO_ANSWER,
    "idp_token": _WRONG_SET_UP,
    "attribute_immutable": _WRONG_SET_UP,
    "attribute_too_long": Text(
        N_("You are in too many groups"),
        N_("The list of your groups is too long for the sign-in service, so it refused the login."),
        N_("Ask your IT department to send only the groups that matter for this application."),
        help=True,
    ),
    "attribute_unwritable": _WRONG_SET_UP,
    "attribute_required": Text(
        N_("Your account is missing required information"),
        N_(
            "Your organization's sign-in did not send all that is needed, for example an "
            "e-mail address."
        ),
        N_("Ask your IT department to complete your account, then try again."),
        help=True,
    ),
    "saml_response": _WRONG_SET_UP,
    "saml_metadata": _NO_ANSWER,
    "idp_id_token": _WRONG_SET_UP,
    "provider_missing": _WRONG_SET_UP,
    "trigger": Text(
        N_("The sign-in was refused"),
        N_("A check of the sign-in service refused this login or failed."),
        N_("Try again. If it goes on, tell your support contact the request ID below."),
        help=True,
    ),
    "invalid_client": _WRONG_SET_UP,
    "invalid_grant": REASONS[Reason.LOGIN_STATE],
    "unauthorized_client": _WRONG_SET_UP,
    "unsupported_grant": _WRONG_SET_UP,
    "access_denied": Text(
        N_("The sign-in was refused"),
        N_("You canceled the sign-in, or your organization's sign-in refused it."),
        N_(
            "Try again. If it is refused again, ask your IT department whether you may use "
            "this application."
        ),
        help=True,
    ),
    "login_required": REASONS[Reason.NO_SESSION],
    "cognito_down": _NO_ANSWER,
    "invalid_request": REASONS[Reason.IDP_ERROR],
    "unknown_error": REASONS[Reason.IDP_ERROR],
}
"""By the codes of ``gateway.cognito.error_diagnosis``; a code that is not here is told as
``idp_error``.
"""


class TrialStep(StrEnum):
    """What a test of a connection does, one after the other."""

    SIGN_IN = N_("Sign-in at Cognito and the identity provider")
    EXCHANGE = N_("Code exchanged, ID token validated")
    CLAIMS = N_("Claims read")
    DECISION = N_("Decision for /")
    THROWN_AWAY = N_("Tokens thrown away")


class TrialLack(StrEnum):
    """What a test of a connection found missing; ``names`` are the tenant's own."""

    ACTIVE = N_("active: true in the tenant; until then nobody has access")
    PROVIDER_ACTIVE = N_("active: true in the provider; until then nobody signs in with it")
    GROUPS = N_("any one of the groups: %(names)s")
    ROLES = N_("any one of the roles: %(names)s")
    IDP_IAT = N_(
        "custom:idp_iat is not mapped: after a revocation a login cannot show that it "
        "asked the identity provider"
    )
    DETAIL = "%(names)s"
    """Told in an operator's words, which name claims and settings."""


def explain(reason: Reason, code: str = "") -> Text:
    """The words for ``reason``; those of a login error are more exact where ``code`` is known."""
    if reason is Reason.IDP_ERROR:
        return LOGIN_ERRORS.get(code, REASONS[reason])
    return REASONS[reason]
