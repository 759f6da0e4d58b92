"""AWS KMS as far as the key ring needs it, and as unkind: a ciphertext opens for its key, its
encryption context and an enabled key only, and a busy service throttles.

A server in a thread of its own: botocore blocks the thread that asks.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Iterator

ARN = "arn:aws:kms:eu-north-1:111122223333:key/{}"


class RefusedError(Exception):
    """By AWS's code."""


class StandInKms:
    def __init__(self) -> None:
        self.keys: dict[str, AESGCM] = {}
        self.disabled: set[str] = set()
        self.denied: set[str] = set()
        """Operations."""
        self.throttled = 0
        """How many further requests meet too many others."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    def new_key(self, name: str) -> str:
        arn = ARN.format(name)
        self.keys[arn] = AESGCM(AESGCM.generate_key(256))
        return arn

    def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((operation, request))
        if self.throttled:
            self.throttled -= 1
            raise RefusedError("ThrottlingException")
        if operation in self.denied:
            raise RefusedError("AccessDeniedException")
        key_id = request["KeyId"]
        if key_id not in self.keys:
            raise RefusedError("NotFoundException")
        if key_id in self.disabled:
            raise RefusedError("DisabledException")
        bound = json.dumps(request.get("EncryptionContext", {}), sort_keys=True).encode()
        if operation == "GenerateDataKey":
            plain, nonce = secrets.token_bytes(request["NumberOfBytes"]), secrets.token_bytes(12)
            blob = nonce + self.keys[key_id].encrypt(nonce, plain, bound)
            sealed = json.dumps([key_id, base64.b64encode(blob).decode()]).encode()
            return {"KeyId": key_id, "Plaintext": _text(plain), "CiphertextBlob": _text(sealed)}
        try:
            owner, blob64 = json.loads(base64.b64decode(request["CiphertextBlob"]))
        except ValueError as error:
            raise RefusedError("InvalidCiphertextException") from error
        if owner != key_id:
            raise RefusedError("IncorrectKeyException")
        blob = base64.b64decode(blob64)
        try:
            plain = self.keys[key_id].decrypt(blob[:12], blob[12:], bound)
        except InvalidTag as error:
            raise RefusedError("InvalidCiphertextException") from error
        return {"KeyId": key_id, "Plaintext": _text(plain)}

    @contextmanager
    def serving(self) -> Iterator[StandInKms]:
        kms = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                operation = self.headers["X-Amz-Target"].removeprefix("TrentService.")
                try:
                    status, body = 200, kms.answer(operation, request)
                except RefusedError as error:
                    status, body = 400, {"__type": str(error), "message": "as AWS says it"}
                answer = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
