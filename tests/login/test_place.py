"""Where a login comes from, as a CDN says."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock, Mock

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.check.trusted_peer import Trust
from gateway.config.model import Ingress
from gateway.login import callback
from gateway.login.place import MAX_CHARACTERS, place_of

CITY, COUNTRY = "CloudFront-Viewer-City", "CloudFront-Viewer-Country"


def place(headers: dict[str, str], *names: str, peer: str = "10.0.0.1") -> str:
    transport = Mock()
    transport.get_extra_info.return_value = (peer, 1)
    request = make_mocked_request(
        "GET", "/_auth/callback", CIMultiDict(headers), transport=transport
    )
    return place_of(request, names, lambda address: address == "10.0.0.1")


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({CITY: "S%C3%A3o Paulo", COUNTRY: "BR"}, "S\u00e3o Paulo, BR"),
        ({COUNTRY: "BR"}, "BR"),
        ({CITY: " ", COUNTRY: "BR"}, "BR"),
        ({CITY: "a%0Ab", COUNTRY: "B\u202eR"}, ""),
        ({CITY: "x" * 9000, COUNTRY: "BR"}, "x" * MAX_CHARACTERS),
        ({CITY: "%00" * 9000}, ""),
        ({CITY: "<b>&", COUNTRY: "%E4"}, "<b>&, \ufffd"),
        ({}, ""),
    ],
)
def test_the_values_of_the_named_headers_are_shown(headers: dict[str, str], shown: str) -> None:
    assert place(headers, CITY, COUNTRY) == shown


def test_nobody_but_a_proxy_is_believed_and_no_header_that_is_not_named() -> None:
    headers = {CITY: "Leipzig", COUNTRY: "DE"}
    assert place(headers, CITY, peer="10.0.0.2") == ""
    assert place(headers, CITY, peer="::ffff:10.0.0.1") == "Leipzig"
    assert place(headers, COUNTRY) == "DE"
    assert place(headers) == ""


def test_a_new_session_has_the_place_and_the_address_of_its_login() -> None:
    transport = Mock()
    transport.get_extra_info.return_value = ("10.0.0.1", 1)
    headers = CIMultiDict({CITY: "Leipzig", "User-Agent": "a" * 300})
    request = make_mocked_request("GET", "/_auth/callback", headers, transport=transport)
    services = SimpleNamespace(
        trust=Trust(Ingress(trusted_proxies=("10.0.0.1",))),
        config=SimpleNamespace(ingress=Ingress(place_headers=(CITY,))),
    )
    attempt = MagicMock()
    attempt.browser.request, attempt.browser.services = request, services
    for address, shown in (("203.0.113.7", "203.0.113.7"), ("10.0.0.1", "")):
        attempt.browser.client = address
        session = callback._new_session(attempt, Mock(), Mock())
        assert (session.place, session.client) == ("Leipzig", shown)
        assert session.user_agent == "a" * 200


def test_a_header_that_is_none_is_refused() -> None:
    keys = ["0123456789abcdef"]
    for names in (["Host"], ["a b"], ["x" * 65], ["A", "B", "C", "D"]):
        with pytest.raises(ValueError, match="place_headers"):
            Ingress.model_validate({"keys": keys, "place_headers": names})
