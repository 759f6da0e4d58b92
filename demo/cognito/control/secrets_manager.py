"""AWS Secrets Manager, as far as it has secrets of app clients: at the same address as Cognito's
API, told apart by the service in ``X-Amz-Target``.

Source: API reference of GetSecretValue; API reference of DescribeUserPoolClient for what Cognito
writes into such a secret.
"""

from __future__ import annotations

import json
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session

from demo.cognito.control.errors import not_found

if TYPE_CHECKING:
    from demo.cognito.control.state import ControlState

TARGET = "secretsmanager."
OPERATION = "GetSecretValue"


@cache
def service_model() -> Any:
    return botocore.session.get_session().get_service_model("secretsmanager")


def spelled(arn: str) -> str:
    """As Secrets Manager spells it, and takes it; Cognito's model has ``secret/NAME``."""
    return arn.replace(":secret/", ":secret:", 1)


def get_secret_value(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool, arn = state.pool, request["SecretId"]
    client = next(
        (c for c in pool.clients.values() if c.secret_arn and spelled(c.secret_arn) == arn), None
    )
    if client is None:
        raise not_found("Secrets Manager can't find the specified secret.")
    return {
        "ARN": arn,
        "Name": arn.partition(":secret:")[2],
        "VersionId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{arn}{client.secret}")),
        "SecretString": json.dumps(
            {
                "userPoolId": pool.pool_id,
                "userPoolClientId": client.client_id,
                "clientSecretValue": client.secret,
            }
        ),
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": client.exchanged,
    }
