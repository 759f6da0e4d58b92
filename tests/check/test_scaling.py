"""Everything that reads a stranger's text before anybody is signed in: work that grows with the
text, and no faster.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from multidict import CIMultiDict

from gateway.check.dialects import DIALECTS, RawRequest
from gateway.check.trusted_peer import Trust
from gateway.cognito.error_diagnosis import diagnose
from gateway.config.model import Ingress
from gateway.core.cookies import names_below, own_values, without
from gateway.core.hosts import email_domain, parse_host_header
from gateway.core.returns import safe_return
from gateway.login.request import client_of
from gateway.login.signed_values import verify
from gateway.pages.language import negotiate
from gateway.sessions.seal import parse_token
from tests.support.scaling import assert_linear

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICES = cast(
    "Any", SimpleNamespace(trust=Trust(Ingress(trusted_proxies=["10.0.0.0/8", "127.0.0.1/32"])))
)


def _client(text: str) -> object:
    return client_of(
        cast(
            "Any",
            SimpleNamespace(remote="127.0.0.1", headers=CIMultiDict({"X-Forwarded-For": text})),
        ),
        SERVICES,
    )


def _asked(name: str) -> Callable[[str], object]:
    """A check with one header full of it."""
    facts = {
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "acme.test",
        "X-Forwarded-Uri": "/",
    }

    def parse(text: str) -> object:
        headers = CIMultiDict({**facts, name: text if name != "X-Forwarded-Uri" else f"/{text}"})
        return [
            dialect.parse(
                RawRequest("GET", f"/auth/{dialect.name}/{text}", headers, "127.0.0.1"),
                cookie_name="__Host-gw",
            )
            for dialect in DIALECTS.values()
        ]

    return parse


READERS: dict[str, Callable[[str], object]] = {
    "cookies of ours": lambda text: own_values((text,), "__Host-gw"),
    "names of cookies": lambda text: names_below((text,), "__Host-gw-at-"),
    "other cookies": lambda text: without((text,), "__Host-gw"),
    "language": negotiate,
    "address": _client,
    "return": lambda text: safe_return(text, origin="https://acme.test", allowed=lambda _: None),
    "return to a host": lambda text: safe_return(
        f"https://{text}", origin="https://acme.test", allowed=lambda _: None
    ),
    "host": parse_host_header,
    "e-mail": email_domain,
    "signed": lambda text: verify(lambda: (b"k" * 32,), text, "login"),
    "token": parse_token,
    "error": lambda text: diagnose(text, text),
    **{
        name: _asked(name)
        for name in (
            "X-Forwarded-Uri",
            "X-Forwarded-Host",
            "X-Forwarded-For",
            "X-Request-Id",
            "Cookie",
            "Authorization",
            "Accept",
            "Sec-Purpose",
            "X-Forwarded-Method",
        )
    },
}
FLOODS = (
    "a",
    " ",
    "=",
    ";",
    ",",
    ".",
    "-",
    "a=b; ",
    "__Host-gw=",
    "__Host-gw-at-a,",
    "%",
    "%41",
    "/",
    "//",
    "/../",
    "\\",
    "en;q=0.1,",
    "1",
    "10.0.0.1,",
    "@",
    "a@",
    "text/html;q=0,",
    "Bearer ",
    "é",
)


@pytest.mark.parametrize("name", READERS)
def test_the_work_grows_with_the_text(name: str) -> None:
    for flood in FLOODS:
        assert_linear(READERS[name], lambda n, flood=flood: (flood * n)[:n], n=7_500)  # type: ignore[misc]  # the default binds the loop's value
