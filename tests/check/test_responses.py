"""The answer table of the contract, row by row, for every dialect."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.check.dialects import DIALECTS, ENDPOINTS, Answer, Verdict
from gateway.core.decision import Allow, Decision, Deny, Login
from gateway.core.model import AuthRequest
from gateway.core.reason import Reason
from tests.ingress.checks import COOKIE, ask, forwarded, raw_request

if TYPE_CHECKING:
    from tests.ingress.checks import Pairs

IDENTITY = (
    ("X-Auth-Request-User", "u1"),
    ("X-Auth-Request-Email", ""),
    ("Remote-User", "a@acme.test"),
)
PAGE = b"<!doctype html>"
LOGIN = "https://app.acme.test/_auth/login?rd=x"
RELAYING = ["traefik", "caddy", "envoy", "haproxy"]
every = pytest.mark.parametrize("dialect", DIALECTS)
relaying = pytest.mark.parametrize("dialect", RELAYING)


def answer(
    dialect: str,
    decision: Decision,
    *,
    location: str = "",
    page: bool = False,
    retry_after: int | None = None,
) -> Answer:
    verdict = Verdict(
        decision=decision,
        headers=IDENTITY,
        location=location,
        content_type="text/html" if page else "",
        body=PAGE if page else b"",
        retry_after=retry_after,
    )
    return DIALECTS[dialect].render(verdict, None)


@every
def test_avl_05_an_allow_is_exactly_200_with_an_empty_body_and_every_managed_header_once(
    dialect: str,
) -> None:
    assert answer(dialect, Allow(Reason.OK), page=True) == Answer(200, IDENTITY, b"")


def test_avl_06_nginx_gets_401_with_location_for_a_navigation() -> None:
    assert answer("nginx", Login(Reason.NO_SESSION), location=LOGIN) == Answer(
        401, (("Location", LOGIN), ("X-Auth-Reason", "no_session")), b""
    )


def test_nginx_gets_401_without_location_for_anything_else() -> None:
    assert answer("nginx", Login(Reason.NO_SESSION)) == Answer(
        401, (("X-Auth-Reason", "no_session"),), b""
    )
    verdict = Verdict(
        decision=Login(Reason.NO_SESSION),
        login=LOGIN,
        content_type="application/problem+json",
        body=b"{}",
    )
    assert DIALECTS["nginx"].render(verdict, None) == Answer(
        401, (("X-Auth-Reason", "no_session"), ("X-Auth-Login", LOGIN)), b""
    )


@pytest.mark.parametrize(
    "decision", [Login(Reason.NO_SESSION), Deny(Reason.BAD_REQUEST), Deny(Reason.STORE_UNAVAILABLE)]
)
def test_nginx_is_told_where_a_page_would_be_seen_and_asks_for_it(decision: Decision) -> None:
    told = answer("nginx", decision, page=True)
    assert ("X-Auth-Page", "yes") in told.headers
    assert told.body == b""
    verdict = Verdict(decision=decision, headers=IDENTITY, content_type="text/html", body=PAGE)
    assert ENDPOINTS["nginx-page"].render(verdict, None) == DIALECTS["haproxy"].render(
        verdict, None
    )


def test_the_second_question_of_nginx_lets_nobody_in_and_names_nobody() -> None:
    page = ENDPOINTS["nginx-page"]
    asked = raw_request([*forwarded(), ("Cookie", "a=1")])
    request = page.parse(asked, cookie_name=COOKIE)
    assert isinstance(request, AuthRequest)
    assert request == DIALECTS["nginx"].parse(asked, cookie_name=COOKIE)
    assert page.clients_own(request) is None
    assert page.render(Verdict(decision=Allow(Reason.OK), headers=IDENTITY), request) == Answer(
        502, ()
    )


@relaying
def test_a_navigation_is_redirected_to_the_login(dialect: str) -> None:
    found = answer(dialect, Login(Reason.NO_SESSION), location=LOGIN, page=True)
    assert found == Answer(302, (("Location", LOGIN), ("Cache-Control", "no-store")), b"")


@relaying
def test_cb_18_anything_else_gets_401_as_a_problem_document(dialect: str) -> None:
    found = answer(dialect, Login(Reason.SESSION_EXPIRED))
    headers = dict(found.headers)
    assert found.status == 401
    assert "Location" not in headers
    assert headers["WWW-Authenticate"] == "Bearer"
    assert headers["Content-Type"] == "application/problem+json"
    assert json.loads(found.body) == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "code": "session_expired",
    }


@relaying
def test_a_frame_gets_401_with_the_page_it_was_given(dialect: str) -> None:
    found = answer(dialect, Login(Reason.NO_SESSION), page=True)
    assert (found.status, dict(found.headers)["Content-Type"], found.body) == (
        401,
        "text/html",
        PAGE,
    )


STATUSES = {
    Reason.GROUP_MISSING: 403,
    Reason.UNTRUSTED_PROXY: 403,
    Reason.BAD_REQUEST: 400,
    Reason.UNKNOWN_HOST: 421,
    Reason.STORE_UNAVAILABLE: 503,
    Reason.COGNITO_UNAVAILABLE: 503,
    Reason.TOO_MANY_ATTEMPTS: 503,
    Reason.IDENTITY_TOO_LARGE: 403,
}


@pytest.mark.parametrize(("reason", "status"), STATUSES.items())
@relaying
def test_denials_have_the_status_of_their_reason(dialect: str, reason: Reason, status: int) -> None:
    assert answer(dialect, Deny(reason)).status == status
    assert answer(dialect, Deny(reason), page=True).body == PAGE


@pytest.mark.parametrize("reason", [r for r in Reason if STATUSES.get(r) != 503])
def test_nginx_gets_403_and_the_reason_for_every_denial(reason: Reason) -> None:
    assert answer("nginx", Deny(reason), location=LOGIN, page=True) == Answer(
        403, (("Location", LOGIN), ("X-Auth-Reason", reason.value)), b""
    )


@every
def test_ses_15_a_store_that_is_down_is_503_with_a_time_to_come_back(dialect: str) -> None:
    found = answer(dialect, Deny(Reason.STORE_UNAVAILABLE), retry_after=7)
    assert found.status == 503
    assert dict(found.headers)["Retry-After"] == "7"
    for reason, seconds in (
        (Reason.STORE_UNAVAILABLE, "2"),
        (Reason.COGNITO_UNAVAILABLE, "2"),
        (Reason.TOO_MANY_ATTEMPTS, "60"),
    ):
        outage = answer(dialect, Deny(reason))
        assert (outage.status, dict(outage.headers)["Retry-After"]) == (503, seconds)


@given(
    st.sampled_from(sorted(DIALECTS)),
    st.sampled_from([Login, Deny]),
    st.sampled_from(Reason),
    st.booleans(),
    st.booleans(),
)
def test_hdr_11_no_denial_carries_identity_or_a_cookie(
    dialect: str, outcome: type[Login | Deny], reason: Reason, page: bool, navigation: bool
) -> None:
    found = answer(dialect, outcome(reason), location=LOGIN if navigation else "", page=page)
    names = [name for name, _ in found.headers]
    assert found.status != 200
    assert not set(names) & {name for name, _ in IDENTITY}
    assert "Set-Cookie" not in names
    assert len(names) == len(set(names))


def test_traefik_copies_the_cookies_without_ours_upstream() -> None:
    request = ask("traefik", forwarded(("Cookie", "a=1; __Host-gw=s; b=2")))
    found = DIALECTS["traefik"].render(
        Verdict(decision=Allow(Reason.OK), headers=IDENTITY),
        request,  # type: ignore[arg-type]  # parsed above
    )
    assert found == Answer(200, (*IDENTITY, ("Cookie", "a=1; b=2")), b"")


def test_traefik_removes_the_cookie_header_when_the_answer_has_none() -> None:
    request = ask("traefik", forwarded(("Cookie", "__Host-gw=s")))
    assert (
        DIALECTS["traefik"]
        .render(Verdict(decision=Allow(Reason.OK), headers=IDENTITY), request)  # type: ignore[arg-type]  # parsed above
        .headers
        == IDENTITY
    )


def test_what_is_a_clients_own_comes_back_without_what_is_ours_and_is_removed_where_nothing_is_left() -> (  # noqa: E501 - a test's name is a sentence
    None
):
    """Envoy leaves what the answer omits as the client sent it; the others take it away. HAProxy's
    action cleans the cookies itself.
    """
    password = "gwap_" + "x" * 69
    ours = [
        ("Cookie", "__Host-gw=s"),
        ("Authorization", f"Basic {base64.b64encode(f'alice:{password}'.encode()).decode()}"),
    ]
    others = [("Cookie", "a=1; __Host-gw=s"), ("Authorization", "Bearer x")]
    verdict = Verdict(decision=Allow(Reason.OK), headers=IDENTITY)
    for dialect in DIALECTS:
        described, path = (
            ([("Host", "app.acme.test"), ("X-Forwarded-Proto", "https")], "/auth/envoy/")
            if dialect == "envoy"
            else (forwarded(), f"/auth/{dialect}")
        )
        mixed, only_ours = [
            DIALECTS[dialect].render(verdict, asked(dialect, [*described, *sent], path)).headers
            for sent in (others, ours)
        ]
        cookie = () if dialect == "haproxy" else (("Cookie", "a=1"),)
        assert mixed == (*IDENTITY, *cookie, ("Authorization", "Bearer x")), dialect
        gone = (
            (("X-Envoy-Auth-Headers-To-Remove", "cookie,authorization"),)
            if dialect == "envoy"
            else ()
        )
        assert only_ours == (*IDENTITY, *gone), dialect


def asked(dialect: str, pairs: Pairs, path: str) -> AuthRequest:
    found = ask(dialect, pairs, raw_path=path)
    assert isinstance(found, AuthRequest)
    return found


CHALLENGE = 'Basic realm="app.acme.test", charset="UTF-8", Bearer'


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_challenge_for_an_app_password_is_one_line_and_stands_beside_bearer(dialect: str) -> None:
    for realm, line in (("app.acme.test", CHALLENGE), ("", "Bearer")):
        answer = DIALECTS[dialect].render(
            Verdict(decision=Login(Reason.NO_SESSION), realm=realm), None
        )
        told = dict(answer.headers)
        if dialect == "nginx":
            assert told.get("X-Auth-Challenge") == (line if realm else None), (
                "the rendered configuration says Bearer"
            )
        else:
            assert told["WWW-Authenticate"] == line
    assert DIALECTS[dialect].render(
        Verdict(
            decision=Login(Reason.NO_SESSION),
            realm="x",
            location="https://app.acme.test/_auth/login",
        ),
        None,
    ).status == (401 if dialect == "nginx" else 302)


def test_traefik_denials_carry_no_cookies() -> None:
    request = ask("traefik", forwarded(("Cookie", "a=1")))
    assert "Cookie" not in dict(
        DIALECTS["traefik"].render(Verdict(decision=Deny(Reason.GROUP_MISSING)), request).headers  # type: ignore[arg-type]  # parsed above
    )
