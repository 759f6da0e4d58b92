"""Which headers of a client pass: the table is consistent, and its patterns say the same as its
words.
"""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.client_header_names import HARMLESS, NEVER, ORDINARY, PREFIXES
from gateway.core.client_headers import (
    MAX_PATTERN_CHARS,
    is_never_passed,
    is_suspicious,
    removal_patterns,
)

HARMFUL = [name for names in NEVER.values() for name in names]
NAMES = st.one_of(
    st.sampled_from([*HARMFUL, *HARMLESS, *ORDINARY]),
    st.builds(
        "{}-{}".format,
        st.sampled_from(PREFIXES),
        st.from_regex(r"[A-Za-z0-9-]{0,20}", fullmatch=True),
    ),
    st.builds(
        lambda name, cut, more: name[:cut] + more,
        st.sampled_from(HARMLESS),
        st.integers(1, 20),
        st.from_regex(r"[a-z0-9-]{0,3}", fullmatch=True),
    ),
)
PATTERNS = [re.compile(pattern) for pattern in removal_patterns(HARMLESS)]


def removed(name: str) -> bool:
    return any(pattern.fullmatch(name.lower()) for pattern in PATTERNS)


def test_no_name_stands_in_two_lists() -> None:
    lowered = [name.lower() for name in (*HARMFUL, *HARMLESS, *ORDINARY)]
    assert sorted(lowered) == sorted(set(lowered))


def test_harmless_names_are_those_that_their_prefix_would_remove_and_ordinary_ones_are_not() -> (
    None
):
    assert [name for name in HARMLESS if not is_suspicious(name)] == []
    assert [name for name in ORDINARY if is_suspicious(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "X-Script-Name",
        "Script-Name",
        "X-Original-Path",
        "X-Forwarded-Url",
        "X-Forwarded-Context",
        "X-Http-Path-Override",
        "X-Url-Scheme",
        "Front-End-Https",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "X-Forwarded-Protocol",
        "X-Amzn-Oidc-Data",
        "X-MS-CLIENT-PRINCIPAL",
        "X-Goog-Authenticated-User-Email",
        "Cf-Access-Jwt-Assertion",
        "X-Pomerium-Claim-Email",
        "X-authentik-username",
        "X-Vouch-User",
        "Tailscale-User-Login",
        "X-Consumer-Username",
        "X-Forwarded-Client-Cert",
        "Impersonate-User",
        "X-SSL-Client-Verify",
        "SSL-Client-Cert",
        "X-Rewrite-URL",
    ],
)
def test_what_is_known_to_be_harmful_is_removed_by_name_and_by_prefix(name: str) -> None:
    assert is_never_passed(name)
    assert removed(name)


@pytest.mark.parametrize(
    "name",
    [
        "X-Requested-With",
        "X-CSRF-Token",
        "X-CSRFToken",
        "X-XSRF-Token",
        "X-Api-Key",
        "User-Agent",
        "HX-Request",
        "Idempotency-Key",
        "If-None-Match",
        "Destination",
        "X-HgArg-1",
        "X-HgProto-1",
        "Node-RED-API-Version",
        "Marimo-Session-Id",
        "Marimo-Server-Token",
        "Mcp-Session-Id",
        "MCP-Protocol-Version",
        "X-Requested-By",
        "X-Amz-Date",
        "X-Amz-Content-SHA256",
        "X-NuGet-ApiKey",
        "X-Transmission-Session-Id",
        "CSRFPreventionToken",
        "X-Plex-Token",
        "X-Emby-Authorization",
        "X-Metabase-Session",
    ],
)
def test_what_frameworks_cannot_do_without_passes(name: str) -> None:
    assert not removed(name)
    assert name in {*HARMLESS, *ORDINARY}


@given(NAMES)
def test_the_patterns_remove_what_is_suspicious_and_not_listed(name: str) -> None:
    assert removed(name) == (
        is_suspicious(name) and name.lower() not in {known.lower() for known in HARMLESS}
    )


def test_every_pattern_fits_where_it_is_written() -> None:
    many = [f"X-{''.join(letters)}-Of-The-Application" for letters in product("abcdefgh", repeat=3)]
    patterns = removal_patterns((*HARMLESS, *many))
    assert max(map(len, patterns)) <= MAX_PATTERN_CHARS
    compiled = [re.compile(pattern) for pattern in patterns]
    assert not any(pattern.fullmatch(name.lower()) for name in many for pattern in compiled)
    assert any(pattern.fullmatch("x-abz-of-the-application") for pattern in compiled)
