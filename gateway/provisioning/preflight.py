"""What has to hold before the first call that changes anything: each finding is a sentence a person
can act on. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.cognito.desired import (
    ATTRIBUTE_CHARACTERS,
    CONSUMERS,
    CUSTOM_ATTRIBUTES,
    MAX_IDENTIFIERS,
    OidcConnection,
    SamlConnection,
    same_issuer,
)
from gateway.config.user_pools import pool_key
from gateway.core.hosts import is_localhost
from gateway.core.model import DEFAULT_POOL, ProviderKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.cognito.desired import Actual, Wanted, WantedProvider
    from gateway.config.user_pools import CognitoQuotas

_PROVIDER_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,30}[a-z0-9])")
_IDENTIFIER = re.compile(r"[\w\s+=.@-]{1,40}")
_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_ENTRA_SHARED = frozenset({"common", "organizations", "consumers", CONSUMERS})
"""The last is the directory of all personal Microsoft accounts."""
_CUSTOM_PER_POOL = 50
_CALLBACKS_PER_CLIENT = 100
_SCOPES_PER_CLIENT = 50
_MAX_REDIRECT_URI = 1024


@dataclass(frozen=True, slots=True)
class PreflightProblem:
    """``kind`` is ``exists``, ``quota`` or ``invalid``; ``where`` is a path in the request or a
    thing in the pool.
    """

    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def invalid(where: str, message: str) -> PreflightProblem:
    return PreflightProblem("invalid", where, message)


def check_name(name: str) -> str | None:
    """What is wrong with a provider's name, or None."""
    if _PROVIDER_NAME.fullmatch(name):
        return None
    if len(name) > 32:
        return f"{len(name)} characters; Cognito takes at most 32"
    if "_" in name:
        return "no underscore: Cognito separates provider and subject with one in its user names"
    return (
        "3 to 32 lower-case letters, digits and dashes, beginning and ending with a letter or digit"
    )


def check_issuer(issuer: str, kind: ProviderKind | None, *, development: bool) -> str | None:
    """What is wrong with an issuer, or None. Without a network. A slash at the end is the
    provider's own business.
    """
    try:
        parts = urlsplit(issuer)
        port = parts.port
    except ValueError:
        return "not a URL"
    host = parts.hostname or ""
    local = development and (is_localhost(host) or host == "127.0.0.1")
    if not host or parts.scheme not in {"https", "http"}:
        return "an https:// URL, as the identity provider's discovery document names it"
    if parts.scheme == "http" and not local:
        return "must be https: an attacker on the way could replace the keys"
    if parts.query or parts.fragment or parts.username is not None:
        return "without user name, query or fragment"
    if port not in {None, 443, 80} and not local:
        return "port 443 or 80: Cognito calls no other"
    if kind is ProviderKind.MICROSOFT_SOCIAL and parts.path.strip("/") != f"{CONSUMERS}/v2.0":
        return (
            f"https://login.microsoftonline.com/{CONSUMERS}/v2.0: Cognito refuses the tokens of "
            "common and consumers, which name that"
        )
    return _check_entra(parts.path) if kind is ProviderKind.ENTRA else None


def _check_entra(path: str) -> str | None:
    directory, _, version = path.strip("/").partition("/")
    if directory.lower() in _ENTRA_SHARED:
        return (
            f"{directory} stands for more than one Microsoft customer: use the directory's own id, "
            "https://login.microsoftonline.com/<directory id>/v2.0"
        )
    if not _GUID.fullmatch(directory):
        return "the directory's id (a GUID), not its name: the iss claim holds the id"
    if version != "v2.0":
        return f"the v2.0 endpoint: https://login.microsoftonline.com/{directory}/v2.0"
    return None


def check_provider(wanted: WantedProvider, *, development: bool) -> Iterator[PreflightProblem]:
    """Name, issuer, identifiers, scopes: whatever is known without asking anyone."""
    where = f"providers.{wanted.name}"
    if problem := check_name(wanted.name):
        yield invalid(f"{where}.name", problem)
    if isinstance(wanted.connection, OidcConnection):
        yield from _check_oidc(wanted.connection, wanted.kind, where, development=development)
    if len(wanted.identifiers) > MAX_IDENTIFIERS:
        yield invalid(
            f"{where}.identifiers",
            (
                f"{len(wanted.identifiers)}; at most {MAX_IDENTIFIERS} (Cognito takes 50, one "
                "of which marks the provider as the gateway's)"
            ),
        )
    for identifier in wanted.identifiers:
        if not _IDENTIFIER.fullmatch(identifier):
            yield invalid(
                f"{where}.identifiers",
                f"{identifier[:60]!r}: at most 40 letters, digits, spaces and _+=.@-",
            )


