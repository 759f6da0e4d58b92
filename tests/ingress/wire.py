"""A client that sends exactly the bytes it is told to: attacks are not what HTTP libraries let one
write.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """An answer of the ingress; status 0 where it closed the connection without one."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def send(port: int, raw: bytes, *, method: str = "GET", timeout_s: float = 20.0) -> Received:
    """One request on a new connection; a 101 is returned as it is and the connection closed. Raises
    ``TimeoutError``.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        with contextlib.suppress(
            OSError
        ):  # refused while we were still talking; the answer may be there all the same
            connection.sendall(raw)
        response = http.client.HTTPResponse(connection, method=method)
        try:
            response.begin()
            body = b"" if response.status == 101 else response.read()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return Received(0)
        finally:
            response.close()
        return Received(response.status, tuple(response.getheaders()), body)


def request(
    *lines: str | bytes,
    target: str | bytes = "/",
    method: str = "GET",
    host: str | None = "acme.localhost",
    version: str = "1.1",
    body: bytes = b"",
    close: bool = True,
) -> bytes:
    """Bytes of a request; each of ``lines`` is a whole header line. ``host`` None sends no Host."""

    def raw(text: str | bytes) -> bytes:
        return text if isinstance(text, bytes) else text.encode("latin-1")

    head = [raw(method) + b" " + raw(target) + b" HTTP/" + raw(version)]
    if host is not None:
        head.append(b"Host: " + host.encode())
    head += [raw(line) for line in lines]
    if body:
        head.append(b"Content-Length: %d" % len(body))
    if close:
        head.append(b"Connection: close")
    return b"\r\n".join(head) + b"\r\n\r\n" + body
