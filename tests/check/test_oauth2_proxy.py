"""The dialect for configurations of oauth2-proxy: what it reads, and what it answers."""

from __future__ import annotations

import pytest

from gateway.check.dialects import PATHS, Answer, Malformed, Verdict
from gateway.core.decision import Allow, Deny, Login
from gateway.core.model import AuthRequest
from gateway.core.reason import Reason
from tests.ingress.checks import COOKIE, Pairs, forwarded, raw_request

DIALECT = PATHS["/oauth2/auth"]
IDENTITY = (("X-Auth-Request-User", "u1"), ("X-Auth-Request-Email", "a@acme.test"))


def ask(pairs: Pairs) -> AuthRequest | Malformed:
    return DIALECT.parse(raw_request(pairs, raw_path="/oauth2/auth"), cookie_name=COOKIE)


def original(*, method: str = "GET", url: str = "https://app.acme.test/p?q=1") -> Pairs:
    return [("X-Original-Method", method), ("X-Original-URL", url)]


@pytest.mark.parametrize(
    "pairs",
    [
        forwarded(method="POST"),
        original(method="POST"),
        [*forwarded(method="POST"), *original(method="POST")],
        # Of another request's words, those that decide nothing are not read.
        [*original(method="POST"), ("X-Forwarded-Host", "evil.test")],
    ],
    ids=["X-Forwarded", "X-Original", "both", "X-Original and a stray host"],
)
def test_the_request_is_what_the_proxy_tells(pairs: Pairs) -> None:
    request = ask(pairs)
    assert isinstance(request, AuthRequest), request
    assert (request.method, request.scheme, request.host, request.path, request.original_uri) == (
        "POST",
        "https",
        "app.acme.test",
        "/p",
        "/p?q=1",
    )


REFUSED: dict[str, Pairs] = {
    "nothing": [],
    "a URI alone, as oauth2-proxy's own example sends": [("X-Forwarded-Uri", "/p")],
    "no method": forwarded(without="X-Forwarded-Method"),
    "no host": forwarded(without="X-Forwarded-Host"),
    "no scheme": forwarded(without="X-Forwarded-Proto"),
    "another path": [*forwarded(), *original(url="https://app.acme.test/public")],
    "another host": [*forwarded(), *original(url="https://other.test/p?q=1")],
    "another method": [*forwarded(), *original(method="OPTIONS")],
    "another scheme": [*forwarded(), *original(url="http://app.acme.test/p?q=1")],
    "half of the other": [*forwarded(), ("X-Original-URL", "https://app.acme.test/p?q=1")],
    "two addresses": [*original(), ("X-Original-URL", "https://app.acme.test/public")],
    "no absolute address": original(url="/p"),
    "an address without a path": original(url="https://app.acme.test"),
    "an address with a person": original(url="https://a@app.acme.test/p"),
}


@pytest.mark.parametrize("pairs", REFUSED.values(), ids=REFUSED)
def test_what_is_told_twice_or_not_at_all_is_malformed(pairs: Pairs) -> None:
    found = ask(pairs)
    assert isinstance(found, Malformed), found
    assert found.reason is Reason.BAD_REQUEST


def test_it_answers_as_oauth2_proxy_does() -> None:
    request = ask([*forwarded(), ("Cookie", f"a=1; {COOKIE}=s"), ("Authorization", "Basic eDp5")])
    assert isinstance(request, AuthRequest)
    allowed = DIALECT.render(Verdict(decision=Allow(Reason.OK), headers=IDENTITY), request)
    assert (allowed.status, allowed.body) == (200, b"")
    assert allowed.headers == (*IDENTITY, ("Cookie", "a=1"), ("Authorization", "Basic eDp5"))
    for decision, status in (
        (Login(Reason.NO_SESSION), 401),
        (Deny(Reason.GROUP_MISSING), 403),
        (Deny(Reason.UNKNOWN_HOST), 403),
        (Deny(Reason.BAD_REQUEST), 403),
        (Deny(Reason.UNTRUSTED_PROXY), 403),
        (Deny(Reason.STORE_UNAVAILABLE), 503),
    ):
        told: Answer = DIALECT.render(
            Verdict(
                decision=decision,
                headers=IDENTITY,
                location="https://app.acme.test/_auth/login",
                body=b"x",
                content_type="text/html",
            ),
            request,
        )
        headers = dict(told.headers)
        assert (told.status, told.body) == (status, b"")
        assert headers["X-Auth-Reason"] == decision.reason.value
        assert not {"X-Auth-Request-User", "Cookie", "Location"} & headers.keys()
        assert ("Retry-After" in headers) is (status == 503)
