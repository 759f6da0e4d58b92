"""What the documentation and the alert rules promise about hooks is what the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Counter, Gauge, Histogram

from gateway import metrics
from gateway.core.model import Secret
from gateway.hooks.sources import okta
from gateway.hooks.webhooks import outbox
from tests.hooks.test_webhooks import SECRET

ROOT = Path(__file__).parents[2]


def test_the_event_list_to_tick_is_the_one_that_is_understood() -> None:
    text = (ROOT / "docs/operator/okta.md").read_text("utf-8")
    section = text[text.index("| tick |") : text.index("Okta then verifies")]
    assert set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", section)) == set(okta.EFFECTS)


def test_every_metric_in_the_alert_rules_exists() -> None:
    rules: Any = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8"))
    known = {m._name for m in vars(metrics).values() if isinstance(m, Counter | Gauge | Histogram)}
    named = {
        n
        for group in rules["groups"]
        for rule in group["rules"]
        for n in re.findall(r"gateway_\w+", rule["expr"])
    }
    assert {n.removesuffix("_total").removesuffix("_bucket") for n in named} <= {
        *known,
        "gateway_build_info",
    }
    assert all(
        {"alert", "expr", "labels", "annotations"} <= rule.keys()
        for group in rules["groups"]
        for rule in group["rules"]
    )


def test_the_python_of_the_webhook_page_verifies_what_is_sent() -> None:
    text = (ROOT / "docs/user/webhooks.md").read_text("utf-8")
    code = text[
        text.index("```python") + len("```python") : text.index("```", text.index("```python") + 3)
    ]
    import base64
    import hmac
    import time

    namespace: dict[str, Any] = {"base64": base64, "hmac": hmac, "time": time}
    exec(code, namespace)
    now = int(time.time())
    for secret in (SECRET, "plain"):
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(now),
            "webhook-signature": outbox.signature(
                (Secret("other"), Secret(secret)), message_id="msg_1", timestamp=now, body="{}"
            ),
        }
        assert namespace["genuine"](headers, b"{}", secret)
        assert not namespace["genuine"](headers, b"{ }", secret)
        assert not namespace["genuine"](headers, b"{}", "wrong")
        assert not namespace["genuine"](
            {**headers, "webhook-timestamp": str(now - 301)}, b"{}", secret
        )
