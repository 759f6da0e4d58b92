"""One JSON object per line on stderr; a human form on a terminal. Never tokens, codes, cookies or
secrets.

A record is an event name and fields: ``log.info("check", extra=fields(decision="allow", …))``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import sys
import time
from collections import OrderedDict
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, Protocol

from gateway.log_writer import BackgroundHandler, BackgroundStderr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.log_writer import LogWriter

ROOT = "gateway"
FIELDS = (
    "request_id",
    "tenant",
    "host",
    "method",
    "path",
    "decision",
    "reason",
    "user",
    "provider",
    "duration_ms",
)
"""Order of the fields that have a fixed place; others follow by name."""
MAX_TEXT = 1024
"""Characters of one text that are written. A path may be 64 kB, and a disk is filled by a stranger
who asks for it often enough.
"""
MAX_ITEMS = 100
"""Of a list or a mapping in one field."""
MAX_TRACE_LINES = 120
_WINDOW = MAX_TEXT + 8192
"""So much of a longer text is searched: a credential that begins in what is written ends in
here.
"""
_CREDENTIAL = re.compile(
    r"(?i)(?<=code=)[^&\s\"]+|(?<=state=)[^&\s\"]+|(?<=ticket=)[^&\s\"]+|(?<=token=)[^&"
    r"\s\"]+|(?<=secret=)[^&\s\"]+|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)|(?<=Bearer )\S+"
)
"""Each part takes what it has looked at, or stops at the character that the next one could begin
with: the work grows with the text.
"""
_RUN = re.compile(r"[\w.-]+")
"""What a JWT is part of. Found once for each run, and not again from each of its letters."""


_CUT_OFF = re.compile(r"(?<![\w.-])[\w.-]+\Z")
"""The run that a text ends with."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What ends a line for some reader (NEL and the separators of Unicode too) or steers a terminal (C1
holds an escape of its own).
"""


_ENCODE = json.JSONEncoder(ensure_ascii=False, default=str).encode
_ENCODE_ASCII = json.JSONEncoder(ensure_ascii=True, default=str).encode
"""Made once: ``json.dumps`` with options makes an encoder each time, and every check is a
record.
"""


def _on_one_line(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def redact(text: str) -> str:
    """Last line of defence for text that came from outside (a library's message, a peer's
    error).
    """
    # Every check is logged: most texts hold none of the marks that a credential needs, and four
    # scans are cheaper than one search.
    lowered = text.lower()
    has_jwt = "eyj" in lowered
    if not has_jwt and "=" not in text and "://" not in text and "bearer " not in lowered:
        return text
    if has_jwt:
        text = _RUN.sub(lambda run: _without_jwts(run[0]), text)
    return _CREDENTIAL.sub("***", text)


def _without_jwts(run: str) -> str:
    """RFC 7519: three parts between dots, of which the first begins like a JSON object in
    base64url; eight characters are the fewest of a header.
    """
    if "eyj" not in run.lower():
        return run
    parts, pieces, n = run.split("."), [], 0
    while n < len(parts):
        at = parts[n].lower().find("eyj")
        if at >= 0 and n + 2 < len(parts) and len(parts[n]) >= at + 11 and len(parts[n + 1]) >= 8:
            pieces.append(parts[n][:at] + "***")
            n += 3
        else:
            pieces.append(parts[n])
            n += 1
    return ".".join(pieces)


def shown(text: str) -> str:
    """What is written of a text from outside: no credential, and of a long one the beginning and
    how much is missing.
    """
    if len(text) <= MAX_TEXT:
        return redact(text)
    window = text[:_WINDOW]
    # A JWT that the window cuts off would not be known for one by its three parts.
    last = _CUT_OFF.search(window) if len(text) > _WINDOW else None
    if last is not None and (at := last[0].lower().find("eyj")) >= 0:
        window = f"{window[: last.start() + at]}***"
    return f"{redact(window)[:MAX_TEXT]}… ({len(text) - MAX_TEXT} more characters)"


def _shown(value: object, *, depth: int = 6) -> object:
    if isinstance(value, str):
        return shown(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth == 0 or not isinstance(value, list | tuple | set | frozenset | dict):
        return shown(str(value))
    more = len(value) - MAX_ITEMS
    if isinstance(value, dict):
        document = {
            shown(str(name)): _shown(item, depth=depth - 1)
            for name, item in islice(value.items(), MAX_ITEMS)
        }
        return document if more <= 0 else {**document, "…": f"{more} more"}
    items = [_shown(item, depth=depth - 1) for item in islice(value, MAX_ITEMS)]
    return items if more <= 0 else [*items, f"… ({more} more)"]


def _trace(text: str) -> str:
    lines = text.splitlines()
    if len(lines) > MAX_TRACE_LINES:
        lines = [
            *lines[:40],
            f"… ({len(lines) - MAX_TRACE_LINES} more lines)",
            *lines[40 - MAX_TRACE_LINES :],
        ]
    return "\n".join(shown(line) for line in lines)


_REQUEST: ContextVar[str] = ContextVar("request_id")


@contextlib.contextmanager
def of_request(request_id: str) -> Iterator[None]:
    """What is logged within has this ``request_id``, in tasks that begin here too. Work that one
    request begins for all begins in ``contextvars.Context()``.
    """
    token = _REQUEST.set(request_id)
    try:
        yield
    finally:
        _REQUEST.reset(token)


class TraceIds(Protocol):
    """Of the span that work belongs to."""

    @property
    def trace_id(self) -> str: ...

    @property
    def span_id(self) -> str: ...


_TRACE: ContextVar[TraceIds | None] = ContextVar("trace", default=None)


@contextlib.contextmanager
def of_trace(ids: TraceIds) -> Iterator[None]:
    """What is logged within has ``trace_id`` and ``span_id``, in tasks that begin here too."""
    token = _TRACE.set(ids)
    try:
        yield
    finally:
        _TRACE.reset(token)


def current_trace() -> TraceIds | None:
    """None where nothing is traced."""
    return _TRACE.get()


def fields(**values: object) -> Mapping[str, object]:
    """``extra`` of a log call, with the IDs of the request and of the trace that it belongs to."""
    if "request_id" not in values and (request_id := _REQUEST.get("")):
        values["request_id"] = request_id
    if (ids := _TRACE.get()) is not None:
        values["trace_id"], values["span_id"] = ids.trace_id, ids.span_id
    return {"gateway_fields": values}


class Throttled:
    """An event that one cause may bring about thousands of times a second: one line of it each
    second, with how many came since the last (``held_back``).
    """

    def __init__(
        self,
        log: logging.Logger,
        level: int,
        event: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._level, self._event, self._monotonic = log, level, event, monotonic
        self._again_at, self._held_back = -math.inf, 0

    def __call__(self, cause: BaseException | None = None, /, **values: object) -> None:
        """``cause``: whose trace is wanted."""
        now = self._monotonic()
        if now < self._again_at:
            self._held_back += 1
            return
        held_back, self._held_back, self._again_at = self._held_back, 0, now + 1.0
        self._log.log(
            self._level,
            self._event,
            exc_info=cause,
            extra=fields(**values, held_back=held_back or None),
        )


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": shown(record.getMessage()),
        }
        document.update(_ordered(record))
        if record.exc_info:
            document["error"] = _trace(self.formatException(record.exc_info))
        return _on_one_line(_ENCODE(document))


class _Human(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        rest = " ".join(
            f"{k}={v if isinstance(v, int | float) else _ENCODE_ASCII(v)}"
            for k, v in _ordered(record).items()
        )
        line = _on_one_line(
            f"{clock} {record.levelname.lower():7} {shown(record.getMessage())} {rest}".rstrip()
        )
        return (
            f"{line}\n{_trace(self.formatException(record.exc_info))}" if record.exc_info else line
        )


def _ordered(record: logging.LogRecord) -> dict[str, object]:
    values: dict[str, object] = dict(getattr(record, "gateway_fields", {}))
    if not values and record.name.partition(".")[0] != ROOT:
        values["logger"] = record.name
    entries = {name: values.pop(name) for name in FIELDS if name in values}
    entries.update(sorted(values.items()))
    return {
        name: shown(value) if type(value) is str else _shown(value)
        for name, value in entries.items()
        if value is not None
    }


class JsonEvent:
    """Lines of one event of level info, the same as ``_Json`` writes: for what is recorded at every
    request. What stands between the fields that vary comes again and again, and is encoded once.
    """

    def __init__(
        self, event: str, names: Sequence[str], *, varying: Sequence[str], bare: str | None = None
    ) -> None:
        """``names``: of all fields, in the order of a line. ``varying``: of those whose values do
        not come again, in that order too. ``bare``: one that stands behind these, and whose values
        are texts of letters and digits.
        """
        self.name = event
        self._names = tuple(names)
        self._varying = frozenset(varying)
        self._bare = None if bare is None else names.index(bare)
        seldom = {*varying, bare}
        self._fixed = _picker([n for n, name in enumerate(names) if name not in seldom])
        self._vary = _picker([names.index(name) for name in varying])
        self._templates: OrderedDict[tuple[object, ...], str] = OrderedDict()
        self._second, self._millisecond, self._stamp, self._begins = -1, -1, "", ""
        self._created = -1.0

    def line(self, created: float, values: _Values) -> str:
        """With its line end. ``created``: UTC epoch seconds. ``values``: of all fields; None is
        left out.
        """
        constants, varying = self._fixed(values), self._vary(values)
        key: tuple[object, ...] = (
            constants if None not in varying else (constants, *[value is None for value in varying])
        )
        place = self._bare
        if place is not None and values[place] is None:
            key, place = (key, None), None
        template = self._templates.get(key)
        if template is None:
            pieces = [piece.replace("%", "%%") for piece in self.pieces(values)]
            template = "%s" + "%s".join(pieces)
            if not _is_long(constants):
                self._templates[key] = template
                if len(self._templates) > _MAX_TEMPLATES:
                    self._templates.popitem(last=False)
        texts = [
            _json_text(value) if type(value) is str else _number(value)
            for value in varying
            if value is not None
        ]
        if place is not None:
            texts.append(values[place])  # type: ignore[arg-type]  # a text, as said above
        return template % (self._beginning(created), *texts)

    def again(
        self,
        pieces: Sequence[str],
        created: float,
        request_id: str,
        number: float,
        bare: str | None,
    ) -> str:
        """The line of an event whose ID and one number vary, and maybe ``bare``, which is a text;
        ``pieces``: of a line like it.
        """
        begins = self._beginning(created)
        plain = request_id.isalnum() and request_id.isascii() and len(request_id) <= MAX_TEXT
        text = f'"{request_id}"' if plain else _json_text(request_id)
        if len(pieces) == 3:  # the line like it has none
            before, between, after = pieces
            return f"{begins}{before}{text}{between}{_number(number)}{after}"
        before, between, after, end = pieces
        return f"{begins}{before}{text}{between}{_number(number)}{after}{bare or ''}{end}"

    def _beginning(self, created: float) -> str:
        """Up to the time."""
        if created == self._created:
            return self._begins
        self._created = created
        second = int(created)
        microseconds = round((created - second) * 1_000_000)
        if microseconds == 1_000_000:
            second, microseconds = second + 1, 0
        millisecond = microseconds // 1000
        if second != self._second or millisecond != self._millisecond:
            if second != self._second:
                self._stamp = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}."
            self._second, self._millisecond = second, millisecond
            self._begins = f'{{"time": "{self._stamp}{millisecond:03}Z'
        return self._begins

    def pieces(self, values: _Values) -> tuple[str, ...]:
        """What stands behind the time, and between the values that vary and are there."""
        pieces = ['", "level": "info", "event": ' + _escaped(self.name)]
        for place, (name, value) in enumerate(zip(self._names, values, strict=True)):
            if value is None:
                continue
            pieces[-1] += f', "{name}": '
            if place == self._bare:
                pieces[-1] += '"'
                pieces.append('"')
            elif name in self._varying:
                pieces.append("")
            else:
                pieces[-1] += _escaped(value)
        return (*pieces[:-1], pieces[-1] + "}\n")


_Values = tuple[str | float | None, ...]
_MAX_TEMPLATES = 2048
_MAX_REMEMBERED = 1024
"""Characters of all values of a line that is remembered; with the number of lines, some 10 MB."""
_PLAIN = re.compile(r"[A-Za-z0-9/._-]*")
"""Most IDs and paths: nothing to escape, and no credential without two dots, as a JWT has them."""


_number = lru_cache(maxsize=2048, typed=True)(repr)
"""Of durations, which are rounded: a few hundred different ones."""


def _picker(places: Sequence[int]) -> Callable[[_Values], _Values]:
    """What stands at these places of a line's values."""
    if len(places) == 1:
        (place,) = places
        return lambda values: (values[place],)
    return itemgetter(*places)


