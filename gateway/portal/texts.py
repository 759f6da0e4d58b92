"""Texts of the portal that are chosen by a name. The catalogs translate them; templates hold all
others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping


def N_(message: str) -> str:  # noqa: N802 - the catalogs' word for "translate this later"
    """Marks a text for ``scripts/messages``; it is translated where it is shown."""
    return message


TASKS: Final[Mapping[str, str]] = {
    "provider": N_("Choose your identity provider"),
    "connection": N_("Connect it"),
    "test": N_("Test the sign-in"),
    "access": N_("Choose who gets in"),
    "review": N_("Review and go live"),
    "domains": N_("Prove your e-mail domains"),
    "offboarding": N_("Remove people who leave"),
    "health": N_("See the state of the connection"),
    "renewal": N_("Enter the new secret or metadata"),
    "renewed": N_("Review and replace"),
}
NOTICES: Final[Mapping[str, str]] = {
    "saved": N_("Saved."),
    "connected": N_("Saved. Now test the sign-in."),
    "test_ready": N_("The test sign-in is ready."),
    "not_yet": N_("No sign-in has come back yet. Finish it in the other window, then check again."),
    "passed": N_("The test sign-in worked."),
    "submitted": N_("Submitted for approval. You can close this page."),
    "live": N_("You are live. People can sign in now."),
    "domain_added": N_("Added. Now add the record to DNS."),
    "domain_checked": N_("Checked."),
    "domain_used": N_("People with this domain sign in with your identity provider."),
    "ended": N_("The link has ended."),
    "renewal_saved": N_("Saved. People sign in as before. Now test the new values."),
    "renewed": N_("Replaced. People sign in with the new values now."),
    "put_back": N_("Put back. People sign in with the former values again."),
}
"""What a page says after a form did something."""
PROBLEMS: Final[Mapping[str, str]] = {
    "not_found": N_("There is no such page."),
    "method_not_allowed": N_("There is no such page."),
    "foreign_form": N_("This form did not come from this page. Nothing was changed."),
    "stale_form": N_("This form is too old. Load the page again. Nothing was changed."),
    "bad_form": N_("This form could not be read. Nothing was changed."),
    "too_large": N_("This is too long. Nothing was changed."),
    "too_often": N_("That was too often. Wait a few minutes, then try again."),
    "changed": N_("This was changed in another window at the same moment. Look at it again."),
    "read_only": N_("You are live: nothing is changed by this link any more."),
    "occupied": N_("People sign in with another identity provider already."),
    "gone": N_("Your organization was removed here. Ask whoever sent you the link."),
    "operators_use": N_("Whoever sent you the link decides about the use of a proven domain."),
    "no_renewal": N_("There is no connection here whose secret or metadata you could replace."),
    "too_late": N_("The former values are not kept any more."),
    "incomplete": N_("Some steps are missing. The task list says which."),
    "secret_is_new": N_(
        "A secret was made within the last day, and another one would end the one before it, which "
        "your identity provider may still send. Try again tomorrow."
    ),
    "unavailable": N_("A part of the service is unavailable. Try again in a minute."),
    "internal": N_("Something went wrong on our side. Try again in a minute."),
}
"""Of a page that is not shown. Everything else that the API refuses has its own words."""
FIELD_PROBLEMS: Final[Mapping[str, str]] = {
    "required": N_("Enter a value."),
    "https": N_("Enter an address that begins with https://."),
    "long": N_("This address is too long."),
    "common": N_("Use your directory's own ID instead of common."),
    "directory_id": N_("This is the directory's ID. Copy Application (client) ID from Overview."),
    "spaces": N_("A client ID has no spaces. Copy it alone."),
    "secret_id": N_("Copy the Value, not the Secret ID."),
    "secret_is_client_id": N_("This is the client ID. Copy the secret."),
    "past": N_("This date has passed. Create a new secret first."),
    "date": N_("Enter a date as YYYY-MM-DD."),
    "not_metadata": N_("This is a web page, not SAML metadata."),
    "own_metadata": N_("This is your app's metadata. Use the identity provider's."),
    "choose": N_("Choose at least one group, or everyone."),
    "confirm": N_("Confirm that everyone gets in."),
    "too_many": N_("At most 100 groups of 256 characters each."),
    "one_of_three": N_("Enter the address, choose the file, or paste its text: one of the three."),
    "domain_taken": N_("This domain can't be added here. Ask whoever sent you the link."),
    "email": N_("Enter one e-mail address."),
    "parts": N_("Choose what they are asked for."),
    "colleagues": N_("Three colleagues have a link already. End one of them first."),
    "asked": N_("Five colleagues were asked within the last hour. Try again in an hour."),
    "letters": N_("This address was sent several letters within the last hour. Try again later."),
    "mail_full": N_(
        "Our mail is delayed: the link was not sent and does not exist. Try again in some minutes."
    ),
}
TEST_PROBLEMS: Final[Mapping[str, str]] = {
    Reason.IDP_ERROR: N_(
        "Your identity provider refused it, or what it answered was refused here. Compare the "
        "client secret, or the metadata, with what its console shows."
    ),
    Reason.EMAIL_DOMAIN: N_("The person's e-mail address is at none of your domains."),
}
"""Why a test sign-in did not pass, where there is something to do about it."""
PUBLISHED: Final[Mapping[str, str]] = {
    "issuer": N_("Found: issuer"),
    "authorization_endpoint": N_("Sign-in address"),
    "token_endpoint": N_("Token address"),
    "entity_id": N_("Found: entity ID"),
    "redirect_url": N_("Sign-in address"),
    "certificate": N_("Signing certificate, valid until"),
}
"""What an identity provider says of itself, shown while its address is typed."""
VALUES: Final[Mapping[str, str]] = {
    "issuer": N_("Issuer URL"),
    "client_id": N_("Client ID"),
    "secret_expires": N_("Secret expires on"),
    "metadata_url": N_("Metadata URL"),
}
"""What was entered, by ``values.SHOWN_AGAIN``: as the form calls it."""
PARTS: Final[Mapping[str, str]] = {
    "domains": N_("Prove your e-mail domains"),
    "offboarding": N_("Remove people who leave"),
    "maintain": N_("See the state of the connection"),
}
"""What a colleague can be asked for."""
DOMAIN_STATES: Final[Mapping[str, str]] = {
    "pending": N_("Waiting for DNS"),
    "verified": N_("Proven"),
    "missing": N_("The record is missing"),
    "lost": N_("No longer proven"),
    "failed": N_("Never found"),
    "vouched": N_("Your operator vouched for it"),
}
LINK_STATES: Final[Mapping[str, str]] = {
    "issued": N_("Not opened yet"),
    "claimed": N_("Opened"),
    "locked": N_("Locked for some minutes"),
    "completed": N_("Done"),
    "expired": N_("Expired"),
    "revoked": N_("Ended"),
    "replaced": N_("Replaced"),
}
VERDICTS: Final[Mapping[str, str]] = {
    "nothing": N_("Nothing has arrived yet."),
    "handshake": N_("Your identity provider has verified the address. No event has arrived yet."),
    "refused": N_("An event was refused. Compare the address and the secret."),
    "no_known_user": N_("An event arrived about somebody who is not signed in here."),
    "works": N_("Events arrive."),
}
"""By the verdict of the admin API's ``test_hook``."""
