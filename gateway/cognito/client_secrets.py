"""Secrets of app clients that AWS Secrets Manager keeps, read there. Cognito writes them, and
exchanges each by itself, every seven days where nobody says otherwise.

Rules:
- Cognito names the secret (``ClientSecretArn``), never a document or a request: else whoever may
  write one could have any secret of the account read.
- What is read counts only if it says of itself that it is of this client in this pool.
- A secret that does not answer is an outage, and one that is refused is told with what to do; the
  text of a secret is in no message.

Sources: API reference of DescribeUserPoolClient (``ClientSecretArn``) and of GetSecretValue.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.core.model import Secret
from gateway.errors import PeerError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

CONNECT_S, READ_S, ATTEMPTS = 3.0, 5.0, 3
"""A read waits at most for all attempts, some 25 seconds."""
_LATER: Final = frozenset(
    {
        "InternalFailure",
        "InternalServiceError",
        "RequestTimeout",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
    }
)
_WRONG: Final = {
    "AccessDeniedException": (
        "the admin role may not read it: allow it secretsmanager:GetSecretValue on this secret, "
        "and kms:Decrypt where its key is one of yours"
    ),
    "DecryptionFailure": "its key does not decrypt it: allow the admin role kms:Decrypt",
    "ExpiredTokenException": "the AWS credentials of the admin role have expired",
    "InvalidRequestException": "it is marked for deletion",
    "ResourceNotFoundException": "there is no such secret",
}


class ReadsClientSecrets(Protocol):
    async def read(self, arn: str, *, pool_id: str, client_id: str) -> Secret:
        """Raises ``PeerError`` with a sentence that says what to do, and ``UnavailableError``."""


class ClientSecrets:
    """``async with ClientSecrets(endpoint_url=…) as secrets``. A connection for each region, when
    it is first needed. ``endpoint_url``: of a stand-in, which takes any credentials.
    """

    def __init__(self, *, endpoint_url: str | None = None) -> None:
        self._endpoint_url = endpoint_url
        self._stack = AsyncExitStack()
        self._clients: dict[str, Any] = {}
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def read(self, arn: str, *, pool_id: str, client_id: str) -> Secret:
        """See ``ReadsClientSecrets``."""
        from botocore.exceptions import (  # noqa: PLC0415 - loaded where the admin role reads, nowhere else
            BotoCoreError,
            ClientError,
            CredentialRetrievalError,
            HTTPClientError,
            MetadataRetrievalError,
            NoCredentialsError,
        )
        from botocore.exceptions import ConnectionError as NotReached  # noqa: PLC0415 - as above

        region = region_of(arn)
        where = f"the secret of {client_id} in Secrets Manager ({arn})"
        try:
            # Secrets Manager has one spelling, whichever Cognito has.
            name = arn.replace(":secret/", ":secret:", 1)
            answer = await (await self._client(region)).get_secret_value(SecretId=name)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
            if code in _LATER or status >= 500:
                msg = f"{where}: Secrets Manager does not answer now ({code})"
                raise UnavailableError(msg) from None
            msg = f"{where}: {_WRONG.get(code, 'Secrets Manager refused')} ({code})"
            raise PeerError(code, msg) from None
        except (HTTPClientError, NotReached, OSError, TimeoutError) as error:
            msg = f"{where}: Secrets Manager is not reached ({type(error).__name__})"
            raise UnavailableError(msg) from None
        except (CredentialRetrievalError, MetadataRetrievalError, NoCredentialsError) as error:
            msg = f"{where}: no AWS credentials now ({type(error).__name__})"
            raise UnavailableError(msg) from None
        except BotoCoreError as error:
            msg = f"{where}: {type(error).__name__}"
            raise PeerError("not_sent", msg) from None
        return _of_client(answer, pool_id=pool_id, client_id=client_id, where=where)

    async def _client(self, region: str) -> Any:
        import aioboto3  # noqa: PLC0415 - the admin role only
        from botocore.config import Config as BotoConfig  # noqa: PLC0415

        anyone = (
            {"aws_access_key_id": "development", "aws_secret_access_key": "development"}
            if self._endpoint_url
            else {}
        )
        async with self._opening:
            if region not in self._clients:
                self._clients[region] = await self._stack.enter_async_context(
                    aioboto3.Session(region_name=region).client(
                        "secretsmanager",
                        endpoint_url=self._endpoint_url,
                        config=BotoConfig(
                            connect_timeout=CONNECT_S,
                            read_timeout=READ_S,
                            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                        ),
                        **anyone,
                    )
                )
        return self._clients[region]


def region_of(arn: str) -> str:
    """Raises ``PeerError`` for what is no ARN of a secret. AWS's model writes ``secret/NAME`` and
    its guides ``secret:NAME``.
    """
    parts = arn.split(":", 5)
    if (
        len(parts) != 6
        or parts[0] != "arn"
        or parts[2] != "secretsmanager"
        or not parts[3]
        or not parts[5].startswith(("secret:", "secret/"))
    ):
        msg = f"Cognito names no secret of Secrets Manager: {arn[:200]!r}"
        raise PeerError("secret_arn", msg)
    return parts[3]


def _of_client(answer: Mapping[str, Any], *, pool_id: str, client_id: str, where: str) -> Secret:
    try:
        said = json.loads(answer.get("SecretString") or "")
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        msg = f"{where}: is not JSON as Cognito writes it"
        raise PeerError("secret_form", msg)
    if (said.get("userPoolId"), said.get("userPoolClientId")) != (pool_id, client_id):
        msg = f"{where}: is another app client's"
        raise PeerError("secret_of_another", msg)
    secret = said.get("clientSecretValue")
    if not isinstance(secret, str) or not secret:
        msg = f"{where}: holds no clientSecretValue"
        raise PeerError("secret_form", msg)
    return Secret(secret)