def _is_long(values: _Values) -> bool:
    return len("".join([value for value in values if type(value) is str])) > _MAX_REMEMBERED


def _escaped(value: str | float) -> str:
    return _json_text(value) if isinstance(value, str) else repr(value)


def _json_text(text: str) -> str:
    if len(text) <= MAX_TEXT:
        bare = text.replace("/", "")
        if bare.isalnum() and bare.isascii():
            return f'"{text}"'
        if _PLAIN.fullmatch(text) and text.count(".") < 2:
            return f'"{text}"'
    encoded = _ENCODE(shown(text))
    return encoded if encoded.isascii() and encoded.isprintable() else _on_one_line(encoded)


def background_json_writer() -> LogWriter | None:
    """Of this process, where all that is logged is JSON that the background writer takes: then a
    line may be given to it as it would have been formatted.
    """
    handlers = logging.getLogger().handlers
    if len(handlers) == 1 and isinstance(handlers[0], BackgroundHandler):
        handler = handlers[0]
        return handler.writer if isinstance(handler.formatter, _Json) else None
    return None


def write_event(
    logger: logging.Logger, event: JsonEvent, values: Mapping[str, str | float | None]
) -> None:
    """One record of level info, with all fields of ``event`` in their order: the same line as
    ``logger.info`` writes, without its way there where that is known.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    writer = background_json_writer()
    if writer is None:
        logger.info(event.name, extra=fields(**values))
    else:
        writer.put_lines([event.line(time.time(), tuple(values.values()))])


class _NoHttp(logging.Filter):
    """What a parser could not read may be a cookie or the ingress key with one wrong byte, and
    aiohttp quotes it: only the kind of mistake is kept.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if (
            type(error).__module__ == "aiohttp.http_exceptions"
        ):  # commands log too, and do without the server
            record.msg, record.args, record.exc_info = "invalid_http_request", (), None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.gateway_fields = fields(error=type(error).__name__)["gateway_fields"]
        return True


