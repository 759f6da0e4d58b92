"""Whatever arrives, the stand-ins answer in their own words: parsers never fall over, and errors
never leave the registered addresses.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import botocore.session
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from demo.cognito.authorize import AuthorizeRequest, ErrorPage, SendBack, parse
from demo.cognito.control.errors import ApiError
from demo.cognito.control.plane import OPERATIONS
from demo.cognito.control.state import ControlState
from demo.cognito.control.users import list_users
from demo.cognito.control.validation import check
from demo.cognito.minting import Mint
from demo.cognito.pool import AppClient, Pool
from demo.faults import Faults
from demo.idp.directory import Directory
from demo.idp.graph_delta import Deltas
from demo.idp.graph_errors import GraphError
from demo.idp.graph_time import epoch, graph_time
from demo.idp.okta_log import okta_time
from gateway.cognito.sdk_model import with_new_operations
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import Callable

CALLBACK = "https://app.test/callback?keep=1"
POOL = Pool("eu-north-1_Demo12345", lambda: 1_700_000_000.0, spare_keys())
MINT = Mint(POOL, "https://issuer.test", Faults())
POOL.clients["client"] = AppClient(
    "client",
    None,
    {
        "ClientName": "app",
        "CallbackURLs": [CALLBACK],
        "AllowedOAuthFlowsUserPoolClient": True,
        "AllowedOAuthFlows": ["code"],
        "AllowedOAuthScopes": ["openid", "email"],
        "SupportedIdentityProviders": ["acme-okta", "COGNITO"],
    },
)
POOL.add_user("dave", password="demo", email="dave@pool.test")
MODEL = with_new_operations(botocore.session.get_session()).get_service_model("cognito-idp")
PARAMETERS = [
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "nonce",
    "prompt",
    "code_challenge",
    "code_challenge_method",
    "identity_provider",
]
VALUES = (
    st.sampled_from(
        [
            "client",
            CALLBACK,
            "code",
            "token",
            "openid",
            "openid email",
            "S256",
            "x" * 43,
            "none",
            "acme-okta",
            "",
        ]
    )
    | st.text()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(PARAMETERS), VALUES), st.sampled_from([1, 2]))
def test_authorization_request_ends_at_the_registered_address_or_on_a_page(
    query: dict[str, str], version: int
) -> None:
    POOL.behaviour.managed_login_version = version
    match parse(POOL, query):
        case AuthorizeRequest() as request:
            assert request.redirect_uri == CALLBACK and request.client.client_id == "client"
        case SendBack(location):
            assert location.startswith(CALLBACK + "&error=")
        case ErrorPage(message):
            assert message


@given(st.text(), st.text())
def test_answer_keeps_the_callbacks_own_query_and_says_what_was_meant(
    code: str, state: str
) -> None:
    request = AuthorizeRequest(POOL.clients["client"], CALLBACK, ("openid",), state=state)
    query = URL(request.back(code=code), encoded=True).query
    if code.isprintable() and state.isprintable():
        assert dict(query) == {"keep": "1", "code": code, "state": state}


def refusal(call: Callable[[], object]) -> ApiError | GraphError | None:
    """The refusal in the stand-in's own words; any other exception is a fault of the stand-in."""
    try:
        call()
    except (ApiError, GraphError) as refused:
        return refused
    return None


@given(
    st.sampled_from(sorted(OPERATIONS)),
    JSON
    | st.dictionaries(
        st.sampled_from(["UserPoolId", "ClientId", "ProviderName", "ProviderDetails"]), JSON
    ),
)
def test_request_that_the_model_does_not_know_is_an_aws_error(operation: str, request: Any) -> None:
    refused = refusal(lambda: check(MODEL.operation_model(operation).input_shape, request))
    assert refused is None or refused.code in (
        "InvalidParameterException",
        "SerializationException",
    )


@given(st.text() | st.from_regex(r'(email|sub|custom:oid) ?\^?= ?"[a-z@.]*"', fullmatch=True))
def test_filter_is_understood_or_refused(text: str) -> None:
    refused = refusal(
        lambda: list_users(ControlState(POOL, MINT), {"UserPoolId": POOL.pool_id, "Filter": text})
    )
    assert refused is None or refused.code == "InvalidParameterException"


@given(st.text().filter(lambda text: text != "latest"))
def test_delta_token_that_was_not_given_out_is_refused(text: str) -> None:
    directory = Directory(new_user_id=lambda: "u", new_group_id=lambda: "g", clock=lambda: 0.0)
    deltas = Deltas(directory, "http://entra.localhost", clock=lambda: 0.0)
    refused = refusal(lambda: deltas.answer("users", {"$deltatoken": text}))
    assert refused is not None and refused.status in (400, 410)


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001  # Hypothesis wants naive bounds
def test_times_survive_the_wire(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC).timestamp()
    assert abs(epoch(graph_time(at)) - at) < 1e-5
    assert abs(datetime.fromisoformat(okta_time(at)).timestamp() - at) < 1e-3 + 1e-6
