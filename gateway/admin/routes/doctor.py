"""``/doctor/probes``: nonces for ``gateway ingress doctor``, and what arrived under each."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from gateway.admin.problem import Code, Problem
from gateway.admin.route import Answer, AnswerModel, ApiModel, Call, Route
from gateway.core.hosts import parse_host_header
from gateway.core.probe import CHANCE_BYTES, LIFETIME_S, is_ours, issue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.sessions.api import ProbeRecords

MAX_PROBES = 500


class ProbesBody(ApiModel):
    """``host``: the protected host that will be probed."""

    host: Annotated[str, Field(min_length=1, max_length=260)]
    count: Annotated[int, Field(ge=1, le=MAX_PROBES)] = 1


class ProbesAnswer(AnswerModel):
    """``managed``: the headers that the gateway fills; ``cookie``: name of its session cookie."""

    nonces: list[str]
    expires_at: int
    managed: list[str]
    cookie: str


class ProbesQuery(ApiModel):
    """``nonces``: up to 100, with commas between them."""

    nonces: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_-]{1,128}(?:,[A-Za-z0-9_-]{1,128}){0,99}$", max_length=8000),
    ]


class ProbeAnswer(AnswerModel):
    """What the check and the test location saw; null where nothing arrived."""

    check: dict[str, Any] | None
    location: dict[str, Any] | None


class ProbeRecordsAnswer(AnswerModel):
    """In the order of the nonces."""

    probes: list[ProbeAnswer]


@dataclass(frozen=True, slots=True)
class DoctorRoutes:
    """``managed``: names of the managed headers."""

    records: ProbeRecords
    keys: Callable[[], Sequence[bytes]]
    managed: Sequence[str]
    cookie_name: str
    clock: Callable[[], float]

    async def create(self, call: Call) -> Answer:
        body = call.body(ProbesBody)
        host = parse_host_header(body.host)
        if host is None:
            raise Problem(Code.INVALID_BODY, "host: a host name such as app.example.com")
        expires_at = int(self.clock()) + LIFETIME_S
        nonces = [
            issue(self.keys()[0], chance=secrets.token_bytes(CHANCE_BYTES), expires_at=expires_at)
            for _ in range(body.count)
        ]
        call.note.target = host
        return Answer(
            ProbesAnswer(
                nonces=nonces,
                expires_at=expires_at,
                managed=list(self.managed),
                cookie=self.cookie_name,
            ),
            status=201,
        )

    async def read(self, call: Call) -> Answer:
        nonces = call.query(ProbesQuery).nonces.split(",")
        if not all(is_ours(self.keys(), nonce, now=self.clock()) for nonce in nonces):
            raise Problem(Code.NOT_FOUND)
        records = [
            (await self.records.read(nonce, "check"), await self.records.read(nonce, "location"))
            for nonce in nonces
        ]
        return Answer(
            ProbeRecordsAnswer(
                probes=[
                    ProbeAnswer(
                        check=dict(check) if check else None,
                        location=dict(location) if location else None,
                    )
                    for check, location in records
                ]
            )
        )

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "create_probes",
                "POST",
                "/doctor/probes",
                "Nonces for probing a live ingress.",
                self.create,
                {201: ProbesAnswer},
                body=ProbesBody,
            ),
            Route(
                "get_probes",
                "GET",
                "/doctor/probes",
                "What arrived under nonces.",
                self.read,
                {200: ProbeRecordsAnswer},
                query=ProbesQuery,
                problems=(Code.NOT_FOUND,),
            ),
        )
