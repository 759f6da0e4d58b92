"""The browserless person keeps to what browsers do; a login that only works for it would prove
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from demo.net import Bound, bind, serve
from tests.support.browserless import Person, RedirectLoopError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def site() -> AsyncIterator[Bound]:
    """Sets the cookies it is asked for, redirects where it is told, and shows what it received."""
    bound = bind()

    async def show(request: web.Request) -> web.StreamResponse:
        target = "/circle" if request.path == "/circle" else request.query.get("to")
        response = (
            web.Response(status=302, headers={"Location": target})
            if target
            else web.json_response(dict(request.headers))
        )
        for cookie in request.query.getall("set", []):
            response.headers.add("Set-Cookie", cookie)
        if request.path == "/form":
            return web.Response(
                text=(
                    f'<form method="post" action="{bound.url("other.localhost")}/"><input '
                    'name="a"></form>'
                ),
                content_type="text/html",
            )
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", show)
    runner = await serve(app, bound)
    yield bound
    await runner.cleanup()


async def test_cookies_belong_to_a_host_whatever_its_port(site: Bound, person: Person) -> None:
    await person.open(site.url("a.localhost") + "/?set=x=1; Path=/")
    assert person.cookies("a.localhost") == {"x": "1"} and person.cookies("b.localhost") == {}
    assert "x=1" in (await person.open(site.url("a.localhost"))).text
    assert "x=1" not in (await person.open(site.url("b.localhost"))).text


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        ("__Host-a=1; Secure; Path=/", True),
        ("__Host-a=1; Path=/", False),
        ("__Host-a=1; Secure; Path=/x", False),
        ("__Host-a=1; Secure; Path=/; Domain=a.localhost", False),
        ("a=1; Secure", True),
    ],
)
async def test_host_prefix_is_kept_to(site: Bound, person: Person, cookie: str, kept: bool) -> None:
    await person.open(site.url("a.localhost") + "/?set=" + cookie)
    assert bool(person.cookies("a.localhost")) is kept


async def test_cookie_is_deleted_by_max_age_zero(site: Bound, person: Person) -> None:
    await person.open(site.url("a.localhost") + "/?set=x=1; Path=/")
    await person.open(site.url("a.localhost") + "/?set=x=; Path=/; Max-Age=0")
    assert person.cookies("a.localhost") == {}


async def test_lax_cookie_stays_at_home_on_a_cross_site_post(site: Bound, person: Person) -> None:
    await person.open(
        site.url("other.localhost")
        + "/?set=lax=1; SameSite=Lax; Path=/&set=none=1; SameSite=None; Secure; Path=/"
    )
    page = await person.submit(await person.open(site.url("a.localhost") + "/form"), {"a": "1"})
    assert "lax=1" not in page.text and "none=1" in page.text
    assert (
        '"Sec-Fetch-Site": "cross-site"' in page.text
        and f'"Origin": "{site.url("a.localhost")}"' in page.text
    )


async def test_strict_cookie_stays_at_home_when_another_site_leads_there(
    site: Bound, person: Person
) -> None:
    await person.open(site.url("a.localhost") + "/?set=s=1; SameSite=Strict; Path=/")
    assert "s=1" in (await person.open(site.url("a.localhost"))).text
    assert (
        "s=1"
        not in (await person.open(f"{site.url('b.localhost')}/?to={site.url('a.localhost')}/")).text
    )


async def test_circle_of_redirects_is_a_failure(site: Bound, person: Person) -> None:
    with pytest.raises(RedirectLoopError):
        await person.open(f"{site.url('a.localhost')}/circle")
