"""An address that mail is sent to: what SMTP takes without extensions. Pure."""

from __future__ import annotations

import re
from typing import Final

from gateway.core.hosts import email_domain

_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
"""RFC 5321 §4.1.2, ``Dot-string``: no quotes, so nothing that a header or a command could be ended
by.
"""


def mailbox(text: str) -> str:
    """The address as SMTP and headers carry it, its domain as A-labels. Raises ``ValueError``: what
    is quoted, commented, not ASCII before the ``@`` (RFC 6531 asks for an extension) or two
    addresses is none.
    """
    local, _, _ = text.partition("@")
    domain = email_domain(text)
    if domain is None or "." not in domain or not _LOCAL.fullmatch(local):
        msg = "one plain e-mail address such as it@example.com"
        raise ValueError(msg)
    return f"{local}@{domain}"
