"""Asking Cognito with a client whose secret it exchanges by itself: neither the moment from which
it takes the new secret is known, nor that until which it takes the one before.

So both are tried, and where neither is taken, whoever reads Secrets Manager is told at once. Nobody
else pays for it: the secret of every other client is tried once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.core.model import AppClient

Answer = TypeVar("Answer")


class ExchangedSecrets(Protocol):
    """What this process hears of exchanged secrets. Nothing here raises."""

    async def tell_stale(self, client_id: str) -> None:
        """Cognito does not take what is known here. Repeats harmlessly."""

    async def newer(self, tenant: str, client: AppClient) -> AppClient | None:
        """The client with another secret than this one, as soon as it is known here. None: not
        within some seconds.
        """


async def with_either_secret(
    client: AppClient,
    ask: Callable[[AppClient], Awaitable[Answer]],
    *,
    refused: Callable[[Answer], bool],
    secrets: ExchangedSecrets | None,
) -> Answer:
    """What Cognito answers with the secret that it takes; its refusal, where it takes neither."""
    answer = await ask(client)
    if client.rotated is None or not refused(answer):
        return answer
    if secrets is not None:
        await secrets.tell_stale(client.client_id)
    previous = client.rotated.previous
    if previous is None:
        return answer
    return await ask(replace(client, client_secret=previous))
