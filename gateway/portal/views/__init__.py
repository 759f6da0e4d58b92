"""Pages of the portal: handlers in modules of their noun."""

from __future__ import annotations

from typing import Final

from gateway.portal.views import (
    access,
    colleague,
    connection,
    domains,
    health,
    offboarding,
    provider,
    renew,
    review,
    test,
)

PAGES: Final = (
    *provider.PAGES,
    *connection.PAGES,
    *test.PAGES,
    *access.PAGES,
    *domains.PAGES,
    *offboarding.PAGES,
    *colleague.PAGES,
    *health.PAGES,
    *review.PAGES,
    *renew.PAGES,
)
"""Every page that needs the cookie of a link."""
