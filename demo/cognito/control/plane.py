"""The endpoint: one POST for every operation, told apart by ``X-Amz-Target``."""

from __future__ import annotations

import json
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
from aiohttp import ClientSession, web

from demo.cognito.control import (
    branding,
    clients,
    groups,
    native_sessions,
    own_users,
    pools,
    providers,
    secrets_manager,
    sign_in,
    users,
)
from demo.cognito.control.errors import COMMON_ERRORS, ApiError, invalid, throttled
from demo.cognito.control.faults import Call, CallFaults
from demo.cognito.control.state import ACCOUNT_ID, ControlState
from demo.cognito.control.validation import check, violations
from demo.cognito.saml import MetadataRefusedError, fetch, read_metadata

if TYPE_CHECKING:
    from demo.cognito.minting import Mint
    from demo.cognito.pool import Pool

Operation = Callable[[ControlState, dict[str, Any]], dict[str, Any]]

OPERATIONS: Mapping[str, Operation] = {
    "AddCustomAttributes": pools.add_custom_attributes,
    "AdminAddUserToGroup": own_users.admin_add_user_to_group,
    "AdminCreateUser": own_users.admin_create_user,
    "AdminDeleteUser": own_users.admin_delete_user,
    "AdminDisableUser": users.admin_disable_user,
    "AdminEnableUser": users.admin_enable_user,
    "AdminGetUser": users.admin_get_user,
    "AdminListGroupsForUser": own_users.admin_list_groups_for_user,
    "AdminListUserSessions": native_sessions.admin_list_user_sessions,
    "AdminRemoveUserFromGroup": own_users.admin_remove_user_from_group,
    "AdminResetUserPassword": own_users.admin_reset_user_password,
    "AdminRevokeUserSession": native_sessions.admin_revoke_user_session,
    "AdminSetUserPassword": own_users.admin_set_user_password,
    "AdminUpdateUserAttributes": users.admin_update_user_attributes,
    "AdminUserGlobalSignOut": users.admin_user_global_sign_out,
    "CreateGroup": groups.create_group,
    "CreateIdentityProvider": providers.create_identity_provider,
    "CreateManagedLoginBranding": branding.create_managed_login_branding,
    "CreateUserPoolClient": clients.create_user_pool_client,
    "DeleteGroup": groups.delete_group,
    "DeleteIdentityProvider": providers.delete_identity_provider,
    "DeleteManagedLoginBranding": branding.delete_managed_login_branding,
    "DeleteUserPoolClient": clients.delete_user_pool_client,
    "DescribeIdentityProvider": providers.describe_identity_provider,
    "DescribeManagedLoginBranding": branding.describe_managed_login_branding,
    "DescribeManagedLoginBrandingByClient": branding.describe_managed_login_branding_by_client,
    "DescribeUserPool": pools.describe_user_pool,
    "DescribeUserPoolClient": clients.describe_user_pool_client,
    "DescribeUserPoolDomain": pools.describe_user_pool_domain,
    "GetGroup": groups.get_group,
    "GetIdentityProviderByIdentifier": providers.get_identity_provider_by_identifier,
    "GetUserPoolClientSessionConfiguration": (
        native_sessions.get_user_pool_client_session_configuration
    ),
    "GetUserPoolSessionConfiguration": native_sessions.get_user_pool_session_configuration,
    "InitiateAuth": sign_in.initiate_auth,
    "ListGroups": groups.list_groups,
    "ListIdentityProviders": providers.list_identity_providers,
    "ListUserPoolClients": clients.list_user_pool_clients,
    "ListUsers": users.list_users,
    "ListUsersInGroup": own_users.list_users_in_group,
    "RevokeToken": users.revoke_token,
    "SetUserPoolClientSessionConfiguration": (
        native_sessions.set_user_pool_client_session_configuration
    ),
    "UpdateIdentityProvider": providers.update_identity_provider,
    "UpdateUserPoolClient": clients.update_user_pool_client,
}

RATES: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "AdminAddUserToGroup",
            "AdminDeleteUser",
            "AdminDisableUser",
            "AdminEnableUser",
            "AdminRevokeUserSession",
            "AdminRemoveUserFromGroup",
            "AdminUpdateUserAttributes",
            "AdminUserGlobalSignOut",
        ),
        25,
    ),
    "AdminCreateUser": 50,
    "AdminGetUser": 120,
    "AdminListGroupsForUser": 50,
    "AdminListUserSessions": 30,
    "AdminResetUserPassword": 30,
    "InitiateAuth": 120,
    "AdminSetUserPassword": 25,
    "ListUsers": 30,
    "ListUsersInGroup": 30,
    "RevokeToken": 120,
}
"""Calls per second per operation where it is not ``DEFAULT_RATE``."""

DEFAULT_RATE = 5
"""Pool, client and provider operations: five per second, per operation and pool."""

_TARGET = "AWSCognitoIdentityProviderService."
_CONTENT_TYPE = "application/x-amz-json-1.1"


@cache
def _service_model() -> Any:
    """Loading takes a tenth of a second; a test run starts many clouds. ``sdk_extras`` has what the
    library of this release does not know yet, as botocore 1.44.8 has it.
    """
    session = botocore.session.get_session()
    session.get_component("data_loader").search_paths.append(
        str(Path(__file__).parent / "sdk_extras")
    )
    return session.get_service_model("cognito-idp")


