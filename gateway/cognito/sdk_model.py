"""Operations of Cognito that the AWS library of this release does not know yet.

The library's loader merges ``service-2.sdk-extras.json`` of every folder that it searches into its
model. A release that knows them has the same names, so that merging changes nothing. Names and
shapes are those of botocore 1.44.8.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Any

FOLDER: Final = Path(__file__).parent / "sdk_extras"


def with_new_operations(session: Any) -> Any:
    """A session of botocore, or of aiobotocore."""
    paths = session.get_component("data_loader").search_paths
    if str(FOLDER) not in paths:
        paths.append(str(FOLDER))
    return session


def open_session(region: str) -> Any:
    """Of aioboto3."""
    import aioboto3  # noqa: PLC0415 - the admin role only
    from aiobotocore.session import (  # type: ignore[import-untyped]  # noqa: PLC0415 - as above
        get_session,  # it has no types
    )

    return aioboto3.Session(region_name=region, botocore_session=with_new_operations(get_session()))
