"""The user pools: ``cognito`` is the pool ``default``, ``cognito.pools`` names further ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from gateway.config.types import Duration, Model
from gateway.core.model import DEFAULT_POOL

REGION = r"^[a-z]{2}(-[a-z]+)+-\d$"
POOL_NAME = r"^[a-z0-9][a-z0-9-]{0,31}$"


class CognitoQuotas(Model):
    """How many a pool may hold, as AWS has granted it: both can be raised on request."""

    clients: Annotated[int, Field(ge=1, le=10_000)] = 1000
    providers: Annotated[int, Field(ge=1, le=1000)] = 300


class SecondaryPool(Model):
    """The read-only replica of a user pool in another region: the same pool and client ids."""

    region: Annotated[str, Field(pattern=REGION, examples=["eu-west-1"])]
    domain: str
    issuer: str | None = None
    automatic_after: Annotated[Duration, Field(ge=timedelta(seconds=30))] | None = None


class UserPool(Model):
    """A user pool that brokers customers' identity providers."""

    region: Annotated[str, Field(pattern=REGION, examples=["eu-north-1"])]
    user_pool_id: Annotated[
        str,
        Field(pattern=r"^[\w-]+_[0-9a-zA-Z]+$", max_length=55, examples=["eu-north-1_AbCdEfGhI"]),
    ]
    domain: str
    issuer: str | None = None
    endpoint_url: str | None = None
    quotas: CognitoQuotas = CognitoQuotas()
    secondary: SecondaryPool | None = None

    @property
    def effective_issuer(self) -> str:
        """``iss`` of the pool's tokens: configured, or derived from region and pool."""
        return self.issuer or f"https://cognito-idp.{self.region}.amazonaws.com/{self.user_pool_id}"

    @property
    def api_url(self) -> str:
        """Where the pool's API is: configured, or the region's."""
        return self.endpoint_url or f"https://cognito-idp.{self.region}.amazonaws.com"

    @property
    def issuers(self) -> tuple[str, ...]:
        """Each ``iss`` that tokens of the pool may have."""
        second = self.secondary_issuer
        return (self.effective_issuer, *(() if second is None else (second,)))

    @property
    def secondary_issuer(self) -> str | None:
        """``iss`` of tokens that the secondary region makes: configured, or derived; it may be the
        primary's.
        """
        if self.secondary is None:
            return None
        region = self.secondary.region
        return (
            self.secondary.issuer
            or f"https://cognito-idp.{region}.amazonaws.com/{self.user_pool_id}"
        )

    @property
    def domains(self) -> tuple[str, ...]:
        """Where browsers may be sent: the pool's domain, and that of its secondary."""
        return (self.domain, *(() if self.secondary is None else (self.secondary.domain,)))

    @model_validator(mode="after")
    def _replicated(self) -> UserPool:
        if self.secondary is not None and self.secondary.region == self.region:
            msg = f"secondary.region: {self.region} is the primary's"
            raise ValueError(msg)
        return self


class Cognito(UserPool):
    """The user pool ``default``, and further ones by name: a pool holds at most 1,000 identity
    providers.
    """

    pools: Annotated[
        dict[Annotated[str, Field(pattern=POOL_NAME)], UserPool],
        Field(max_length=50),
    ] = Field(default_factory=dict)

    @field_validator("pools")
    @classmethod
    def _named(cls, pools: dict[str, UserPool]) -> dict[str, UserPool]:
        if DEFAULT_POOL in pools:
            msg = f"{DEFAULT_POOL} is the pool directly under cognito; give this one another name"
            raise ValueError(msg)
        return pools

    @model_validator(mode="after")
    def _different(self) -> Cognito:
        """Two names of one pool would let each speak for the tenants of the other."""
        holders: dict[str, str] = {}
        for name, pool in self.all_pools.items():
            for key, value in (
                ("user_pool_id", pool.user_pool_id),
                *(("domain", domain.rstrip("/").lower()) for domain in pool.domains),
                *(("issuer", issuer) for issuer in pool.issuers),
            ):
                holder = holders.setdefault(f"{key} {value}", name)
                if holder != name:
                    msg = f"pools.{name}.{key}: {value} is {holder}'s already"
                    raise ValueError(msg)
        return self

    @property
    def all_pools(self) -> dict[str, UserPool]:
        """By name, the default first, then in the order of the file: the one mapping that is read
        everywhere.
        """
        return {DEFAULT_POOL: self, **self.pools}


def pool_key(name: str) -> str:
    """Where the pool stands in ``gateway.yaml``."""
    return "cognito" if name == DEFAULT_POOL else f"cognito.pools.{name}"
