"""Ends what is open when the gateway says that somebody's access ended: a receiver of its webhook that tells HAProxy, JupyterHub, or both.

Python's standard library only. From the environment:

WEBHOOK_SECRET    the tenant's `webhook.secret`
LISTEN            127.0.0.1:9400 unless set
HAPROXY_SOCKETS   paths separated by commas (`gateway ingress render haproxy --stats-socket PATH`)
HAPROXY_SERVERS   as in `app/app,app2/app2`: everybody's connections there are cut, WebSockets and downloads alike, since HAProxy does not know whose they
                  are. Clients connect again, and the gateway is asked about each.
AGAIN_S           5 unless set: after so long they are cut once more
JUPYTERHUB_API    http://127.0.0.1:8081/hub/api: the server of a person who may not come in any more is stopped there, and nobody else's
JUPYTERHUB_TOKEN  of a service with the scope `delete:servers`; people's names at the hub are their addresses in lower case

A message is answered when all of it is done; one that is not answered with 2xx comes again.
"""

import base64
import hmac
import json
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["WEBHOOK_SECRET"]
SOCKETS = [path for path in os.environ.get("HAPROXY_SOCKETS", "").split(",") if path]
SERVERS = [name for name in os.environ.get("HAPROXY_SERVERS", "").split(",") if name]
HUB, TOKEN = os.environ.get("JUPYTERHUB_API", ""), os.environ.get("JUPYTERHUB_TOKEN", "")
LISTEN = os.environ.get("LISTEN", "127.0.0.1:9400")
AGAIN_S = float(os.environ.get("AGAIN_S", "5"))
"""Longer than `session.max_revocation_delay`: a replica that was silent may have let somebody connect again until then. The gateway waits 10 s for the answer."""
ENDS = {"user.deprovisioned", "user.group_removed", "group.removed", "tenant.blocked", "tenant.deleted"}
MAX_BYTES = 1_000_000


def genuine(headers, body: bytes) -> bool:
    """Standard Webhooks."""
    key = base64.b64decode(SECRET.removeprefix("whsec_")) if SECRET.startswith("whsec_") else SECRET.encode()
    number, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > 300:
        return False
    wanted = b"v1," + base64.b64encode(hmac.digest(key, f"{number}.{sent_at}.".encode() + body, "sha256"))
    return any(hmac.compare_digest(wanted, given.encode()) for given in headers.get("webhook-signature", "").split(" "))


def tell(path: str, command: str) -> None:
    """Raises OSError where HAProxy is away, or says anything: it is silent about what it has done."""
    with socket.socket(socket.AF_UNIX) as runtime:
        runtime.settimeout(2)
        runtime.connect(path)
        runtime.sendall(command.encode() + b"\n")
        said = b""
        while chunk := runtime.recv(4096):
            said += chunk
    if said.strip():
        raise OSError(f"{path}: {command}: {said.decode(errors='replace').strip()}")


def stop_server(name: str) -> None:
    """Raises OSError. A hub that does not know the name has nothing to stop."""
    address = f"{HUB}/users/{urllib.parse.quote(name, safe='')}/server"
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="DELETE", headers={"Authorization": f"token {TOKEN}"}), timeout=8).close()
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise


class Cuts:
    """Many who leave at once are one cut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = 0.0

    def since(self, moment: float) -> None:
        """Returns when there was a cut that began at `moment` (monotonic) or later."""
        with self._lock:
            if self._began < moment:
                began = time.monotonic()
                for path in SOCKETS:
                    for server in SERVERS:
                        tell(path, f"shutdown sessions server {server}")
                self._began = began


CUTS = Cuts()


class Receiver(BaseHTTPRequestHandler):
    timeout = 10

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        body = self.rfile.read(int(length)) if length.isdecimal() and int(length) <= MAX_BYTES else b""
        self.answer(self.status(body))

    def status(self, body: bytes) -> int:
        if not genuine(self.headers, body):
            return 401
        message = json.loads(body)
        if message["type"] not in ENDS:
            return 204
        came = time.monotonic()
        try:
            CUTS.since(came)
            if HUB and message["type"] == "user.deprovisioned":
                data = message["data"]
                for name in {address.lower() for address in (*(user["email"] for user in data["users"]), *data["identifiers"]["email"]) if address}:
                    stop_server(name)
            if SOCKETS:
                time.sleep(max(0.0, came + AGAIN_S - time.monotonic()))
                CUTS.since(time.monotonic())
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
            return 503
        return 204

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    host, _, port = LISTEN.rpartition(":")
    ThreadingHTTPServer((host, int(port)), Receiver).serve_forever()
