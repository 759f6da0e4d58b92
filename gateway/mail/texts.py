"""The letters: what each is about, and its words.

Rules:
- English here is the message id of the catalogs in ``gateway/pages/locale``; a text is looked up
  when its letter is drawn.
- Values stand in a text by name. They are text and never become part of a template.
- A paragraph that names a value which is empty is left out, but for the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class MailTemplate(StrEnum):
    """Which letter. A label of metrics, and a word of the log."""

    INVITED = "invited"
    CODE = "code"
    MOVED = "moved"
    COLLEAGUE = "colleague"
    DOMAIN_VERIFIED = "domain_verified"
    DOMAIN_MISSING = "domain_missing"
    DOMAIN_LOST = "domain_lost"
    SUBMITTED = "submitted"
    RETURNED = "returned"
    LIVE = "live"
    RENEWAL_SUBMITTED = "renewal_submitted"
    RENEWED = "renewed"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Letter:
    """Message ids with ``%(name)s`` for values. ``link``: whether it holds the value ``link``, an
    http(s) URL, on a line of its own after the first paragraph; "" where there is none, but in a
    letter with a ``secret``.
    """

    subject: str
    paragraphs: tuple[str, ...]
    link: bool = False
    secret: bool = False
    """It opens something for whoever reads it: it is of no use after a while, and is not sent
    then.
    """


class Phrase(str):
    """A value that is a message id itself, and is translated."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """A value: UTC epoch seconds, shown with minutes."""

    epoch_s: float


@dataclass(frozen=True, slots=True)
class Day:
    """A value: UTC epoch seconds, shown as a date."""

    epoch_s: float


Value = str | Phrase | Moment | Day


def N_(message: str) -> str:  # noqa: N802 - the name gettext tools look for
    """Mark for extraction."""
    return message


_CONTACT: Final = N_("Questions, or not expected? Ask %(support)s.")

LETTERS: Final[Mapping[MailTemplate, Letter]] = {
    MailTemplate.INVITED: Letter(
        N_("Set up single sign-on for %(product)s"),
        (
            N_(
                "%(operator)s asks you to connect the identity provider of %(tenant)s. Open this "
                "link:"
            ),
            N_("%(confirmation)s"),
            N_("The link works until %(expires)s. You may close the page and come back."),
            _CONTACT,
        ),
        link=True,
        secret=True,
    ),
    MailTemplate.CODE: Letter(
        N_("%(code)s is your setup code"),
        (
            N_("Your code is %(code)s. It is valid for 10 minutes."),
            N_("We never ask for it by phone or chat."),
            N_("Not you? Somebody has your setup link: ask %(support)s for a new one."),
        ),
        secret=True,
    ),
    MailTemplate.MOVED: Letter(
        N_("Setup continued in another browser"),
        (
            N_(
                "The setup of %(tenant)s continued in %(browser)s at %(at)s. Not you? Stop it here:"
            ),
            _CONTACT,
        ),
        link=True,
        secret=True,
    ),
    MailTemplate.COLLEAGUE: Letter(
        N_("%(name)s asks for your help with single sign-on"),
        (
            N_(
                "%(name)s sets up single sign-on for %(tenant)s and needs your help. Open this "
                "link:"
            ),
            N_("%(confirmation)s"),
            N_("The link works until %(expires)s."),
            _CONTACT,
        ),
        link=True,
        secret=True,
    ),
    MailTemplate.DOMAIN_VERIFIED: Letter(
        N_("%(domain)s is verified"),
        (
            N_("The DNS record for %(domain)s was found: the domain belongs to %(tenant)s."),
            N_("Keep the record: we check daily."),
        ),
    ),
    MailTemplate.DOMAIN_MISSING: Letter(
        N_("The DNS record for %(domain)s is missing"),
        (
            N_(
                "The record that proves %(domain)s has not been found for some days. Add it again "
                "by %(until)s: type TXT, name %(record)s, value %(expected)s."
            ),
            N_("People who sign in today are not affected."),
            _CONTACT,
        ),
    ),
    MailTemplate.DOMAIN_LOST: Letter(
        N_("%(domain)s is no longer verified"),
        (
            N_(
                "The record that proves %(domain)s is still missing. To verify the domain again, "
                "add it: type TXT, name %(record)s, value %(expected)s."
            ),
            _CONTACT,
        ),
    ),
    MailTemplate.SUBMITTED: Letter(
        N_("%(tenant)s is ready for approval"),
        (
            N_("%(name)s has set up single sign-on for %(tenant)s and asks for your approval:"),
            N_("Tested by: %(tested_by)s"),
            N_("Groups: %(groups)s"),
            N_("Domains: %(domains)s"),
            N_("On the command line: %(command)s"),
        ),
        link=True,
    ),
    MailTemplate.RETURNED: Letter(
        N_("One change is needed"),
        (
            N_("The setup of %(tenant)s needs a change before it can go live:"),
            N_("What to change: %(note)s"),
            _CONTACT,
        ),
        link=True,
    ),
    MailTemplate.LIVE: Letter(
        N_("Single sign-on is live"),
        (
            N_("%(tenant)s is live: its people can sign in now."),
            N_("Groups: %(groups)s"),
            _CONTACT,
        ),
    ),
    MailTemplate.RENEWAL_SUBMITTED: Letter(
        N_("%(tenant)s: a renewal waits for approval"),
        (
            N_(
                "%(name)s has entered and tested another secret or certificate for %(provider)s of "
                "%(tenant)s, and asks for your approval:"
            ),
            N_("Tested by: %(tested_by)s"),
            N_("On the command line: %(command)s"),
        ),
        link=True,
    ),
    MailTemplate.RENEWED: Letter(
        N_("%(tenant)s: the connection was renewed"),
        (
            N_(
                "People of %(tenant)s sign in with the new secret or certificate of %(provider)s "
                "now. Nobody was signed out."
            ),
            N_("Not as expected? The setup link puts the former one back until %(until)s."),
            _CONTACT,
        ),
    ),
    MailTemplate.EXPIRING: Letter(
        N_("%(tenant)s: %(credential)s expires %(date)s"),
        (
            N_("%(credential)s of the identity provider %(provider)s expires on %(date)s."),
            N_("What stops then: %(effect)s"),
            N_("Renew it before, and give the new one to whoever runs %(product)s."),
            _CONTACT,
        ),
    ),
    MailTemplate.EXPIRED: Letter(
        N_("%(tenant)s: %(credential)s has expired"),
        (
            N_("%(credential)s of the identity provider %(provider)s expired on %(date)s."),
            N_("What has stopped: %(effect)s"),
            N_("Renew it, and give the new one to whoever runs %(product)s."),
            _CONTACT,
        ),
    ),
    MailTemplate.TEST: Letter(
        N_("Test mail from %(product)s"),
        (N_("This is a test. Mail works."),),
    ),
}

CONFIRMATIONS: Final[Mapping[str, str]] = {
    "mail": N_("When you open it, a code is sent to this address."),
    "phrase": N_("You need a phrase of four words, too: you are told it by another way."),
}
"""What a link asks for, by ``setup.model.Confirm``."""
UNKNOWN_BROWSER: Final = N_("another browser")
EVERYONE: Final = N_("everyone")
CREDENTIALS: Final[Mapping[str, str]] = {
    "client_secret": N_("The client secret"),
    "directory_secret": N_("The secret for the directory"),
    "hook_secret": N_("The secret of the event hook"),
    "saml_certificate": N_("The SAML signing certificate"),
}
"""By ``core.expiry.Credential``."""
EFFECTS: Final[Mapping[str, str]] = {
    "client_secret": N_("nobody can sign in with this provider."),
    "directory_secret": N_("changes in the directory are no longer read."),
    "hook_secret": N_("events of the provider are no longer accepted."),
    "saml_certificate": N_("nobody can sign in with this provider."),
}
"""What ends with each."""
