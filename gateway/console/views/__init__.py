"""The pages, each kind in the module of its noun. ``PAGES`` is all there are."""

from __future__ import annotations

from typing import Final

from gateway.console.views import audit, revocations, sessions, tenants

PAGES: Final = (*tenants.PAGES, *sessions.PAGES, *revocations.PAGES, *audit.PAGES)
