"""The one way to Cognito's API: paced, timed, and with an honest answer to "did it happen?".

Rules:
- botocore never retries: its standard mode would repeat CreateUserPoolClient after a timeout and
  make a second client.
- A throttled or conflicting call had no effect and is repeated here, whatever it was.
- A call that went unanswered (timeout, connection, 5xx) may have happened: ``UnansweredError``.
  Only the caller knows what repeating it would mean, so only ``idempotent=True`` repeats it here.
- An operation that is not in ``OPERATIONS`` cannot be called; ``deploy/aws`` grants exactly these.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from gateway.cognito.sdk_model import open_session
from gateway.core.model import DEFAULT_POOL
from gateway.errors import ConfigError, PeerError, UnavailableError
from gateway.http.connection_error import NO_TIME, UNKNOWN, at, why
from gateway.log import fields
from gateway.metrics import COGNITO_CALLS, begin_at_zero

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.config.model import Config

log = logging.getLogger(__name__)

OUTCOMES = ("ok", "throttled", "refused", "unanswered", "not_sent")
"""How calls are counted. ``throttled``: had no effect and is repeated, after a conflict too;
``unanswered``: nobody knows whether it happened.
"""
OPERATIONS = frozenset(
    {
        "AddCustomAttributes",
        "AdminAddUserToGroup",
        "AdminCreateUser",
        "AdminDeleteUser",
        "AdminDisableUser",
        "AdminEnableUser",
        "AdminGetUser",
        "AdminListGroupsForUser",
        "AdminListUserSessions",
        "AdminRemoveUserFromGroup",
        "AdminResetUserPassword",
        "AdminRevokeUserSession",
        "AdminSetUserPassword",
        "AdminUpdateUserAttributes",
        "AdminUserGlobalSignOut",
        "CreateGroup",
        "CreateIdentityProvider",
        "CreateManagedLoginBranding",
        "CreateUserPoolClient",
        "DeleteGroup",
        "DeleteIdentityProvider",
        "DeleteManagedLoginBranding",
        "DeleteUserPoolClient",
        "DescribeIdentityProvider",
        "DescribeManagedLoginBrandingByClient",
        "DescribeUserPool",
        "DescribeUserPoolClient",
        "DescribeUserPoolDomain",
        "GetGroup",
        "GetUserPoolClientSessionConfiguration",
        "GetUserPoolSessionConfiguration",
        "ListGroups",
        "ListIdentityProviders",
        "ListUserPoolClients",
        "ListUsers",
        "ListUsersInGroup",
        "SetUserPoolClientSessionConfiguration",
        "UpdateIdentityProvider",
        "UpdateUserPoolClient",
    }
)
"""Everything that is ever called; the IAM policy lists exactly these."""

OF_NO_POOL = frozenset({"DescribeUserPoolDomain"})
"""Takes no pool's id; IAM grants it for all pools or for none."""

PER_SECOND = 5.0
"""Cognito's quota per operation and pool for clients and providers; people's operations have 25 and
more.
"""
PEOPLE_PER_SECOND = 20.0
CONNECT_S = 5.0
READ_S = 15.0
THROTTLED_FOR_S = 90.0
"""How long a throttled call is repeated: a burst of twenty onboardings needs about ten seconds at
five a second.
"""
UNANSWERED_ATTEMPTS = 3

