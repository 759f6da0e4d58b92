"""One JSON object per line on stderr; a human form on a terminal. Never tokens, codes, cookies or secrets.

A record is an event name and fields: ``log.info("check", extra=fields(decision="allow", …))``.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = "gateway"
FIELDS = ("request_id", "tenant", "host", "method", "path", "decision", "reason", "user", "provider", "duration_ms")
"""Order of the fields that have a fixed place; others follow by name."""
_CREDENTIAL = re.compile(r"(?i)(?:eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|(?<=code=)[^&\s\"]+|(?<=state=)[^&\s\"]+|(?<=ticket=)[^&\s\"]+|(?<=token=)[^&\s\"]+|(?<=secret=)[^&\s\"]+|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)|(?<=Bearer )\S+)")  # fmt: skip


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What ends a line for some reader (NEL and the separators of Unicode too) or steers a terminal (C1 holds an escape of its own)."""


_ENCODE = json.JSONEncoder(ensure_ascii=False, default=str).encode
"""Made once: ``json.dumps`` with options makes an encoder each time, and every check is a record."""


def _on_one_line(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def redact(text: str) -> str:
    """Last line of defence for text that came from outside (a library's message, a peer's error)."""
    # Every check is logged: most texts hold none of the marks that a credential needs, and four scans are cheaper than one search.
    lowered = text.lower()
    if "=" not in text and "://" not in text and "eyj" not in lowered and "bearer " not in lowered:
        return text
    return _CREDENTIAL.sub("***", text)


def fields(**values: object) -> Mapping[str, object]:
    """``extra`` of a log call."""
    return {"gateway_fields": values}


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": redact(record.getMessage()),
        }
        document.update(_ordered(record))
        if record.exc_info:
            document["error"] = redact(self.formatException(record.exc_info))
        return _on_one_line(_ENCODE(document))


class _Human(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        rest = " ".join(f"{k}={json.dumps(v, ensure_ascii=True, default=str) if not isinstance(v, int | float) else v}" for k, v in _ordered(record).items())
        line = _on_one_line(f"{clock} {record.levelname.lower():7} {redact(record.getMessage())} {rest}".rstrip())
        return f"{line}\n{redact(self.formatException(record.exc_info))}" if record.exc_info else line


def _ordered(record: logging.LogRecord) -> dict[str, object]:
    values: dict[str, object] = dict(getattr(record, "gateway_fields", {}))
    if record.name != ROOT and not values:
        values["logger"] = record.name
    placed = {name: values.pop(name) for name in FIELDS if name in values}
    placed.update(sorted(values.items()))
    return {name: redact(value) if isinstance(value, str) else value for name, value in placed.items() if value is not None}


class _NoHttp(logging.Filter):
    """What a parser could not read may be a cookie or the ingress key with one wrong byte, and aiohttp quotes it: only the kind of mistake is kept."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if type(error).__module__ == "aiohttp.http_exceptions":  # commands log too, and do without the server
            record.msg, record.args, record.exc_info = "no_http", (), None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.gateway_fields = fields(error=type(error).__name__)["gateway_fields"]
        return True


def configure(form: Literal["auto", "json", "text"], level: str) -> None:
    """Send everything to stderr. ``auto`` is the human form on a terminal."""
    human = form == "text" or (form == "auto" and sys.stderr.isatty())
    # What no form shows is not collected: a third of the cost of a record (logging's own documentation, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Human() if human else _Json())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    server = logging.getLogger("aiohttp.server")
    server.filters[:] = [_NoHttp()]
    logging.getLogger(ROOT).setLevel(level.upper())