def _missing(lines: int) -> logging.LogRecord:
    record = logging.LogRecord(ROOT, logging.WARNING, "", 0, "log_lines_dropped", None, None)
    record.gateway_fields = {
        "lines": lines,
        "detail": "the reader of the log was too slow, or the disk was full",
    }
    return record


def write_in_background(*, dropped: Callable[[int], None]) -> None:
    """From now on nobody in this process waits for whoever reads the log; again in each forked
    process. ``dropped`` is told of lines that were lost.
    """
    root = logging.getLogger()
    descriptor = sys.stderr.fileno()
    handler = BackgroundHandler(descriptor, dropped=dropped, notice=_missing)
    handler.setFormatter(root.handlers[0].formatter if root.handlers else _Json())
    root.handlers[:] = [handler]
    sys.stderr = BackgroundStderr(handler.writer, descriptor)


def configure(form: Literal["auto", "json", "text"], level: str) -> None:
    """Send everything to stderr. ``auto`` is the human form on a terminal."""
    human = form == "text" or (form == "auto" and sys.stderr.isatty())
    # What no form shows is not collected: a third of the cost of a record (logging's own
    # documentation, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    handler: logging.Handler = next(
        (candidate for candidate in root.handlers if isinstance(candidate, BackgroundHandler)), None
    ) or logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Human() if human else _Json())
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    server = logging.getLogger("aiohttp.server")
    server.filters[:] = [_NoHttp()]
    logging.getLogger(ROOT).setLevel(level.upper())
