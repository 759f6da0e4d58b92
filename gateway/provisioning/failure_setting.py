"""Which setting to look at after a run failed: the ``setting`` of ``provision_failed``, as that of
``login_failed``.
"""

from __future__ import annotations

from typing import Final

from gateway.cognito.aws_error import POLICY
from gateway.provisioning.runs import Action

_CREDENTIALS: Final = "the admin role's AWS credentials: `gateway config check --role admin`"
_POLICY: Final = f"the admin role's AWS policy: {POLICY}"
_POOL: Final = "cognito.user_pool_id and cognito.region, or what was deleted in the pool meanwhile"
_PROVIDER: Final = (
    "the call's providers[]: client_id, client_secret, oidc_issuer or the SAML metadata; "
    "cause is Cognito's own message"
)
_CLIENT: Final = "the tenant's hosts, scopes and providers, and login_host; cause is Cognito's own"
_BY_CODE: Final = {
    "AccessDeniedException": _POLICY,
    "NotAuthorizedException": _POLICY,
    "UnauthorizedException": _POLICY,
    "ExpiredTokenException": _CREDENTIALS,
    "InvalidSignatureException": _CREDENTIALS,
    "MissingAuthenticationTokenException": _CREDENTIALS,
    "UnrecognizedClientException": _CREDENTIALS,
    "ResourceNotFoundException": _POOL,
    "LimitExceededException": "the pool's quota at AWS (Service Quotas), then cognito.quotas",
    "TooManyRequestsException": "nothing: call again when Cognito throttles less",
    "DuplicateProviderException": "providers[].name, or adopt: the pool has one of that name",
    "InvalidOAuthFlowException": "the tenant's scopes",
    "ScopeDoesNotExistException": "the tenant's scopes",
    "UnsupportedIdentityProviderException": "providers[].name: the pool has none of that name",
    "interrupted": "nothing: another process of the admin role finishes the run or undoes it",
    "unavailable": "the connection to Cognito or SQL: `gateway config check --role admin`",
}
_OF_CLIENTS: Final = frozenset({Action.CREATE_CLIENT, Action.UPDATE_CLIENT, Action.DELETE_CLIENT})
_OF_PROVIDERS: Final = frozenset(
    {Action.CREATE_PROVIDER, Action.UPDATE_PROVIDER, Action.DELETE_PROVIDER}
)


def setting_of(code: str, action: Action | None) -> str:
    """``code`` of Cognito, the registry or the run; ``action`` of the step that failed, if one
    did.
    """
    if setting := _BY_CODE.get(code):
        return setting
    if action in _OF_PROVIDERS:
        return _PROVIDER
    if action in _OF_CLIENTS:
        return _CLIENT
    if action is Action.ADD_ATTRIBUTES:
        return "the pool's custom attributes (50 at most, and never changed): attribute_mapping"
    return "the tenant's document; cause says which key"
