"""The server of the check listener beside aiohttp's, with the same bytes: the same requests reach
the handler, or fewer. ``scripts/soak server-fuzz SECONDS`` does so for longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.check.oracle import SEEDS, Oracle, answers, be_quiet, fuzz
from tests.http.test_foreign_bytes import NOT_HTTP

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with be_quiet():
        yield


async def test_whatever_was_changed_no_request_is_answered_that_aiohttp_would_not_see() -> None:
    count, known, found = await fuzz(most=1500, seed=20261129)
    assert found == []
    assert count == 1500 and known > 40


async def test_wherever_two_requests_are_cut_both_servers_say_the_same() -> None:
    oracle = Oracle()
    for first in SEEDS:
        data = first + SEEDS[0]
        whole = answers(await oracle.ours([data]))
        for at in range(1, len(data)):
            pieces = [data[:at], data[at:]]
            got = answers(await oracle.ours(pieces))
            # What follows a last request is an error only where both came at once.
            assert whole in (got, [(400, "")]), (first, at)
            assert at % 7 or await oracle.difference(pieces) is None, (first, at)


@pytest.mark.parametrize("name", NOT_HTTP)
async def test_what_is_no_http_reaches_no_handler(name: str) -> None:
    sent, status = NOT_HTTP[name]
    sent, oracle = sent.replace(b"%s", b"/auth/nginx", 1), Oracle()
    assert await oracle.difference([sent]) is None
    if status:  # of others the head is well-formed
        assert not any(told for _, told in answers(await oracle.ours([sent])))


async def test_the_oracle_would_notice_a_request_that_was_smuggled() -> None:
    """A server that read a body as a request, or took two headers for one."""

    class Smuggling(Oracle):
        async def ours(self, pieces: list[bytes]) -> bytes:  # type: ignore[override]  # a test's own
            return await super().ours([b"".join(pieces).replace(b"Content-Length: 4\r\n", b"")])

    sent = b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n" + SEEDS[0]
    assert await Smuggling().difference([sent]) is not None
