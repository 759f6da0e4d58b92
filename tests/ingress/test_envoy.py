"""Envoy's check request is the client's request below a prefix."""

from __future__ import annotations

import pytest

from gateway.check.dialects import Malformed
from gateway.core.model import AuthRequest
from tests.ingress.checks import Pairs, ask

ENVOY: Pairs = [("Host", "app.acme.test"), ("X-Forwarded-Proto", "https")]


def test_method_host_path_and_query_are_the_requests_own() -> None:
    found = ask("envoy", ENVOY, method="PROPFIND", raw_path="/auth/envoy/a/%41?x=1")
    assert isinstance(found, AuthRequest)
    assert (found.method, found.host, found.path, found.original_uri) == (
        "PROPFIND",
        "app.acme.test",
        "/a/A",
        "/a/%41?x=1",
    )


def test_fwd_01_forwarded_host_uri_and_method_are_not_read() -> None:
    lies = [
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Uri", "/public"),
        ("X-Forwarded-Method", "OPTIONS"),
    ]
    assert ask("envoy", [*ENVOY, *lies], raw_path="/auth/envoy/admin") == ask(
        "envoy", ENVOY, raw_path="/auth/envoy/admin"
    )


@pytest.mark.parametrize(
    ("raw_path", "target"),
    [
        ("/auth/envoy/../healthz", "/../healthz"),
        ("/auth/envoy/%2e%2e/healthz", "/%2e%2e/healthz"),
        ("/auth/envoy//x", "//x"),
    ],
)
def test_path_11_dots_and_slashes_stay_text_and_are_ambiguous(raw_path: str, target: str) -> None:
    found = ask("envoy", ENVOY, raw_path=raw_path)
    assert isinstance(found, AuthRequest)
    assert (found.original_uri, found.ambiguous) == (target, True)


@pytest.mark.parametrize(
    "raw_path", ["/auth/envoy", "/auth/envoy*", "/auth/envoyx", "/auth/nginx/x", "/healthz", "*"]
)
def test_path_13_what_is_not_below_the_prefix_is_malformed(raw_path: str) -> None:
    assert isinstance(ask("envoy", ENVOY, raw_path=raw_path), Malformed)


def test_host_08_two_host_lines_are_malformed() -> None:
    assert isinstance(
        ask("envoy", [*ENVOY, ("Host", "evil.test")], raw_path="/auth/envoy/"), Malformed
    )
    assert isinstance(
        ask("envoy", [("Host", "app.acme.test,evil.test"), *ENVOY[1:]], raw_path="/auth/envoy/"),
        Malformed,
    )
