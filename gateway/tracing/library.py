"""Whether what sends traces is installed: it is an extra, and imported where it is configured."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from typing import TYPE_CHECKING

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from gateway.config.model import Tracing


def require_library(settings: Tracing) -> None:
    """Raises ``ConfigError`` where traces are configured and cannot be sent."""
    if settings.url is not None and not _is_installed():
        raise ConfigError(
            "tracing.endpoint: this installation has no OpenTelemetry library: install the "
            "release's wheel with the extra [opentelemetry], or leave tracing out"
        )


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def traced(settings: Tracing, *, role: str, instance: str) -> AbstractAsyncContextManager[None]:
    """Within, what this process does is traced, if that is configured. Raises ``ConfigError``."""
    if settings.url is None:
        return nullcontext()
    require_library(settings)
    from gateway.tracing.exporting import exporting  # noqa: PLC0415 - the extra

    return exporting(settings, role=role, instance=instance)


__all__ = ["require_library", "traced"]
