"""Who begins too many logins from one address is refused before anything is stored for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from multidict import CIMultiDict

from gateway.core.model import ProviderKind
from gateway.core.reason import Reason
from gateway.login.authorize import (
    LOGINS_AT_MOST,
    Destination,
    choices,
    choose_provider,
    fallback,
    send_to_cognito,
)
from gateway.login.request import Browser, BrowserError
from tests.core.build import provider, tenant


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
            cast("Any", SimpleNamespace(id="acme", client_id="c", pool="default")),
            cast("Any", SimpleNamespace(name="okta")),
            Destination("http://acme.localhost/"),
        )
    assert told == [client]


OKTA = provider()
ENTRA = provider("acme-entra", ProviderKind.ENTRA, domains=frozenset({"acme.org"}))
HIDDEN = provider("acme-ping", ProviderKind.OIDC, domains=frozenset({"acme.net"}), hidden=True)
ALL = (OKTA, ENTRA, HIDDEN)


@pytest.mark.parametrize(
    ("changes", "asked", "chosen"),
    [
        ({"providers": ALL}, {}, None),
        ({"providers": ALL}, {"wanted": "acme-ping"}, HIDDEN),
        ({"providers": ALL}, {"hint": "a@acme.net"}, HIDDEN),
        ({"providers": (OKTA, HIDDEN)}, {}, OKTA),
        ({"providers": (HIDDEN,)}, {}, HIDDEN),
        ({"providers": ALL, "default_provider": "acme-entra"}, {}, ENTRA),
        ({"providers": ALL, "default_provider": "acme-entra"}, {"hint": "a@acme.com"}, OKTA),
        ({"providers": ALL, "default_provider": "acme-entra"}, {"hint": "a@else.com"}, None),
        ({"providers": ALL, "default_provider": "acme-entra"}, {"ask": True}, None),
        ({"providers": ALL, "default_provider": "acme-entra"}, {"wanted": "acme-okta"}, OKTA),
        (
            {"providers": (OKTA, HIDDEN), "inactive_providers": (ENTRA,)},
            {"wanted": "acme-entra"},
            OKTA,
        ),
        (
            {
                "providers": (OKTA, HIDDEN),
                "inactive_providers": (ENTRA,),
                "default_provider": "acme-entra",
            },
            {},
            OKTA,
        ),
    ],
    ids=[
        "several: the person chooses",
        "a hidden one by its link",
        "a hidden one by its domain",
        "one that is shown",
        "a hidden one that is the only one",
        "the default",
        "the address before the default",
        "an address of nobody's domain is not the default's",
        "somebody else: the default is not taken",
        "a link before the default",
        "a link to one that is inactive is none",
        "an inactive default is none",
    ],
)
def test_where_a_login_begins(changes: dict[str, Any], asked: dict[str, Any], chosen: Any) -> None:
    assert choose_provider(tenant(**changes), **{"wanted": "", "hint": "", **asked}) is chosen


@pytest.mark.parametrize(
    ("changes", "wanted", "reason"),
    [
        ({"providers": (), "inactive_providers": ALL}, "", Reason.PROVIDER_INACTIVE),
        ({"providers": (), "inactive_providers": ALL}, "acme-okta", Reason.PROVIDER_INACTIVE),
        ({"providers": ALL}, "globex-okta", Reason.BAD_REQUEST),
    ],
)
def test_where_none_begins(changes: dict[str, Any], wanted: str, reason: Reason) -> None:
    with pytest.raises(BrowserError) as refused:
        choose_provider(tenant(**changes), wanted=wanted, hint="")
    assert refused.value.reason is reason


def test_a_hidden_provider_is_no_choice_unless_all_are() -> None:
    assert choices(tenant(providers=ALL)) == (OKTA, ENTRA)
    assert choices(tenant(providers=(HIDDEN,))) == (HIDDEN,)


@pytest.mark.parametrize(
    ("hint", "offered"),
    [("", (HIDDEN, OKTA)), ("a@acme.com", (OKTA,)), ("a@acme.org", ())],
    ids=["nobody was typed", "whoever they vouch for", "nobody that they vouch for"],
)
def test_a_fallback_is_offered_to_those_whom_it_may_sign_in(
    hint: str, offered: tuple[Any, ...]
) -> None:
    at = tenant(
        providers=ALL,
        fallback_providers=("acme-ping", "acme-gone", "acme-okta", "acme-entra"),
    )
    assert fallback(at, ENTRA, hint=hint) == offered
