"""What ``Destination`` and ``Depth`` name."""

from __future__ import annotations

import pytest

from gateway.core.model import Destination
from gateway.core.webdav import parse_depth, parse_destination


@pytest.mark.parametrize(
    ("lines", "read"),
    [
        ((), None),
        (("/admin/x%20y?a",), Destination("/admin/x y")),
        (("https://app.acme.test/admin/x",), Destination("/admin/x")),
        (("HTTP://APP.acme.test.:8443/Admin",), Destination("/Admin")),
        (("https://app.acme.test",), Destination("/")),
        (("https://app.acme.test/a/../admin",), Destination("/a/../admin", ambiguous=True)),
        (("//evil.test/x",), Destination("//evil.test/x", ambiguous=True)),
        (("/a#b",), Destination("/a#b", ambiguous=True)),
        (("/a,b/c",), Destination("/a,b/c")),
        (("/a,/admin",), Destination("/a,/admin", ambiguous=True)),
        (("/a,HTTPS:x",), Destination("/a,HTTPS:x", ambiguous=True)),
        *(
            ((line,), Destination(None))
            for line in (
                "",
                "?x",
                "x",
                "../x",
                "https://evil.test/x",
                "https://evil@app.acme.test/x",
                "https://app.acme.test@evil.test/x",
                "ftp://app.acme.test/x",
                "https:/x",
                "https:///x",
                "/a, /admin",
                "/a\\b",
                "/a%00",
                "/é\udcff",
                "https://app.acme.test\\@evil.test/x",
                "https://app.acme.test:x/y",
            )
        ),
        (("/a", "/b"), Destination(None)),
        (("/a", "/a"), Destination(None)),
    ],
)
def test_a_destination_is_a_path_of_the_same_host_or_none_that_is_known(
    lines: tuple[str, ...], read: Destination | None
) -> None:
    assert parse_destination(lines, method="PUT", host="app.acme.test") == read


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_what_writes_elsewhere_says_where(method: str) -> None:
    assert parse_destination((), method=method, host="app.acme.test") == Destination(None)


@pytest.mark.parametrize(
    ("lines", "depth"),
    [((), ""), (("0",), "0"), ((" Infinity ",), "infinity"), (("0", "0"), ""), (("1,0",), "1,0")],
)
def test_a_depth_counts_where_it_is_said_once(lines: tuple[str, ...], depth: str) -> None:
    assert parse_depth(lines) == depth
