"""Who begins too many logins from one address is refused before anything is stored for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from multidict import CIMultiDict

from gateway.core.reason import Reason
from gateway.login.authorize import LOGINS_AT_MOST, Destination, send_to_cognito
from gateway.login.request import Browser, BrowserError


class BegunError(Exception):
    """The limit let it through: from here on the store would be written."""


class Counter:
    def __init__(self) -> None:
        self.counted: dict[str, int] = {}

    async def hit(self, client: str, *, at_most: int, window_s: int = 60, kind: str = "") -> bool:
        name = f"{kind} {client}"
        self.counted[name] = self.counted.get(name, 0) + 1
        return self.counted[name] <= at_most


async def begin(counter: Counter, client: str, *, known: bool = True) -> None:
    def began() -> str:
        raise BegunError

    services = SimpleNamespace(attempts=counter, random_token=began)
    browser = Browser(
        cast("Any", services), cast("Any", None), "acme.localhost", "id", "en", client, known
    )
    await send_to_cognito(
        browser,
        cast("Any", SimpleNamespace(id="acme")),
        cast("Any", SimpleNamespace(name="okta")),
        Destination("http://acme.localhost/"),
    )


@pytest.mark.parametrize(
    ("one", "same"),
    [("203.0.113.7", "203.0.113.7"), ("2001:db8::1", "2001:db8::2")],
    ids=["IPv4", "a /64"],
)
async def test_one_address_begins_so_many_logins_in_a_while(one: str, same: str) -> None:
    counter = Counter()
    for _ in range(LOGINS_AT_MOST):
        with pytest.raises(BegunError):
            await begin(counter, one)
    with pytest.raises(BrowserError) as refused:
        await begin(counter, same)
    assert (refused.value.reason, refused.value.status) == (Reason.LOGIN_LOOP, 429)
    with pytest.raises(BegunError):
        await begin(counter, "203.0.113.8")


async def test_nobody_is_refused_where_the_ingress_does_not_say_who_asks() -> None:
    counter = Counter()
    for _ in range(LOGINS_AT_MOST + 1):
        with pytest.raises(BegunError):
            await begin(counter, "127.0.0.1", known=False)
    assert counter.counted == {}


@pytest.mark.parametrize(
    ("client", "known"),
    [("203.0.113.7", True), ("10.1.2.3", False)],
    ids=["a public address", "one of the company's network"],
)
async def test_the_store_is_told_whose_login_it_keeps(client: str, known: bool) -> None:
    told: list[str] = []

    async def begin(pending: object, *, binding: str | None, client: str = "") -> Any:
        told.append(client)
        raise BegunError

    services = SimpleNamespace(
        attempts=Counter(),
        random_token=lambda: "x",
        sessions=SimpleNamespace(start_login=begin),
        clock=lambda: 0,
        config=SimpleNamespace(origin=lambda host: f"https://{host}"),
        signing_keys=(),
    )
    request = cast("Any", SimpleNamespace(headers=CIMultiDict()))
    browser = Browser(cast("Any", services), request, "acme.localhost", "id", "en", client, known)
    with pytest.raises(BegunError):
        await send_to_cognito(
            browser,
            cast("Any", SimpleNamespace(id="acme", client_id="c")),
            cast("Any", SimpleNamespace(name="okta")),
            Destination("http://acme.localhost/"),
        )
    assert told == [client]
