"""Interoperability: a SCIM client library that we did not write, against ``/scim/v2``."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.hooks.world import SECRET

if TYPE_CHECKING:
    from tests.hooks.world import World

PATH = "/scim/v2/acme/acme-okta"
