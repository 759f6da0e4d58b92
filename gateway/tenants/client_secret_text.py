"""The secret of an app client as one text, for the sealed column of SQL and for the journal: the
secret itself, or, where Secrets Manager keeps it, JSON with its ARN and the one before. Pure.

No secret of Cognito's begins with a brace: they are letters, digits, ``_`` and ``+``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.model import RotatedSecret, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.model import AppClient


def secret_text(client: AppClient) -> Secret:
    """Only for what is sealed."""
    if client.rotated is None:
        return client.client_secret
    previous = client.rotated.previous
    return Secret(
        json.dumps(
            {
                "arn": client.rotated.arn,
                "secret": client.client_secret.reveal(),
                "previous": None if previous is None else previous.reveal(),
            }
        )
    )


def read_secret(text: Secret) -> tuple[Secret, RotatedSecret | None]:
    """Inverse of ``secret_text``."""
    if not text.reveal().startswith("{"):
        return text, None
    kept = json.loads(text.reveal())
    previous = kept["previous"]
    rotated = RotatedSecret(kept["arn"], None if previous is None else Secret(previous))
    return Secret(kept["secret"]), rotated


def newest(client: AppClient, held: Mapping[str, AppClient]) -> AppClient:
    """With the secret of ``held`` where Secrets Manager keeps it: whoever writes credentials read
    them before, and it may have been exchanged since.
    """
    now = held.get(client.client_id)
    if client.rotated is None or now is None or now.rotated is None:
        return client
    if now.rotated.arn != client.rotated.arn:
        return client
    return replace(client, client_secret=now.client_secret, rotated=now.rotated)