THROTTLED = frozenset(
    {"TooManyRequestsException", "ThrottlingException", "Throttling", "RequestLimitExceeded"}
)
_CONFLICT = "ConcurrentModificationException"
_UNANSWERED = frozenset(
    {
        "InternalErrorException",
        "InternalServerException",
        "InternalFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)


class CognitoRejectedError(PeerError):
    """Cognito said no; nothing happened. ``code`` is its exception's name, the text its own
    message.
    """

    uncertain = False
    """Whether something may have happened all the same: an attempt before went unanswered."""


class NotSentError(CognitoRejectedError):
    """It never left this machine: ``str(error)`` says why, in our words."""


class UnansweredError(UnavailableError):
    """Nobody knows whether it happened."""


class _Repeat(Exception):  # noqa: N818 - never leaves this module
    """No effect, worth repeating; ``refused`` is what to raise when there is no time left."""

    def __init__(self, refused: CognitoRejectedError) -> None:
        super().__init__(str(refused))
        self.refused = refused


class RateLimiter:
    """At most ``per_second`` calls of each operation. ``clock`` is monotonic seconds."""

    def __init__(
        self,
        *,
        per_second: float,
        people_per_second: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._every = {False: 1 / per_second, True: 1 / people_per_second}
        self._clock, self._sleep = clock, sleep
        self._next: dict[str, float] = {}

    async def wait(self, operation: str) -> None:
        now = self._clock()
        slot = max(now, self._next.get(operation, 0.0))
        self._next[operation] = slot + self._every[operation.startswith(("Admin", "ListUsers"))]
        if slot > now:
            await self._sleep(slot - now)


class CognitoApi:
    """One pool; ``pool`` is its name in the configuration. ``client`` is aioboto3's, without
    retries of its own.
    """

    def __init__(
        self,
        client: Any,
        *,
        pool: str,
        pool_id: str,
        rate_limiter: RateLimiter,
        throttled_for_s: float = THROTTLED_FOR_S,
    ) -> None:
        begin_at_zero(COGNITO_CALLS, [pool], OUTCOMES)
        self._client, self._pool_id, self._rate_limiter = client, pool_id, rate_limiter
        self._pool, self._throttled_for_s = pool, throttled_for_s

    @property
    def pool_id(self) -> str:
        return self._pool_id

    async def call(self, operation: str, *, idempotent: bool, **request: Any) -> dict[str, Any]:
        """Raises ``CognitoRejectedError`` (no effect) or ``UnansweredError`` (nobody knows)."""
        for attempt in range(1, UNANSWERED_ATTEMPTS + 1):
            try:
                return await self._unthrottled(operation, request)
            except UnansweredError:
                if not idempotent or attempt == UNANSWERED_ATTEMPTS:
                    raise
            except CognitoRejectedError as refused:
                refused.uncertain = attempt > 1
                raise
        raise AssertionError  # the loop returns or raises

    async def _unthrottled(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        patience = stop_after_delay(self._throttled_for_s) | stop_after_attempt(60)
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(lambda e: isinstance(e, _Repeat)),
                wait=wait_random_exponential(multiplier=0.2, max=5),
                stop=patience,
                reraise=True,
            ):
                with attempt:
                    return await self._once(operation, request)
        except _Repeat as repeat:
            raise repeat.refused from None
        raise AssertionError  # AsyncRetrying returns or raises

    async def _once(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import (  # noqa: PLC0415 - loaded where the admin role calls, nowhere else
            BotoCoreError,
            ClientError,
            HTTPClientError,
            ParamValidationError,
        )
        from botocore.exceptions import ConnectionError as NotReached  # noqa: PLC0415 - as above

        if operation not in OPERATIONS:
            msg = f"{operation} is not one of the operations that the gateway may use"
            raise ValueError(msg)
        await self._rate_limiter.wait(operation)
        start_time = time.monotonic()
        outcome, label = "ok", "ok"
        try:
            answer: dict[str, Any] = await getattr(self._client, _method(operation))(
                **({} if operation in OF_NO_POOL else {"UserPoolId": self._pool_id}), **request
            )
        except ClientError as error:
            outcome = str(error.response.get("Error", {}).get("Code", "unknown"))
            meaning = _meaning(operation, error.response)
            label = _counted(meaning)
            raise meaning from error
        except ParamValidationError as error:
            outcome, label = "invalid", "refused"
            raise CognitoRejectedError(
                "InvalidParameterException",
                f"{operation}: the request is not valid under AWS's model",
            ) from error
        except (HTTPClientError, NotReached, OSError, TimeoutError) as error:
            # A connection that breaks while it answers has the name of one that is refused.
            outcome = label = "unanswered"
            raise UnansweredError(
                f"Cognito did not answer {operation}: {_host(error)}{_unsent(error)}"
            ) from error
        except BotoCoreError as error:
            outcome, label = type(error).__name__, "not_sent"
            raise NotSentError(
                outcome, f"{operation} could not be sent: {_host(error)}{_unsent(error)}"
            ) from error
        finally:
            COGNITO_CALLS.labels(self._pool, label).inc()
            log.debug(
                "cognito_call",
                extra=fields(
                    pool=self._pool,
                    operation=operation,
                    outcome=outcome,
                    duration_ms=round((time.monotonic() - start_time) * 1000, 1),
                ),
            )
        answer.pop("ResponseMetadata", None)
        return answer


def _counted(meaning: Exception) -> str:
    """One of ``OUTCOMES``."""
    if isinstance(meaning, _Repeat):
        return "throttled"
    return "unanswered" if isinstance(meaning, UnansweredError) else "refused"


def _meaning(operation: str, response: dict[str, Any]) -> Exception:
    error = response.get("Error", {})
    code, message = str(error.get("Code", "UnknownError")), str(error.get("Message", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    rejection = CognitoRejectedError(code, message or code)
    if code in THROTTLED or code == _CONFLICT:
        return _Repeat(rejection)
    if code in _UNANSWERED or status >= 500:
        return UnansweredError(f"Cognito failed at {operation} ({code})")
    return rejection


_UNSENT = {
    "NoCredentialsError": "no AWS credentials are configured for this process (environment, "
    "shared file, or the role of the machine)",
    "PartialCredentialsError": "the AWS credentials are incomplete: the access key ID or the "
    "secret access key is missing",
    "CredentialRetrievalError": "the AWS credentials cannot be fetched (credential_process, or the "
    "role of the machine)",
    "MetadataRetrievalError": "the AWS credentials cannot be fetched from the role of the machine",
    "InvalidConfigError": "the AWS configuration file is not valid",
    "ConfigParseError": "the AWS configuration file cannot be parsed",
    "ConfigNotFound": "the AWS configuration file is missing (AWS_CONFIG_FILE)",
    "ProfileNotFound": "the AWS profile is in no configuration file (AWS_PROFILE)",
    "InvalidRegionError": "cognito.region is no region",
    "ProxyConnectionError": "the proxy cannot be reached (HTTPS_PROXY)",
    "UnauthorizedSSOTokenError": "the AWS single sign-on session has expired: aws sso login",
    "SSOTokenLoadError": "there is no AWS single sign-on session: aws sso login",
    "TokenRetrievalError": "the AWS single sign-on session has expired: aws sso login",
    "ConnectTimeoutError": NO_TIME,
    "ReadTimeoutError": NO_TIME,
}
"""By the name of botocore's class: its texts quote what an operator wrote."""


def _unsent(error: BaseException) -> str:
    """Why a call never left, or was not answered."""
    name = type(error).__name__
    if name in _UNSENT:
        return _UNSENT[name]
    cause = why(error, trust="AWS_CA_BUNDLE in the environment")
    return cause if cause != UNKNOWN else "no connection (AWS's library says no more)"


def _host(error: BaseException) -> str:
    """``host: `` of the endpoint, where the library says it."""
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    parts = urlsplit(str(url)) if url else None
    return f"{at(parts.hostname, parts.port or 443)}: " if parts and parts.hostname else ""


def _method(operation: str) -> str:
    """CreateUserPoolClient → create_user_pool_client, as boto spells it."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).lstrip("_")


@asynccontextmanager
async def open_cognito(
    config: Config,
    *,
    pool: str = DEFAULT_POOL,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    read_s: float = READ_S,
    per_second: float = PER_SECOND,
    throttled_for_s: float = THROTTLED_FOR_S,
) -> AsyncIterator[CognitoApi]:
    """A client of the pool of that name. Credentials are boto's own business, except for a
    development endpoint, which takes any. Raises ``ConfigError`` where the library is missing, or
    AWS's own configuration is wrong.
    """
    try:
        import aioboto3  # noqa: F401, PLC0415 - the admin role only
        from botocore.config import Config as BotoConfig  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    except ImportError as error:
        msg = "provisioning needs the AWS SDK: install the release's wheel with the extra [aws]"
        raise ConfigError(msg) from error

    user_pool = config.cognito.all_pools[pool]
    settings = BotoConfig(
        retries={"total_max_attempts": 1},
        connect_timeout=CONNECT_S,
        read_timeout=read_s,
        max_pool_connections=20,
    )
    anyone = (
        {"aws_access_key_id": "development", "aws_secret_access_key": "development"}
        if config.development and user_pool.endpoint_url
        else {}
    )
    async with AsyncExitStack() as stack:
        try:
            session = open_session(user_pool.region)
            client = await stack.enter_async_context(
                session.client(
                    "cognito-idp",
                    endpoint_url=user_pool.endpoint_url,
                    config=settings,
                    **anyone,
                )
            )
        except (BotoCoreError, ValueError) as error:
            msg = f"AWS: {_unsent(error)}"
            raise ConfigError(msg) from error
        rate_limiter = RateLimiter(
            per_second=per_second,
            people_per_second=PEOPLE_PER_SECOND,
            clock=time.monotonic,
            sleep=sleep,
        )
        yield CognitoApi(
            client,
            pool=pool,
            pool_id=user_pool.user_pool_id,
            rate_limiter=rate_limiter,
            throttled_for_s=throttled_for_s,
        )
