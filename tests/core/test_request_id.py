from __future__ import annotations

from gateway.core.request_id import parse_request_id


def test_a_request_id_has_one_shape_in_every_room() -> None:
    haproxy = "7F000001:8296_7F00001E:1F90_4F7B0A69_0003:790E"
    assert parse_request_id(haproxy) == haproxy
    assert parse_request_id("a" * 128)
    assert not parse_request_id("a" * 129)
    for text in ("", "a b", "a\n", "é", "<b>"):
        assert not parse_request_id(text)
