from __future__ import annotations

import pytest

from gateway.core.trace_context import (
    TraceParent,
    format_traceparent,
    parse_traceparent,
    trace_id_of,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_the_lowest_flag_says_that_it_is_recorded(flags: str) -> None:
    """W3C Trace Context §3.2.2.5.1."""
    parsed = parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}")
    assert parsed == TraceParent(TRACE, SPAN, sampled=flags != "00")
    assert trace_id_of(f"00-{TRACE}-{SPAN}-{flags}") == TRACE
    assert format_traceparent(parsed) == f"00-{TRACE}-{SPAN}-{'00' if flags == '00' else '01'}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f" 00-{TRACE}-{SPAN}-0",
        f"00-{TRACE}-{SPAN}-0\n",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert parse_traceparent(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE),
        (f"00-{TRACE}-{'?' * 16}-01", TRACE),
        ("", None),
        (f"00-{TRACE[:-4]}\t{TRACE[-3:]}-{SPAN}-01", None),
        (f"00-{TRACE[:-2]}  -{SPAN}-01", None),
        (f"00-{TRACE[:-1]}٣-{SPAN}-01", None),
        (f'00-{TRACE[:-1]}"-{SPAN}-01', None),
    ],
)
def test_the_trace_of_a_check_is_thirty_two_digits_or_none(text: str, found: str | None) -> None:
    assert trace_id_of(text) == found
