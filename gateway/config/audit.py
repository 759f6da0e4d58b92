"""The section ``audit`` of gateway.yaml: where audit records go, and how long they are kept."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from gateway.config.types import Duration, Model, Url, format_duration, off_or_duration

_TARGET: Final = re.compile(
    r"stdout"
    r"|file:/[^\x00-\x1f]{1,400}"
    r"|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9!_.*'()/=-]{0,300})?"
    r"|eventbridge:[A-Za-z0-9._:/-]{1,300}",
    re.ASCII,
)


def _target(value: object) -> object:
    # YAML 1.1 reads a bare ``off`` as false.
    if value is False or value is None or value == "off":
        return None
    if not isinstance(value, str) or _TARGET.fullmatch(value) is None:
        msg = "off, stdout, file:/PATH, s3://BUCKET/PREFIX or eventbridge:BUS"
        raise ValueError(msg)
    return value


class Audit(Model):
    """``export``: None for nowhere. ``region``: of the bucket or bus; None for that of the user
    pool. ``retention``: None for ever; ``reads_retention``: of records of reads, None for as long
    as the others. ``reads``: which answers of the admin API are recorded.
    """

    export: Annotated[
        str | None,
        BeforeValidator(_target),
        PlainSerializer(lambda v: "off" if v is None else v),
        WithJsonSchema({"type": "string", "description": "off or a destination"}),
    ] = None
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(?:-[a-z]+)+-\d$")] | None = None
    endpoint_url: Url | None = None
    retention: Annotated[
        timedelta | None,
        BeforeValidator(off_or_duration),
        PlainSerializer(lambda v: "off" if v is None else format_duration(v)),
        WithJsonSchema({"type": "string", "description": "off or a duration"}),
    ] = None
    reads: Literal["all", "people", "none"] = "people"
    reads_retention: Duration | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Audit:
        if self.retention is not None and self.retention < timedelta(days=1):
            msg = "retention: off, or at least 1d"
            raise ValueError(msg)
        if self.reads_retention is not None and self.reads_retention < timedelta(days=1):
            msg = "reads_retention: at least 1d"
            raise ValueError(msg)
        return self

    @property
    def keeps_reads(self) -> timedelta | None:
        """How long records of reads are kept; None for ever."""
        return self.retention if self.reads_retention is None else self.reads_retention