class ControlPlane:
    """The API of one pool. A caller's signature is required where AWS requires one, and not
    verified.
    """

    def __init__(self, pool: Pool, http: ClientSession, mint: Mint) -> None:
        """``http`` fetches metadata of SAML providers."""
        self.state = ControlState(pool, mint)
        self._http = http
        self.faults = CallFaults()
        self.calls: list[Call] = []
        self.rates_enforced = False
        self.allowed_operations: frozenset[str] | None = None
        """The operations that the caller's policy allows; ``None`` allows all."""
        self._model = _service_model()
        self._recent: dict[str, deque[float]] = {}

    @property
    def known_operations(self) -> frozenset[str]:
        """Every operation that the stand-in has."""
        return frozenset(OPERATIONS)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/", self.handle)

    def calls_of(self, operation: str) -> list[Call]:
        return [call for call in self.calls if call.operation == operation]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        operation = request.headers.get("X-Amz-Target", "").removeprefix(_TARGET)
        if operation == f"{secrets_manager.TARGET}{secrets_manager.OPERATION}":
            operation = secrets_manager.OPERATION
        body: dict[str, Any] = {}
        outcome = "lost"
        try:
            body = await self._body(request)
            answer = await self._answer(operation, request, body)
            outcome = "ok"
            return _response(200, answer)
        except ApiError as refusal:
            outcome = refusal.code
            return _response(
                refusal.status,
                {"__type": refusal.code, "message": refusal.message},
                error=refusal.code,
            )
        finally:
            self.calls.append(Call(operation, body, outcome, self.state.pool.clock()))

    async def _body(self, request: web.Request) -> dict[str, Any]:
        try:
            body = json.loads(await request.read() or b"{}")
        except ValueError as malformed:
            raise ApiError("SerializationException", "The request is not JSON.") from malformed
        if not isinstance(body, dict):
            raise ApiError("SerializationException", "The request is not a JSON object.")
        return body

    async def _answer(
        self, operation: str, request: web.Request, body: dict[str, Any]
    ) -> dict[str, Any]:
        run, service = OPERATIONS.get(operation), self._model
        if operation == secrets_manager.OPERATION:
            run, service = secrets_manager.get_secret_value, secrets_manager.service_model()
        if run is None:
            raise ApiError(
                "UnknownOperationException", f"The demo does not know the operation {operation!r}."
            )
        model = service.operation_model(operation)
        if model.auth_type != "none":
            self._authorize(operation, request)
        self._pace(operation)
        await self.faults.strike(operation, request, after=False)
        check(model.input_shape, body)
        await self._fetch_metadata(body)
        try:
            answer = run(self.state, body)
        except ApiError as refusal:
            _hold_to_errors(model, refusal)
            raise
        _hold_to_output(model, answer)
        await self.faults.strike(operation, request, after=True)
        return answer

    async def _fetch_metadata(self, body: Mapping[str, Any]) -> None:
        """Cognito reads a SAML provider's metadata when the provider is made, and refuses."""
        url = (body.get("ProviderDetails") or {}).get("MetadataURL")
        if isinstance(url, str):
            try:
                read_metadata(await fetch(self._http, url), now=self.state.pool.clock())
            except MetadataRefusedError as refused:
                raise invalid(str(refused)) from None

    def _authorize(self, operation: str, request: web.Request) -> None:
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
            raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token")
        if self.allowed_operations is not None and operation not in self.allowed_operations:
            pool = self.state.pool
            raise ApiError(
                "AccessDeniedException",
                f"User: arn:aws:sts::{ACCOUNT_ID}:assumed-role/gateway is not authorized "
                f"to perform: cognito-idp:{operation} on "
                f"resource: arn:aws:cognito-idp:{pool.region}:{ACCOUNT_ID}:userpool/{pool.pool_id}",
            )

    def _pace(self, operation: str) -> None:
        """A sliding window of one second per operation."""
        if not self.rates_enforced:
            return
        now, recent = self.state.pool.clock(), self._recent.setdefault(operation, deque())
        while recent and now - recent[0] >= 1:
            recent.popleft()
        if len(recent) >= RATES.get(operation, DEFAULT_RATE):
            raise throttled()
        recent.append(now)


def _hold_to_errors(model: Any, refusal: ApiError) -> None:
    """A refusal that AWS has not for this operation would be a fault of the stand-in."""
    allowed = {shape.name for shape in model.error_shapes} | COMMON_ERRORS
    if refusal.code not in allowed:
        msg = f"{model.name} has no {refusal.code} in AWS's model"
        raise AssertionError(msg)


def _hold_to_output(model: Any, answer: dict[str, Any]) -> None:
    """As ``_hold_to_errors``, of what is answered: no member more, none missing, each in its
    bounds. AWS's own phone_number_verified is longer than its model lets a name be.
    """
    shape = model.output_shape
    members = shape.members if shape is not None else {}
    broken = [f"{name} is not in the model" for name in answer if name not in members]
    if shape is not None:
        broken += [
            text
            for text in violations(shape, answer, path="")
            if "phone_number_verified" not in text
        ]
    if broken:
        msg = f"{model.name} answered what AWS's model does not allow: {broken}"
        raise AssertionError(msg)


def _response(status: int, body: dict[str, Any], *, error: str | None = None) -> web.Response:
    headers = {
        "x-amzn-RequestId": str(uuid.uuid4()),
        **({"x-amzn-ErrorType": error} if error else {}),
    }
    return web.Response(
        status=status, body=json.dumps(body).encode(), content_type=_CONTENT_TYPE, headers=headers
    )
