"""What ``/readyz`` and every process say of themselves, as rows of the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.admin.routes.health import ComponentRow, ProcessRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.runtime.health import Known
    from gateway.sessions.key_adoption import KeyAdoption


def component_rows(known: Mapping[str, Known]) -> list[ComponentRow]:
    return [
        ComponentRow(
            name=state.name,
            ok=state.ok,
            needed=state.needed,
            detail=state.detail,
            parts={name: dict(part) for name, part in state.parts.items()},
        )
        for state in (ask() for ask in known.values())
    ]


async def process_rows(adoption: KeyAdoption) -> list[ProcessRow]:
    """Raises ``UnavailableError``."""
    return [ProcessRow(name=name, current=current) for name, current in await adoption.processes()]
