"""The key ring's data key, opened and made by AWS KMS.

By botocore without a loop: the ring is read before one runs, and again in a thread. Endpoint,
credentials and proxies are those of the AWS SDK (``AWS_ENDPOINT_URL_KMS``).
Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.config.model import Kms
from gateway.errors import ConfigError, UnavailableError
from gateway.keys import envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Config
    from gateway.keys.envelope import Wrapping

PURPOSE: Final = {"purpose": "cognito-gateway key ring"}
"""In the encryption context of every ring, for a condition in the key's policy."""
CONNECT_S, READ_S, ATTEMPTS = 3.0, 5.0, 4
"""A start waits at most for all attempts, some 35 seconds."""
_LATER: Final = frozenset(
    {
        "DependencyTimeoutException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "LimitExceededException",
        "RequestTimeout",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
    }
)
_WRONG: Final = {
    "AccessDeniedException": (
        "this process may not: allow kms:Decrypt (and kms:GenerateDataKey where keys are rotated) "
        "with this encryption context"
    ),
    "ExpiredTokenException": "the credentials have expired: give this process new ones",
    "DisabledException": "the key is disabled: enable it in KMS",
    "IncorrectKeyException": "the data key was encrypted with another key of KMS",
    "InvalidCiphertextException": (
        "the data key does not open for this encryption context: the file was changed, or is "
        "another deployment's"
    ),
    "InvalidKeyUsageException": "the key must be symmetric, for ENCRYPT_DECRYPT",
    "KMSInvalidStateException": "the key is pending deletion or import: cancel that in KMS",
    "NotFoundException": "there is no such key in this account and region",
}


def key_wrapping(config: Config) -> Wrapping | None:
    """What encrypts the file of the key ring, or None where it lies in clear."""
    settings = config.key_ring.kms if config.key_ring is not None else None
    return (
        None if settings is None else KmsWrapping(settings.key_id, {**settings.context, **PURPOSE})
    )


@dataclass(frozen=True, slots=True)
class KmsWrapping:
    """``key_id``: the ARN of the key, which names its region."""

    key_id: str
    context: Mapping[str, str]

    def seal(self, text: str) -> str:
        answer = self._call("generate_data_key", NumberOfBytes=envelope.DATA_KEY_BYTES)
        return envelope.seal(
            text,
            data_key=answer["Plaintext"],
            encrypted=answer["CiphertextBlob"],
            key_id=self.key_id,
            context=self.context,
        ).dump()

    def open(self, text: str, *, source: str) -> str:
        if not envelope.is_envelope(text):
            msg = (
                f"{source}: is not encrypted, and key_ring.kms says that it is: put the encrypted "
                "file back from its backup, since whoever may write the file may have put this one "
                "there. Only if it was never encrypted: gateway keys wrap"
            )
            raise ConfigError(msg)
        document = envelope.parse(text, source=source)
        if (document.key_id, dict(document.context)) != (self.key_id, dict(self.context)):
            msg = (
                f"{source}: was encrypted with {document.key_id} for {dict(document.context)}, and "
                f"key_ring.kms names {self.key_id} for {dict(self.context)}: put the right file "
                "there. Only if you changed key_ring.kms: gateway keys wrap"
            )
            raise ConfigError(msg)
        answer = self._call("decrypt", CiphertextBlob=document.data_key)
        return envelope.open_sealed(document, answer["Plaintext"], source=source)

    def _call(self, operation: str, **request: Any) -> Any:
        try:
            from botocore.config import Config as BotoConfig  # noqa: PLC0415 - for such a ring only
            from botocore.exceptions import (  # noqa: PLC0415
                BotoCoreError,
                ClientError,
                CredentialRetrievalError,
                HTTPClientError,
                MetadataRetrievalError,
            )
            from botocore.exceptions import ConnectionError as NotReached  # noqa: PLC0415
            from botocore.session import get_session  # noqa: PLC0415
        except ImportError as error:
            msg = (
                "key_ring.kms: AWS needs its library: install the release's wheel with the extra "
                "[aws], or use the image of every role"
            )
            raise ConfigError(msg) from error
        where = f"key_ring.kms: {operation} with {self.key_id}"
        try:
            client = get_session().create_client(
                "kms",
                region_name=self.key_id.split(":")[3],
                config=BotoConfig(
                    connect_timeout=CONNECT_S,
                    read_timeout=READ_S,
                    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                ),
            )
            with contextlib.closing(client):
                return getattr(client, operation)(
                    KeyId=self.key_id, EncryptionContext=dict(self.context), **request
                )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _LATER or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                msg = f"{where}: KMS does not answer now ({code})"
                raise UnavailableError(msg) from error
            msg = f"{where}: {_WRONG.get(code, 'KMS refused')} ({code})"
            raise ConfigError(msg) from error
        except (HTTPClientError, NotReached) as error:
            msg = f"{where}: KMS is not reached ({type(error).__name__})"
            raise UnavailableError(msg) from error
        except (CredentialRetrievalError, MetadataRetrievalError) as error:
            msg = f"{where}: no credentials now ({type(error).__name__})"
            raise UnavailableError(msg) from error
        except ValueError as error:
            msg = f"{where}: AWS_ENDPOINT_URL_KMS (or endpoint_url of a profile) is no address"
            raise ConfigError(msg) from error
        except BotoCoreError as error:
            msg = f"{where}: {type(error).__name__}"
            raise ConfigError(msg) from error


class AsItSays:
    """Reads whatever file: one in clear, and an encrypted one by the key and the context that it
    names itself. For whoever decides to encrypt it anew, and for nobody that serves with it.
    """

    def open(self, text: str, *, source: str) -> str:
        if not envelope.is_envelope(text):
            return text
        document = envelope.parse(text, source=source)
        try:
            Kms(key_id=document.key_id)
        except ValueError as error:
            msg = f"{source}: names no key of AWS KMS"
            raise ConfigError(msg) from error
        return KmsWrapping(document.key_id, document.context).open(text, source=source)
