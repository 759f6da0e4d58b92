"""The form with what an identity provider's administrator copied: read, set right where it is
clear what was meant, and judged as far as nobody needs to be asked. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from gateway.provisioning.request import MAX_ISSUER, MAX_METADATA_URL
from gateway.setup.model import Protocol, SetupProvider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.portal.guides import Guide

_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DISCOVERY: Final = "/.well-known/openid-configuration"
_SHARED: Final = re.compile(r"login\.microsoftonline\.com/(common|organizations|consumers)\b")
OIDC_FIELDS: Final = ("issuer", "client_id", "client_secret", "secret_expires")
SAML_FIELDS: Final = ("metadata_url", "metadata_file", "metadata")
"""``metadata_file``: what an uploaded file holds."""
SHOWN_AGAIN: Final = ("issuer", "client_id", "secret_expires", "metadata_url")
"""The secret is not; pasted metadata is long, and needed again with the next change."""
CHECKED: Final[Mapping[Protocol, tuple[str, ...]]] = {
    Protocol.OIDC: ("issuer", "client_id"),
    Protocol.SAML: SAML_FIELDS,
}
"""What is looked at while it is typed: no secret is among it."""


@dataclass(frozen=True, slots=True)
class Values:
    """``problems``: field → key of ``texts.FIELD_PROBLEMS``. ``provider``: of a request to
    provisioning, without what is not the recipient's.
    """

    shown: Mapping[str, str]
    problems: Mapping[str, str] = field(default_factory=dict)
    provider: Mapping[str, Any] = field(default_factory=dict, repr=False)


LONGEST: Final = {"issuer": MAX_ISSUER, "metadata_url": MAX_METADATA_URL}
"""Characters of an address."""


def read_values(
    form: Mapping[str, str],
    *,
    provider: SetupProvider,
    protocol: Protocol,
    guide: Guide,
    today: date,
) -> Values:
    """``form``: fields as they were typed."""
    names = OIDC_FIELDS if protocol is Protocol.OIDC else SAML_FIELDS
    typed = {name: form.get(name, "").strip() for name in names}
    if protocol is Protocol.OIDC:
        typed["issuer"] = _issuer(typed["issuer"], provider)
        problems = _oidc_problems(typed, provider, today)
        body = {
            "client_id": typed["client_id"],
            "client_secret": typed["client_secret"],
            "oidc_issuer": typed["issuer"],
            "kind": guide.kind,
        }
        if typed["secret_expires"]:
            body["secret_expires"] = typed["secret_expires"]
    else:
        problems = _saml_problems(typed)
        body = {"kind": "saml"}
        if typed["metadata_url"]:
            body["metadata_url"] = typed["metadata_url"]
        else:
            body["metadata"] = typed["metadata_file"] or typed["metadata"]
    if guide.kind in {"oidc", "saml"}:
        body["preset"] = guide.preset
    plain_values = {name: typed[name] for name in SHOWN_AGAIN if typed.get(name)}
    return Values(plain_values, problems, {} if problems else body)


def read_checked(
    form: Mapping[str, str], *, provider: SetupProvider, protocol: Protocol
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Of ``CHECKED`` what is typed so far, set right, and its problems. What is empty is none."""
    typed = {name: form.get(name, "").strip() for name in CHECKED[protocol]}
    if protocol is Protocol.OIDC:
        typed["issuer"] = _issuer(typed["issuer"], provider)
        problems = _names_problems(typed, provider)
    else:
        problems = _saml_problems(typed) if any(typed.values()) else {}
    return typed, problems | _long(typed)


def _long(typed: Mapping[str, str]) -> dict[str, str]:
    """Addresses that provisioning would not take."""
    return {n: "long" for n, most in LONGEST.items() if len(typed.get(n, "")) > most}


def read_renewal(form: Mapping[str, str], *, protocol: Protocol, today: date) -> Values:
    """Of another secret, or of other metadata, and nothing beside it."""
    if protocol is Protocol.OIDC:
        names: tuple[str, ...] = ("client_secret", "secret_expires")
        typed = {name: form.get(name, "").strip() for name in names}
        problems = {} if typed["client_secret"] else {"client_secret": "required"}
        problems |= _date_problems(typed["secret_expires"], today)
    else:
        typed = {name: form.get(name, "").strip() for name in SAML_FIELDS}
        problems = _saml_problems(typed)
    shown = {name: typed[name] for name in SHOWN_AGAIN if typed.get(name)}
    return Values(shown, problems, {} if problems else typed)


def _issuer(typed: str, provider: SetupProvider) -> str:
    """Where it is clear what was meant: a discovery address, a bare host, a directory's ID."""
    text = typed.removesuffix(_DISCOVERY)
    if provider is SetupProvider.ENTRA and _GUID.fullmatch(text):
        return f"https://login.microsoftonline.com/{text.lower()}/v2.0"
    if text and "://" not in text:
        text = f"https://{text}"
    if provider is SetupProvider.AUTH0 and text and not text.endswith("/"):
        text += "/"
    return text


def _oidc_problems(
    typed: Mapping[str, str], provider: SetupProvider, today: date
) -> dict[str, str]:
    problems = {name: "required" for name in OIDC_FIELDS[:3] if not typed[name]}
    problems |= _names_problems(typed, provider)
    secret = typed["client_secret"]
    if secret and secret == typed["client_id"]:
        problems["client_secret"] = "secret_is_client_id"
    elif provider is SetupProvider.ENTRA and _GUID.fullmatch(secret):
        problems["client_secret"] = "secret_id"
    return problems | _date_problems(typed["secret_expires"], today)


def _names_problems(typed: Mapping[str, str], provider: SetupProvider) -> dict[str, str]:
    """Of issuer and client ID."""
    problems = {}
    issuer, client_id = typed["issuer"], typed["client_id"]
    if _SHARED.search(issuer):
        problems["issuer"] = "common"
    if provider is SetupProvider.ENTRA and client_id and f"/{client_id.lower()}/" in issuer:
        problems["client_id"] = "directory_id"
    elif len(client_id.split()) > 1:
        problems["client_id"] = "spaces"
    return problems


def _date_problems(typed: str, today: date) -> dict[str, str]:
    if not typed:
        return {}
    try:
        ends = date.fromisoformat(typed)
    except ValueError:
        return {"secret_expires": "date"}
    return {"secret_expires": "past"} if ends <= today else {}


def _saml_problems(typed: Mapping[str, str]) -> dict[str, str]:
    names = [name for name in SAML_FIELDS if typed[name]]
    if len(names) != 1:
        return {"metadata_url": "one_of_three"}
    (name,) = names
    text = typed[name]
    if name == "metadata_url":
        return {} if re.match(r"https?://", text) else {"metadata_url": "https"}
    if "EntityDescriptor" not in text:
        return {name: "not_metadata"}
    return {} if "IDPSSODescriptor" in text else {name: "own_metadata"}