def _check_oidc(
    wanted: OidcConnection, kind: ProviderKind, where: str, *, development: bool
) -> Iterator[PreflightProblem]:
    if problem := check_issuer(wanted.issuer, kind, development=development):
        yield invalid(f"{where}.oidc_issuer", problem)
    if "openid" not in wanted.scopes:
        yield invalid(f"{where}.scopes", "must contain openid")
    if kind is ProviderKind.ENTRA and "groups" in wanted.scopes:
        yield invalid(
            f"{where}.scopes",
            (
                "Entra refuses a scope named groups: add the groups claim in the app "
                "registration's token configuration"
            ),
        )
    if len(wanted.client_id) > 256 or not wanted.client_id.isprintable() or not wanted.client_id:
        yield invalid(
            f"{where}.client_id", "1 to 256 printable characters, as the identity provider shows it"
        )


def check_pool(wanted: Wanted, actual: Actual) -> Iterator[PreflightProblem]:
    """Whether this pool can hold what is wanted."""
    for name in wanted.custom_attributes:
        attribute = actual.attributes.get(name)
        if attribute is None:
            continue
        if not attribute.mutable:
            yield invalid(
                f"pool attribute {name}",
                (
                    "is not mutable: every second login would fail with 'Attribute cannot be "
                    "updated'. Cognito cannot change that; the pool has to be created again"
                ),
            )
        if attribute.data_type != "String":
            yield invalid(
                f"pool attribute {name}", f"is a {attribute.data_type}, and has to be a String"
            )
        elif (
            name in CUSTOM_ATTRIBUTES
            and attribute.max_length is not None
            and attribute.max_length < ATTRIBUTE_CHARACTERS
        ):
            yield invalid(
                f"pool attribute {name}",
                (
                    f"holds at most {attribute.max_length} characters: people in many groups "
                    f"could not log in (it has to be {ATTRIBUTE_CHARACTERS})"
                ),
            )
    email = actual.attributes.get("email")
    if email is not None and not email.mutable:
        yield invalid(
            "pool attribute email",
            "is not mutable: every second login would fail with 'Attribute cannot be updated'",
        )
    custom = sum(name.startswith("custom:") for name in actual.attributes)
    missing_count = sum(name not in actual.attributes for name in wanted.custom_attributes)
    if custom + missing_count > _CUSTOM_PER_POOL:
        yield PreflightProblem(
            "quota",
            "pool attributes",
            (
                f"{custom} custom attributes are there and {missing_count} more "
                f"{'is' if missing_count == 1 else 'are'} needed; a pool has at most "
                f"{_CUSTOM_PER_POOL}"
            ),
        )
    for provider in wanted.providers:
        yield from _check_mapping(provider, actual, frozenset(wanted.custom_attributes))
    yield from _check_idp_initiated(wanted)
    if len(wanted.client.scopes) > _SCOPES_PER_CLIENT:
        yield PreflightProblem(
            "quota",
            "scopes",
            f"{len(wanted.client.scopes)}; Cognito takes at most {_SCOPES_PER_CLIENT} per client",
        )
    yield from _check_urls("callback", wanted.client.callback_urls)
    yield from _check_urls("logout", wanted.client.logout_urls)


def check_quotas(
    actual: Actual,
    quotas: CognitoQuotas,
    *,
    clients: int,
    providers: int,
    pool: str = DEFAULT_POOL,
) -> Iterator[PreflightProblem]:
    """Whether there is room for so many new ones. What somebody else takes meanwhile Cognito
    refuses.
    """
    for count, quota, new, what, key, ceiling in (
        (actual.client_count, quotas.clients, clients, "app clients", "clients", "10,000"),
        (
            actual.provider_count,
            quotas.providers,
            providers,
            "identity providers",
            "providers",
            "1,000",
        ),
    ):
        if new and count is not None and count + new > quota:
            yield PreflightProblem(
                "quota",
                f"pool {what}",
                f"{count} of {quota} are there and {new} more "
                f"{'is' if new == 1 else 'are'} needed: delete some that nobody uses, "
                f"or have the quota raised (AWS Service Quotas, up to {ceiling}) and say "
                f"so in {pool_key(pool)}.quotas.{key}",
            )


