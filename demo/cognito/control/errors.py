"""Refusals of the API, in AWS's names."""

from __future__ import annotations

COMMON_ERRORS = frozenset(
    {
        "AccessDeniedException",
        "InternalFailure",
        "MissingAuthenticationToken",
        "NotAuthorized",
        "SerializationException",
        "ServiceUnavailable",
        "ThrottlingException",
        "UnknownOperationException",
        "ValidationError",
    }
)
"""What any operation may answer beside the errors of its own in the service model (API reference,
Common Errors).
"""


class ApiError(Exception):
    """An AWS error: ``code`` is the exception's name in the service model, ``status`` 400 unless
    AWS is at fault.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)


def not_found(message: str) -> ApiError:
    return ApiError("ResourceNotFoundException", message)


def limit_exceeded(message: str) -> ApiError:
    return ApiError("LimitExceededException", message)


def throttled() -> ApiError:
    return ApiError("TooManyRequestsException", "Rate exceeded")


def internal() -> ApiError:
    return ApiError("InternalErrorException", "Something went wrong", status=500)
