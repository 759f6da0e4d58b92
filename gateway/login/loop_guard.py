"""Counting returns to one address, so that a misconfiguration ends in a page and not in a spinning
browser.

A loop comes back to the same address again and again within seconds; twenty restored tabs come back
to different ones, and each of them can be in a loop of its own: every address has its own count.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gateway.login.middleware import set_cookie
from gateway.login.request import LOOP_COOKIE

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.login.request import Browser

MAX_RETURNS = 8
WINDOW_S = 60
MAX_ADDRESSES = 24
"""Counted at a time, 30 characters each: as many as tabs may begin a login at once
(``MAX_BINDINGS``).
"""
MAX_CHARACTERS = 1024
"""Of the cookie; a longer one is not ours."""


def count_return(
    browser: Browser, response: web.Response, return_to: str, *, at_most: int = MAX_RETURNS
) -> bool:
    """Note on ``response`` that this browser is sent to ``return_to``; False if that was more than
    ``at_most`` times within a minute.
    """
    digest = hashlib.sha256(return_to.encode()).hexdigest()[:16]
    now = int(browser.services.clock())
    counts = _counts(browser, now)
    count, since = counts.pop(digest, (0, now))
    # The largest counts stay: what is in a loop is not forgotten for addresses that were visited
    # once.
    other_counts = dict(sorted(counts.items(), key=lambda item: -item[1][0])[: MAX_ADDRESSES - 1])
    new_counts = {digest: (min(count + 1, 999), since), **other_counts}
    set_cookie(
        response,
        LOOP_COOKIE,
        "_".join(f"{name}.{times}.{first}" for name, (times, first) in new_counts.items()),
        max_age_s=WINDOW_S,
    )
    return count < at_most


def _counts(browser: Browser, now: int) -> dict[str, tuple[int, int]]:
    """Digest of an address → how often, and since when (UTC epoch seconds): those of the last
    ``WINDOW_S``.
    """
    counts: dict[str, tuple[int, int]] = {}
    for value in browser.cookies(LOOP_COOKIE)[:1]:
        for entry in value.split("_") if value.isascii() and len(value) <= MAX_CHARACTERS else ():
            digest, _, numbers = entry.partition(".")
            times, _, since = numbers.partition(".")
            if (
                len(digest) == 16
                and digest.isalnum()
                and times.isdigit()
                and since.isdigit()
                and 0 <= now - int(since) < WINDOW_S
            ):
                counts[digest] = (int(times), int(since))
    return counts
