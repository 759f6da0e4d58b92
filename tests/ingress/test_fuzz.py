"""No bytes of a client turn a denial into an allow, or change who the application is told it is.

The ingress says method, scheme, host and URI; everything else in a check is the client's. So is the
URI, and so is every Cookie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.check.dialects import DIALECTS, Malformed, Verdict
from gateway.config.model import Config, Ingress
from gateway.core.decide import decide, match
from gateway.core.decision import Allow, Decision
from gateway.core.headers import identity_headers
from gateway.core.model import Secret
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.document import TenantDocument
from tests.ingress.checks import COOKIE, ask
from tests.ingress.stand import ACME, NOW, TENANTS, identity, session
from tests.ingress.test_cases import is_public, readings

if TYPE_CHECKING:
    from gateway.core.model import AuthRequest

CONFIG = Config(
    development=True,
    public_scheme="http",
    ingress=Ingress(keys=(Secret("k" * 32),)),
    cognito={
        "region": "eu-north-1",
        "user_pool_id": "eu-north-1_Test",
        "domain": "http://cognito.localhost",
    },
)
TENANT = compile_tenant(
    TenantDocument.model_validate(TENANTS[0]), CONFIG, client_id="acme1", client_secret=Secret("s")
)
ALICE = session("alice", identity("alice@acme.test", groups=("app-users",), name="Álice, \r\n"))
EXPECTED = identity_headers(TENANT, ALICE.identity, assertion="a.b.c")

as_aiohttp_reads_it = st.binary(max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
pieces = st.sampled_from(
    [
        "/",
        "..",
        ".",
        "%2e",
        "%2f",
        "%5c",
        "\\",
        ";",
        "#",
        "%23",
        "?",
        "%3f",
        "//",
        "public",
        "admin",
        ".css",
        "%00",
        "%",
        "%25",
        "%252e",
        "gets",
        "\udcff",
        "é",
        "*",
        "http:",
        "@",
        ACME,
    ]
)
uris = st.lists(st.one_of(pieces, as_aiohttp_reads_it), max_size=8).map(
    lambda parts: "/" + "".join(parts)
)
values = st.one_of(
    as_aiohttp_reads_it,
    st.sampled_from(
        [
            COOKIE,
            f"{COOKIE}=alice",
            f"{COOKIE}=bob",
            "Bearer x",
            "text/html",
            "navigate",
            "GET",
            "http",
            "https",
            ACME,
            "/public/x",
        ]
    ),
)
# What no proxy of ours passes twice: the four facts. Their aliases, and everything else, the client
# may send as often as it likes.
names = st.sampled_from(
    [
        "X_Forwarded_Uri",
        "X.Forwarded.Host",
        "X-Forwarded_Method",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "X-Request-Id",
        "Authorization",
        "Accept",
        "Accept-Language",
        "Sec-Fetch-Mode",
        "Sec-Fetch-Dest",
        "Sec-Purpose",
        "X-Requested-With",
        "Origin",
        "Access-Control-Request-Method",
        "User-Agent",
        "X-Auth-Request-Email",
        "X-Auth-Request-User",
        "Remote-User",
        "X-HTTP-Method-Override",
        "X-Gateway-Key",
        "Upgrade",
        "Connection",
    ]
)
headers = st.lists(st.tuples(names, values), max_size=8)
cookies = st.lists(
    st.one_of(as_aiohttp_reads_it, st.lists(values, max_size=4).map("; ".join)), max_size=3
)
methods = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "PROPFIND", "DELETE"])


def asked(
    dialect: str, method: str, uri: str, lines: list[tuple[str, str]]
) -> AuthRequest | Malformed:
    if dialect == "envoy":
        return ask(
            "envoy",
            [("Host", ACME), ("X-Forwarded-Proto", "http"), *lines],
            method=method,
            raw_path=f"/auth/envoy{uri}",
        )
    described = [
        ("X-Forwarded-Method", method),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", ACME),
        ("X-Forwarded-Uri", uri),
    ]
    return ask(dialect, [*described, *lines])


def decided(request: AuthRequest) -> Decision:
    """As the check does it: the first live session among the cookies of our name."""
    live = next((ALICE for cookie in request.cookies if cookie == "alice"), None)
    return decide(TENANT, request, match(TENANT, request), session=live, machine=None, now=NOW)


@settings(max_examples=400)
@example("caddy", "GET", "/public", [("Authorization", "__Host-gw")], [])
@given(st.sampled_from(sorted(DIALECTS)), methods, uris, headers, cookies)
def test_without_a_session_only_public_paths_are_allowed_however_they_are_read(
    dialect: str, method: str, uri: str, noise: list[tuple[str, str]], jars: list[str]
) -> None:
    lines = [*noise, *(("Cookie", jar) for jar in jars if "alice" not in jar)]
    request = asked(dialect, method, uri, lines)
    if isinstance(request, Malformed):
        return
    decision = decided(request)
    if isinstance(decision, Allow):
        assert decision.session is None
        assert all(is_public(reading) for reading in readings(uri)), uri
        answer = DIALECTS[dialect].render(
            Verdict(decision=decision, headers=identity_headers(TENANT, None) or ()), request
        )
        assert not any(
            value
            for name, value in answer.headers
            if name.lower() not in {"cookie", "x-envoy-auth-headers-to-remove"}
            # The client's own is the application's to judge.
            and (name.lower(), value) not in {("authorization", sent) for _, sent in noise}
        )


@settings(max_examples=400)
@given(st.sampled_from(sorted(DIALECTS)), methods, uris, headers, cookies, st.integers(0, 3))
def test_with_a_session_the_identity_is_the_sessions_whatever_else_is_sent(
    dialect: str, method: str, uri: str, noise: list[tuple[str, str]], jars: list[str], place: int
) -> None:
    jars = [*jars[:place], f"{COOKIE}=alice", *jars[place:]]
    request = asked(dialect, method, uri, [*noise, *(("Cookie", jar) for jar in jars)])
    if isinstance(request, Malformed):
        return
    decision = decided(request)
    if not isinstance(decision, Allow):
        return
    assert decision.session is ALICE
    assert EXPECTED is not None
    answer = DIALECTS[dialect].render(Verdict(decision=decision, headers=EXPECTED), request)
    extra = [name for name, _ in answer.headers[len(EXPECTED) :]]
    assert answer.headers[: len(EXPECTED)] == EXPECTED
    assert set(extra) <= {"Authorization", "Cookie", "X-Envoy-Auth-Headers-To-Remove"}
    assert [value for name, value in answer.headers if name == "Authorization"] in (
        [],
        [""],
        [value for name, value in noise if name.lower() == "authorization"],
    )
    assert "alice" not in "".join(
        value for name, value in answer.headers if name == "Cookie" and f"{COOKIE}=" in value
    )
    for name, value in answer.headers:
        (name + value).encode("utf-8")
        assert not set("\r\n\x00") & set(value)


@settings(max_examples=200)
@given(st.sampled_from(sorted(DIALECTS)), uris, headers, cookies)
def test_a_denial_stays_a_denial_with_more_headers(
    dialect: str, uri: str, noise: list[tuple[str, str]], jars: list[str]
) -> None:
    bare = asked(dialect, "GET", uri, [])
    loud = asked(
        dialect, "GET", uri, [*noise, *(("Cookie", jar) for jar in jars if "alice" not in jar)]
    )
    if isinstance(bare, Malformed):
        assert isinstance(loud, Malformed)
    elif not isinstance(decided(bare), Allow):
        assert isinstance(loud, Malformed) or not isinstance(decided(loud), Allow)
