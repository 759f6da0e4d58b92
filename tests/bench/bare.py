"""The yardstick: an aiohttp application whose one handler returns 200 and nothing else."""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web


async def handler(_request: web.Request) -> web.Response:
    return web.Response()


def main() -> None:
    app = web.Application()
    app.router.add_get("/", handler)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
