"""The section ``console`` of gateway.yaml: where operators work in a browser, and who of them may
do what.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from gateway.config.types import VISIBLE, HostName, Model
from gateway.core.scopes import Scope  # noqa: TC001 - pydantic reads annotations

TenantGlob = Annotated[str, Field(pattern=r"^[a-z0-9*](?:[a-z0-9*-]{0,39})$")]


def _scopes_alone(value: object) -> object:
    return {"scopes": value} if isinstance(value, list | tuple) else value


class ConsoleGroup(Model):
    """What the members of a group may do; ``tenants``: only for these, as globs of their ids."""

    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    tenants: Annotated[tuple[TenantGlob, ...], Field(min_length=1)] | None = None


class Console(Model):
    """``tenant``: the one whose people are operators. Whoever comes from any other is refused,
    whatever their groups are called. Without it, only the holder of a one-time link may come in
    (``gateway console link``).
    """

    host: HostName | None = None
    tenant: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")] | None = None
    groups: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=256)],
            Annotated[ConsoleGroup, BeforeValidator(_scopes_alone)],
        ],
        Field(max_length=100),
    ] = Field(default_factory=dict)
    contact: Annotated[str, Field(pattern=r"^[^<>\"]*$", max_length=254), VISIBLE] = ""

    @model_validator(mode="after")
    def _complete(self) -> Console:
        if self.host is None:
            if self.tenant is not None or self.groups:
                msg = "tenant and groups are of no use without host"
                raise ValueError(msg)
            return self
        if self.tenant is None and self.groups:
            msg = (
                "groups: of no use without tenant: without it, every tenant's identity provider "
                "could name an operator"
            )
            raise ValueError(msg)
        if self.tenant is not None and not self.groups:
            msg = "groups: required with tenant: without them nobody may do anything"
            raise ValueError(msg)
        return self
