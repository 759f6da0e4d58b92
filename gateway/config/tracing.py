"""The section ``tracing`` of gateway.yaml: where traces go, and how many are made.

``Tracing`` has no secret in it: that one field stands in ``model``, where secrets are resolved.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator

from gateway.config.types import Duration, Model, Url

if TYPE_CHECKING:
    from collections.abc import Mapping

FROM_ENVIRONMENT: Final = "environment"
MAX_ATTRIBUTES: Final = 32
MAX_TIMEOUT_S: Final = 30.0
_ATTRIBUTE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,99}", re.ASCII)
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)
_OF_TRACES, _OF_ALL = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_PATH: Final = "/v1/traces"


class TracingBase(Model):
    """``endpoint``: None for no traces."""

    endpoint: Literal["environment"] | Url | None = None
    service_name: Annotated[str, Field(pattern=r"^[!-~]{1,100}$")] | None = None
    sample_ratio: float = Field(default=1.0, ge=0, le=1)
    resource_attributes: dict[str, Annotated[str, Field(max_length=256)]] = Field(
        default_factory=dict, max_length=MAX_ATTRIBUTES
    )
    timeout: Duration = timedelta(seconds=5)
    ingress_traces: bool = False

    @field_validator("resource_attributes")
    @classmethod
    def _named(cls, attributes: dict[str, str]) -> dict[str, str]:
        for name, value in attributes.items():
            if _ATTRIBUTE.fullmatch(name) is None or not value.isprintable():
                msg = "names such as deployment.environment.name, values without control characters"
                raise ValueError(msg)
        return attributes

    @field_validator("timeout")
    @classmethod
    def _bounded(cls, timeout: timedelta) -> timedelta:
        if not 0.1 <= timeout.total_seconds() <= MAX_TIMEOUT_S:
            msg = f"from 100ms to {MAX_TIMEOUT_S:.0f}s"
            raise ValueError(msg)
        return timeout


def export_url(endpoint: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Where spans are posted; None for nowhere. Raises ``ValueError``.

    ``/v1/traces`` is appended to an address without a path, and to what stands in the variable
    that is for all signals. Source: OpenTelemetry, "Endpoint URLs for OTLP/HTTP".
    """
    if endpoint is None or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if endpoint == FROM_ENVIRONMENT:
        if url := environment.get(_OF_TRACES):
            endpoint = url
        elif url := environment.get(_OF_ALL):
            endpoint = url.rstrip("/") + _PATH
        else:
            msg = f"{_OF_TRACES} and {_OF_ALL} are not set"
            raise ValueError(msg)
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = "an http or https address"
        raise ValueError(msg)
    if "@" in parts.netloc or parts.query or parts.fragment:
        # It stands in the log when the collector is not reached.
        msg = "without a user, password or query: put them into tracing.export_headers"
        raise ValueError(msg)
    return endpoint.rstrip("/") + _PATH if parts.path in {"", "/"} else endpoint


def headers_variable(environment: Mapping[str, str] = os.environ) -> str | None:
    """The variable whose headers the library sends; None where none is set."""
    return next((name for name in _HEADERS if environment.get(name)), None)


def parse_export_headers(text: str) -> dict[str, str]:
    """``name=value,name=value``, values percent-encoded, as in OTEL_EXPORTER_OTLP_HEADERS. Raises
    ``ValueError`` without the value.
    """
    headers = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        decoded = unquote(value.strip())
        if (
            not equals
            or _HEADER.fullmatch(name.strip()) is None
            or not decoded
            or not (decoded.isascii() and decoded.isprintable())
        ):
            msg = "name=value, with commas between several; values percent-encoded"
            raise ValueError(msg)
        headers[name.strip().lower()] = decoded
    return headers


__all__ = [
    "FROM_ENVIRONMENT",
    "TracingBase",
    "export_url",
    "headers_variable",
    "parse_export_headers",
]
