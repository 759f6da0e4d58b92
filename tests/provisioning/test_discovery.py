"""A stranger names a URL, and we fetch it: what they must not get out of that."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.errors import PeerError
from gateway.provisioning import discovery
from gateway.provisioning.discovery import DiscoveryFetcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _code(fetcher: DiscoveryFetcher, issuer: str) -> str:
    with pytest.raises(PeerError) as caught:
        await fetcher.fetch(issuer)
    return caught.value.code


def _leading_to(*addresses: str) -> DiscoveryFetcher:
    async def look(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return DiscoveryFetcher(development=False, look=look)


@pytest.mark.parametrize(
    "addresses",
    [("169.254.169.254",), ("93.184.216.34", "10.0.0.1"), ("::ffff:10.0.0.1",), ("127.0.0.1",)],
    ids=["metadata", "one-of-two", "mapped", "loopback"],
)
async def test_a_name_that_leads_inside_is_refused(addresses: tuple[str, ...]) -> None:
    assert await _code(_leading_to(*addresses), "https://idp.example.com") == "discovery_address"


async def test_networks_of_the_operator_are_reached_and_no_others() -> None:
    """The server is none: that it is called at all is what shows that the guard let it through."""
    ours = [ipaddress.ip_network("127.0.0.2/32"), ipaddress.ip_network("169.254.0.0/16")]

    async def fetched(issuer: str, *addresses: str) -> str:
        async def look(_host: str, _port: int) -> Sequence[str]:
            return addresses

        return await _code(DiscoveryFetcher(development=False, networks=ours, look=look), issuer)

    assert await fetched("https://idp.example.com", "127.0.0.2") == "discovery_unreachable"
    assert await fetched("https://127.0.0.2") == "discovery_unreachable"
    assert await fetched("https://idp.example.com", "127.0.0.2", "127.0.0.3") == "discovery_address"
    assert await fetched("https://127.0.0.3") == "discovery_address"
    assert await fetched("https://169.254.169.254") == "discovery_address"


@pytest.mark.parametrize(
    "issuer",
    [
        "https://127.0.0.1",
        "https://[::1]",
        "https://169.254.169.254/latest",
        "https://[fe80::1%25eth0]",
        "https://10.0.0.1",
        "https://0x7f000001",
        "https://2130706433",
    ],
)
async def test_an_address_in_the_url_is_refused_too(issuer: str) -> None:
    async def look(host: str, _port: int) -> Sequence[str]:
        return [{"0x7f000001": "127.0.0.1", "2130706433": "127.0.0.1"}[host]]

    assert await _code(DiscoveryFetcher(development=False, look=look), issuer) in {
        "discovery_address",
        "discovery_url",
        "discovery_unreachable",
    }


@pytest.mark.parametrize(
    "issuer",
    [
        "http://idp.example.com",
        "https://user@idp.example.com",
        "https://:password@idp.example.com",
        "https://idp.example.com:8443",
        "ftp://idp.example.com",
        "https://",
    ],
)
async def test_urls_that_are_not_fetched(issuer: str) -> None:
    assert await _code(_leading_to("93.184.216.34"), issuer) == "discovery_url"


@pytest.mark.parametrize("host", ["①②⑦.0.0.1", "１２７.0.0.1", "127。0。0。1"])
async def test_an_address_in_other_digits_is_an_address(host: str) -> None:
    """The connector reads them as 127.0.0.1, and asks no resolver."""
    fetcher = _leading_to("93.184.216.34")
    assert await _code(fetcher, f"https://{host}") == "discovery_address"
    with pytest.raises(PeerError) as caught:
        await fetcher.fetch_metadata(f"https://{host}/metadata")
    assert caught.value.code == "discovery_address"


class Idp:
    """An identity provider on loopback whose two answers a test sets."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://idp.localhost:{port}"
        self.document: Answer = self._says(
            {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}
        )
        self.keys: Answer = self._says({"keys": [{"kid": "1", "kty": "RSA"}]})

    @staticmethod
    def _says(what: dict[str, Any]) -> Answer:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.json_response(what)

        return answer

    def points_to(self, url: str) -> None:
        self.document = self._says({"issuer": self.issuer, "jwks_uri": url})


@pytest.fixture
async def idp() -> AsyncIterator[Idp]:
    app = web.Application()
    holder: list[Idp] = []

    async def document(request: web.Request) -> web.StreamResponse:
        return await holder[0].document(request)

    async def keys(request: web.Request) -> web.StreamResponse:
        return await holder[0].keys(request)

    app.add_routes([web.get("/.well-known/openid-configuration", document), web.get("/keys", keys)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    holder.append(Idp(runner.addresses[0][1]))
    yield holder[0]
    await runner.cleanup()


DEVELOPMENT = DiscoveryFetcher(development=True)


async def test_document_and_keys_are_fetched(idp: Idp) -> None:
    found = await DEVELOPMENT.fetch(idp.issuer)
    assert found.document["issuer"] == idp.issuer
    assert found.keys == {"keys": [{"kid": "1", "kty": "RSA"}]}


async def test_a_redirect_is_not_followed(idp: Idp) -> None:
    async def away(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://169.254.169.254/latest/meta-data")

    idp.document = away
    assert await _code(DEVELOPMENT, idp.issuer) == "discovery_redirect"


async def test_the_key_set_is_guarded_like_the_document(idp: Idp) -> None:
    idp.points_to("http://169.254.169.254/keys")
    assert await _code(DEVELOPMENT, idp.issuer) == "discovery_address"
    idp.points_to("https://169.254.169.254/keys")
    assert await _code(DEVELOPMENT, idp.issuer) == "discovery_address"
    idp.points_to("https://①⑥⑨.254.169.254/keys")
    assert await _code(DEVELOPMENT, idp.issuer) == "discovery_address"
    idp.points_to("file:///etc/passwd")
    assert await _code(DEVELOPMENT, idp.issuer) == "discovery_url"


async def test_an_endless_answer_is_cut(idp: Idp) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    idp.document = endless
    assert await _code(DEVELOPMENT, idp.issuer) == "discovery_size"


async def test_a_silent_peer_is_left(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "TOTAL_S", 0.05)
    released = asyncio.Event()

    async def silent(_request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    idp.document = silent
    assert await _code(DEVELOPMENT, idp.issuer) == "discovery_unreachable"
    released.set()


async def test_compressed_bombs_are_not_unpacked(idp: Idp) -> None:
    async def bomb(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x", headers={"Content-Encoding": "gzip"})

    idp.document = bomb
    assert await _code(DEVELOPMENT, idp.issuer) == "discovery_encoding"


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"[" * 100_000, b"\xff\xfe"])
async def test_what_is_no_json_object_is_refused_without_being_quoted(
    idp: Idp, body: bytes
) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    idp.document = answer
    with pytest.raises(PeerError) as caught:
        await DEVELOPMENT.fetch(idp.issuer)
    assert caught.value.code == "discovery_form"
    assert "<html>" not in str(caught.value)


async def test_errors_name_the_status_and_not_the_body(idp: Idp) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"secret": "hunter2"}, status=403)

    idp.document = answer
    with pytest.raises(PeerError, match="403") as caught:
        await DEVELOPMENT.fetch(idp.issuer)
    assert "hunter2" not in str(caught.value)
