"""``/mail/test``: what the server says, and nobody's address in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.admin.conftest import Api


@pytest.mark.parametrize(
    ("to", "status", "code", "said"),
    [
        ("nobody@acme.test", 502, "upstream_failed", "550 5.1.1"),
        ("it@unset.test", 409, "conflict", "mail.host"),
        ("it@acme.test\r\nBcc: x@acme.test", 400, "invalid_body", "address"),
    ],
)
async def test_what_is_wrong_with_mail_is_told(
    api: Api, to: str, status: int, code: str, said: str
) -> None:
    response = await api.call("POST", "/mail/test", json={"to": to})
    answer = await response.json()
    assert (response.status, answer["code"]) == (status, code)
    assert said in answer["detail"]


async def test_the_audit_log_has_the_domain_and_no_address(api: Api) -> None:
    response = await api.call("POST", "/mail/test", json={"to": "it@acme.test", "language": "de"})
    assert await response.json() == {"sent": True}
    text = await (await api.call("GET", "/audit")).text()
    assert "test_mail" in text and "acme.test" in text and "it@acme.test" not in text
