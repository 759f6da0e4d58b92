"""Names of the headers that a check reads, each with the form in which names are compared: by
itself, a lookup would make it every time, of some twenty names a check.
"""

from __future__ import annotations

from typing import Final

from multidict import istr

ACCEPT: Final = istr("Accept")
ACCEPT_LANGUAGE: Final = istr("Accept-Language")
ACCESS_CONTROL_REQUEST_METHOD: Final = istr("Access-Control-Request-Method")
AUTHORIZATION: Final = istr("Authorization")
COOKIE: Final = istr("Cookie")
DEPTH: Final = istr("Depth")
DESTINATION: Final = istr("Destination")
EXPECT: Final = istr("Expect")
HOST: Final = istr("Host")
ORIGIN: Final = istr("Origin")
SEC_FETCH_DEST: Final = istr("Sec-Fetch-Dest")
SEC_FETCH_MODE: Final = istr("Sec-Fetch-Mode")
SEC_FETCH_SITE: Final = istr("Sec-Fetch-Site")
SEC_PURPOSE: Final = istr("Sec-Purpose")
SEC_WEBSOCKET_VERSION: Final = istr("Sec-WebSocket-Version")
TRACEPARENT: Final = istr("Traceparent")
X_FORWARDED_FOR: Final = istr("X-Forwarded-For")
X_FORWARDED_HOST: Final = istr("X-Forwarded-Host")
X_FORWARDED_METHOD: Final = istr("X-Forwarded-Method")
X_FORWARDED_PROTO: Final = istr("X-Forwarded-Proto")
X_FORWARDED_URI: Final = istr("X-Forwarded-Uri")
X_GATEWAY_KEY: Final = istr("X-Gateway-Key")
X_ORIGINAL_METHOD: Final = istr("X-Original-Method")
X_ORIGINAL_URL: Final = istr("X-Original-URL")
X_REQUEST_ID: Final = istr("X-Request-Id")
X_REQUESTED_WITH: Final = istr("X-Requested-With")
