"""``database.ca_file``: whose signature PostgreSQL's certificate needs.

A file that is named and not used would be worse than none, so the server is verified wherever there
is one: by name too, unless ``database.url`` says ``ssl=verify-ca``. Without the file the driver
reads ``PGSSLROOTCERT``, as PostgreSQL's own clients do.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import URL

_VERIFIES: Final = ("verify-full", "verify-ca")


def with_mode(url: URL, ca_file: Path | None) -> URL:
    """With the ``ssl`` that holds: where an authority is named, ``verify-full`` unless the URL
    says otherwise. Raises ``ConfigError`` for a mode that would not look at the certificate.
    """
    if ca_file is None:
        return url
    mode = url.query.get("ssl", "verify-full")
    if mode not in _VERIFIES:
        msg = (
            f"database.ca_file: the certificate would not be verified with ssl={mode} in "
            f"database.url: leave ssl out, or write one of {', '.join(_VERIFIES)}"
        )
        raise ConfigError(msg)
    return url.update_query_dict({"ssl": str(mode)})


def postgresql_tls(url: URL, ca_file: Path | None) -> tuple[URL, dict[str, Any]]:
    """The URL for the driver, and its arguments beside. Raises ``ConfigError`` for a file that
    holds no certificate.
    """
    if ca_file is None:
        return url, {}
    mode = with_mode(url, ca_file).query["ssl"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=str(ca_file))
    except OSError as error:
        problem = (
            "holds no certificate (PEM)" if isinstance(error, ssl.SSLError) else error.strerror
        )
        msg = f"database.ca_file: {ca_file}: {problem}"
        raise ConfigError(msg) from error
    context.check_hostname = mode == "verify-full"
    return url.difference_update_query(["ssl"]), {"ssl": context}
