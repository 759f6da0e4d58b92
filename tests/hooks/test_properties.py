"""Arbitrary input never raises anything but the refusal; the standing does not depend on order or
number.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.model import Secret
from gateway.hooks.event import DeliveryRejectedError, Effect, Group, HookEvent, Source, Subject
from gateway.hooks.ordering import AccountState, reduce
from gateway.hooks.scim import filter as scim_filter
from gateway.hooks.scim import patch as scim_patch
from gateway.hooks.scim import resources
from gateway.hooks.sources import backchannel_logout, entra, okta, ssf, universal_logout
from tests.hooks.samples import DIRECTORY, NOW, keys, load, okta_delivery, okta_event, sign

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
)
WORDS = st.sampled_from(
    [
        "value",
        "data",
        "events",
        "target",
        "id",
        "type",
        "User",
        "sub_id",
        "format",
        "email",
        "iss_sub",
        "Operations",
        "op",
        "path",
        "remove",
        "members",
        "active",
    ]
)
documents = st.recursive(
    scalars | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=30,
)


def mutations(sample: Any) -> st.SearchStrategy[Any]:
    """The sample with arbitrary things at arbitrary places."""
    if isinstance(sample, dict):
        return st.fixed_dictionaries(
            {k: st.one_of(st.just(v), mutations(v), documents) for k, v in sample.items()}
        )
    if isinstance(sample, list):
        return (
            st.lists(st.one_of(*[mutations(v) for v in sample], documents), max_size=3)
            if sample
            else st.just(sample)
        )
    return st.one_of(st.just(sample), documents)


refusal = contextlib.suppress(DeliveryRejectedError)


@given(mutations(okta_delivery(okta_event("group.user_membership.remove", group="00g1"))))
def test_okta_parses_or_refuses(document: Any) -> None:
    with refusal:
        okta.parse_delivery(json.dumps(document).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=200))
def test_bytes_parse_or_are_refused(body: bytes) -> None:
    with refusal:
        okta.parse_delivery(body)
    with refusal:
        entra.parse_delivery(body, client_states=[Secret("STATE")], directory_id=DIRECTORY)
    with refusal:
        ssf.parse_delivery(
            body, keys=keys(), issuers=frozenset({"i"}), audiences=frozenset({"a"}), now=NOW
        )
    with refusal:
        backchannel_logout.parse_delivery(
            body, keys=keys(), issuers=frozenset({"i"}), audiences=frozenset({"a"}), now=NOW
        )


@given(mutations(load("graph_group_member_removed.json")) | mutations(load("graph_lifecycle.json")))
def test_graph_parses_or_refuses(document: Any) -> None:
    body = json.dumps(document).encode("utf-8", "surrogatepass")
    with refusal:
        entra.parse_delivery(body, client_states=[Secret("STATE")], directory_id=DIRECTORY)
    with refusal:
        entra.parse_lifecycle(body, client_states=[Secret("STATE")], directory_id=DIRECTORY)


@settings(max_examples=60)
@given(
    mutations(load("okta_caep_session_revoked.json")),
    st.dictionaries(
        st.sampled_from(["iss", "aud", "iat", "jti", "events", "sub", "nonce"]), documents
    ),
)
def test_signed_messages_parse_or_are_refused(claims: Any, changes: dict[str, Any]) -> None:
    merged = {**(claims if isinstance(claims, dict) else {}), **changes}
    merged["iss"] = merged["iss"] if isinstance(merged.get("iss"), str) else "https://acme.okta.com"
    issuers, audiences = (
        frozenset({"https://acme.okta.com"}),
        frozenset({"https://hooks.example.com/hooks/ssf/acme/acme-okta"}),
    )
    with contextlib.suppress(DeliveryRejectedError):
        ssf.parse_delivery(
            sign(merged, typ="secevent+jwt").encode(),
            keys=keys(),
            issuers=issuers,
            audiences=audiences,
            now=NOW,
        )
    with refusal:
        backchannel_logout.parse_delivery(
            urlencode({"logout_token": sign(merged, typ="logout+jwt")}).encode(),
            keys=keys(),
            issuers=issuers,
            audiences=audiences,
            now=NOW,
        )
    with refusal:
        token = sign({**merged, "exp": int(NOW) + 9}, typ="global-token-revocation+jwt")
        universal_logout.parse_delivery(
            json.dumps(changes).encode("utf-8", "surrogatepass"),
            token=token,
            keys=keys(),
            issuers=issuers,
            endpoint=min(audiences),
            client_id=None,
            now=NOW,
        )


@given(
    st.dictionaries(
        st.text(max_size=12) | st.sampled_from(["userName", "active", "members", "displayName"]),
        documents,
    ),
    mutations(load("scim_patches.json")[1]["body"]),
)
def test_scim_parses_or_refuses(document: dict[str, Any], patch: Any) -> None:
    with refusal:
        user = resources.user_document({"userName": "bob@acme.com", **document})
        resources.user_events("r", None, user, now=NOW)
    with refusal:
        resources.group_document({"displayName": "g", **document})
    if isinstance(patch, dict):
        with refusal:
            scim_patch.parse_patch(patch).apply(document)
    with refusal:
        scim_filter.parse_filter(json.dumps(patch))


events = st.builds(
    HookEvent,
    source=st.just(Source.OKTA),
    type=st.just("t"),
    effect=st.sampled_from([Effect.GROUP_REMOVED, Effect.GROUP_ADDED]),
    subject=st.just(Subject(idp_subject="00u1")),
    group=st.just(Group("g")),
    event_time=st.integers(90, 110).map(float),
)
received = st.integers(95, 120).map(float)


@given(
    st.lists(st.tuples(events, received), max_size=8).flatmap(
        lambda base: st.tuples(st.just(base), st.permutations(base + base[:3]))
    )
)
def test_standing_depends_on_the_set_of_events_only(
    orders: tuple[list[tuple[HookEvent, float]], list[tuple[HookEvent, float]]],
) -> None:
    def fold(order: list[tuple[HookEvent, float]]) -> AccountState | None:
        standing: AccountState | None = None
        for event, at in order:
            standing, _ = reduce(standing, event, at)
        return standing

    once, shuffled = (fold(order) for order in orders)
    assert once == shuffled
