"""The text of a message to an app: the message itself, or a CloudEvents 1.0 envelope around it, in
structured mode. Either is signed as it is.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.hook_target import WebhookTarget

CLOUD_EVENTS: Final = "application/cloudevents+json; charset=utf-8"
_BEGINS: Final = '{"specversion":'


def body_of(message: Mapping[str, Any], target: WebhookTarget, *, message_id: str) -> str:
    """What is sent each time, whatever becomes of the target later."""
    document = cloud_event(message, message_id) if target.cloud_events else message
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def cloud_event(message: Mapping[str, Any], message_id: str) -> dict[str, Any]:
    """``source`` and ``id`` together name a message, over repetitions."""
    return {
        "specversion": "1.0",
        "id": message_id,
        "source": f"/tenants/{message['data']['tenant']}",
        "type": message["type"],
        "time": message["timestamp"],
        "datacontenttype": "application/json",
        "data": message["data"],
    }


def content_type(body: str) -> str:
    """Of a body that ``body_of`` made."""
    return CLOUD_EVENTS if body.startswith(_BEGINS) else "application/json"