def _check_mapping(
    provider: WantedProvider, actual: Actual, added: frozenset[str]
) -> Iterator[PreflightProblem]:
    where = f"providers.{provider.name}.attributes"
    for name, attribute in actual.attributes.items():
        if attribute.required and name != "sub" and name not in provider.mapping:
            yield invalid(
                where,
                f"the pool requires {name}, and nothing is mapped to it: say which claim holds it",
            )
    for name in provider.mapping:
        if name != "username" and name not in actual.attributes and name not in added:
            hint = "; custom_attributes adds it, for ever" if name.startswith("custom:") else ""
            yield invalid(where, f"{name} is not an attribute of the pool{hint}")


def _check_idp_initiated(wanted: Wanted) -> Iterator[PreflightProblem]:
    """A client of such a provider may have SAML providers only (Cognito developer guide)."""
    providers = (*wanted.providers, *wanted.left)
    names = [
        p.name
        for p in providers
        if isinstance(p.connection, SamlConnection) and p.connection.idp_initiated
    ]
    saml = {p.name for p in providers if isinstance(p.connection, SamlConnection)}
    others = sorted(set(wanted.client.providers) - saml)
    if names and others:
        yield invalid(
            f"providers.{names[0]}.idp_initiated",
            f"Cognito allows it only where all providers of the tenant are SAML providers; "
            f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} not",
        )


def _check_urls(what: str, urls: tuple[str, ...]) -> Iterator[PreflightProblem]:
    if len(urls) > _CALLBACKS_PER_CLIENT:
        yield PreflightProblem(
            "quota",
            "hosts",
            (
                f"{len(urls)} {what} URLs; Cognito takes at most {_CALLBACKS_PER_CLIENT} per "
                "client (with login_host all hosts share one)"
            ),
        )
    for url in urls:
        if len(url) > _MAX_REDIRECT_URI:
            yield invalid(
                "hosts", f"the {what} URL {url[:60]}… is longer than {_MAX_REDIRECT_URI} characters"
            )


def check_discovery(
    document: Mapping[str, object], keys: Mapping[str, object], *, issuer: str, where: str
) -> Iterator[PreflightProblem]:
    """Whether the identity provider does what Cognito needs of one."""
    if not same_issuer(str(document.get("issuer")), issuer):
        yield invalid(
            where,
            (
                "the discovery document names the issuer "
                f"{str(document.get('issuer'))[:200]!r}; use exactly that"
            ),
        )
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
        if not isinstance(document.get(name), str) or not document[name]:
            yield invalid(where, f"the discovery document has no {name}, which Cognito needs")
    methods = document.get("token_endpoint_auth_methods_supported")
    if isinstance(methods, list) and "client_secret_post" not in methods:
        yield invalid(
            where,
            (
                f"the token endpoint takes {', '.join(map(str, methods))[:200]}; Cognito sends "
                "client_secret_post: allow it for this application"
            ),
        )
    types = document.get("response_types_supported")
    if isinstance(types, list) and "code" not in types:
        yield invalid(where, "the authorization code flow (response type code) is not supported")
    yield from _check_keys(keys, where)


def _check_keys(keys: Mapping[str, object], where: str) -> Iterator[PreflightProblem]:
    key_list = keys.get("keys")
    signing = (
        [k for k in key_list if isinstance(k, dict) and k.get("use", "sig") == "sig"]
        if isinstance(key_list, list)
        else []
    )
    if not signing:
        yield invalid(where, "its jwks_uri holds no signing key")
    if any(not isinstance(k.get("kid"), str) or not k["kid"] for k in signing):
        yield invalid(
            where,
            (
                "a signing key has no kid (key id): Cognito picks the key by it, and refuses "
                "tokens without"
            ),
        )
