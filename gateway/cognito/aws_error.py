"""What AWS or its library says of a call that did not work, in words that whoever runs the gateway
can act on; and whether the credentials are right, by calls that change nothing.

Nothing of AWS's texts is repeated: they hold account numbers, names of roles and of keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.cognito.api import THROTTLED, CognitoRejectedError, NotSentError
from gateway.cognito.feature_plan import features_sentence, plan_of
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from gateway.cognito.api import CognitoApi

POLICY: Final = "deploy/aws/admin-role-policy.json"
NOBODY: Final = "0" * 26
"""An app client's ID, a user's name and a provider's that nobody has."""
READS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("DescribeUserPool", {}),
    ("ListUserPoolClients", {"MaxResults": 1}),
    ("ListIdentityProviders", {"MaxResults": 1}),
    ("ListUsers", {"Limit": 1, "Filter": f'username = "{NOBODY}"'}),
    ("AdminGetUser", {"Username": NOBODY}),
    ("AdminListGroupsForUser", {"Username": NOBODY}),
    ("DescribeUserPoolClient", {"ClientId": NOBODY}),
    ("DescribeIdentityProvider", {"ProviderName": NOBODY}),
    ("DescribeManagedLoginBrandingByClient", {"ClientId": NOBODY}),
    ("DescribeUserPoolDomain", {"Domain": NOBODY}),
    ("GetGroup", {"GroupName": NOBODY}),
    ("ListGroups", {"Limit": 1}),
    ("ListUsersInGroup", {"GroupName": NOBODY}),
)
"""Every operation of the policy that reads."""
_SIGNED_WRONGLY: Final = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"})
_UNKNOWN_KEY: Final = frozenset({"UnrecognizedClientException", "InvalidClientTokenId"})
_EXPIRED: Final = frozenset({"ExpiredTokenException", "ExpiredToken", "RequestExpired"})
_UNSIGNED: Final = frozenset(
    {"MissingAuthenticationTokenException", "MissingAuthenticationToken", "IncompleteSignature"}
)
_DENIED: Final = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})
_ABSENT: Final = frozenset({"ResourceNotFoundException", "UserNotFoundException"})


class CredentialsError(UnavailableError):
    """The credentials, or what they may do, are not what is needed."""


async def try_credentials(api: CognitoApi) -> str:
    """Every operation that reads, on names that nobody has. What was found; raises
    ``CredentialsError`` with what is wrong, ``UnavailableError`` where nobody answers.
    """
    denials = []
    plan = ""
    for operation, request in READS:
        try:
            answer = await api.call(operation, idempotent=True, **request)
            if "UserPool" in answer:
                plan = plan_of(answer["UserPool"])
        except NotSentError as error:
            raise CredentialsError(str(error)) from error
        except CognitoRejectedError as error:
            if error.code in _ABSENT and request:
                continue
            if error.code in _DENIED:
                denials.append(operation)
            elif error.code in THROTTLED:
                return "AWS takes the credentials, and throttles the calls now: ask again"
            else:
                raise CredentialsError(rejected(error.code, str(error))) from error
    if denials:
        raise CredentialsError(
            f"the credentials may not call {', '.join(f'cognito-idp:{name}' for name in denials)} "
            f"on this pool: attach {POLICY} to them"
        )
    return (
        f"the credentials read the pool ({len(READS)} operations were tried; those that write "
        f"were not){_of_plan(plan)}"
    )


def _of_plan(plan: str) -> str:
    return f"; feature plan: {features_sentence(plan)}" if plan else ""


def rejected(code: str, text: str) -> str:
    """Why AWS refused a call, by its code. ``text`` is only looked into."""
    if code in _SIGNED_WRONGLY and ("expired" in text or "not yet current" in text):
        return "AWS refuses the signature's time: this machine's clock is wrong (run NTP)"
    if code in _SIGNED_WRONGLY:
        return "the secret access key does not belong to the access key ID"
    if code in _UNKNOWN_KEY:
        return (
            "AWS does not know the access key: it is mistyped, deactivated, of another partition, "
            "or its session token is missing (AWS_SESSION_TOKEN)"
        )
    if code in _EXPIRED:
        return "the session token has expired: renew the credentials"
    if code in _UNSIGNED:
        return "the call was not signed: no credentials are configured for this process"
    if code in _DENIED:
        return f"the credentials may not call it: attach {POLICY} to them"
    if code in THROTTLED:
        return "AWS throttles the calls now"
    if code in _ABSENT:
        return (
            "this account has no such user pool in cognito.region: check cognito.user_pool_id, "
            "cognito.region, and whose credentials these are"
        )
    return f"AWS refuses it ({code[:60] if code.isalnum() else 'for an unknown reason'})"


__all__ = ["CredentialsError", "rejected", "try_credentials"]
