"""Alert rules against what a gateway that has just started exposes: ``promtool test rules`` with
its scrapes as the beginning, in which then one thing goes wrong.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RULES: Final = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
PROMTOOL: Final = shutil.which("promtool")
WELL_MINUTES: Final = 10
"""How long all is well."""
_SELECTOR = re.compile(r"\b(gateway_\w+|up)\b")


@dataclass(frozen=True, slots=True)
class Wrong:
    """From the eleventh minute on: the series with this name and these labels have ``becomes``
    (None: they are gone) or, of counters, are more ``by`` so many, once or each half minute.

    ``minutes``: after which the alert fires.
    """

    name: str
    labels: Mapping[str, str]
    becomes: float | None = None
    by: float = 0
    grows: bool = False
    above: float = 0
    """Of a histogram: only buckets whose bound is higher."""
    minutes: float = 3


def _first(name: str, **labels: str) -> Wrong:
    """The first one since the start."""
    return Wrong(name, labels, by=1)


_SAMPLES = 300
"""Of what is wrong, one each 30 seconds: longer than any alert waits."""


def _is(name: str, value: float, *, minutes: float = 3, **labels: str) -> Wrong:
    return Wrong(name, labels, becomes=value, minutes=minutes)


def _slow(name: str, above_s: float, **labels: str) -> Wrong:
    return Wrong(name, labels, by=100, grows=True, above=above_s, minutes=8)


STATES: Final = "gateway_store_primaries"
DELIVERIES: Final = "gateway_hook_deliveries_total"
WRONG: Final[Mapping[str, Sequence[Wrong]]] = {
    "GatewayDown": [_is("up", 0, instance="1")],
    "GatewayAuthRoleAbsent": [Wrong("gateway_build_info", {})],
    "GatewayAdminRoleAbsent": [Wrong("gateway_build_info", {"role": "all"})],
    "GatewayOpen": [_is("gateway_ingress_bypass_detected", 1, instance="1")],
    "GatewayCanaryBlind": [
        _first("gateway_canary_probes_total", result="unreachable"),
        _is("gateway_canary_probes_total", 0, result="guarded"),
    ],
    "GatewayStoreUnavailable": [
        Wrong(
            "gateway_checks_total",
            {"dialect": "nginx", "reason": "store_unavailable", "tenant": ""},
            by=1,
            minutes=2,
        )
    ],
    "GatewayStoreNoReplica": [_is(STATES, 1, state="no_replica")],
    "GatewayStoreNoSpareReplica": [_is(STATES, 1, state="no_spare", minutes=7)],
    "GatewayStoreNotRestored": [_is(STATES, 1, state="not_restored")],
    "GatewayStorePrimaryUnavailable": [_is(STATES, 1, state="unavailable")],
    "GatewayUntrustedIngress": [
        _first("gateway_checks_total", dialect="nginx", reason="untrusted_proxy", tenant="")
    ],
    "GatewayChecksSlow": [_slow("gateway_check_duration_seconds_bucket", 0.05, dialect="nginx")],
    "GatewayRevocationsSlow": [
        Wrong("gateway_revocation_duration_seconds_bucket", {"source": "okta"}, by=1, above=2)
    ],
    "GatewayTenantsDiffer": [_is("gateway_tenants", 1, instance="1")],
    "GatewayTenantsOutdated": [_is("gateway_tenant_config_errors", 1, source="files")],
    "GatewayClockWrong": [_is("gateway_clock_offset_seconds", -7, reference="redis")],
    "GatewayAuditExportBehind": [_is("gateway_audit_export_behind_seconds", 700)],
    "GatewayHooksUnavailable": [
        Wrong(DELIVERIES, {"source": "okta", "outcome": "unavailable"}, by=1, minutes=2)
    ],
    "GatewayHookEventsWait": [_is("gateway_hook_queue_oldest_age_seconds", 90, instance="0")],
    "GatewayHookEventsHeld": [_is("gateway_hook_held", 1, instance="0")],
    "GatewayHookEventsFailed": [
        _first("gateway_hook_events_total", source="entra", outcome="failed")
    ],
    "GatewayReconciliationLags": [
        _is("gateway_reconcile_last_success_timestamp_seconds", 0, minutes=30)
    ],
    "GatewayHookDeliveriesLost": [
        Wrong("gateway_reconcile_missed_events_total", {"source": "okta"}, by=25)
    ],
    "GatewayHookRefused": [Wrong(DELIVERIES, {"source": "scim", "outcome": "invalid_key"}, by=6)],
    "GatewayHookAcknowledgedLate": [
        _slow("gateway_hook_ack_duration_seconds_bucket", 1, source="entra")
    ],
    "GatewayCredentialExpires": [
        _is("gateway_credential_expires_timestamp_seconds", 0, tenant="acme")
    ],
    "GatewayConnectionFails": [_is("gateway_connection_failing", 1, tenant="acme")],
    "GatewayClientSecretUnreadable": [
        Wrong(
            "gateway_client_secret_reads_total",
            {"outcome": "refused"},
            by=1,
            grows=True,
            minutes=6,
        )
    ],
    "GatewayDeprovisioningIncomplete": [
        _is("gateway_deprovisioning_incomplete", 1, tenant="acme", minutes=130)
    ],
    "GatewayDomainLost": [_is("gateway_domains", 1, state="lost")],
    "GatewayWebhooksFailed": [_first("gateway_webhook_deliveries_total", outcome="failed")],
    "GatewayCannotAccept": [_first("gateway_accept_errors_total", listener="public")],
    "GatewaySlowClients": [
        Wrong(
            "gateway_connections_closed_total", {"listener": "check", "reason": "slow_head"}, by=101
        )
    ],
    "GatewayWorkerRestarts": [Wrong("gateway_worker_exits_total", {"worker": "worker-0"}, by=2)],
    "GatewayTaskFailures": [_first("gateway_task_failures_total", task="hook_inbox_fault")],
    "GatewayLogLinesLost": [_first("gateway_log_lines_dropped_total", instance="1")],
}
"""What each alert is for."""
LATER: Final[Mapping[str, float]] = {
    "gateway_tenant_config_errors": 0,
    "gateway_clock_offset_seconds": 0,
    "gateway_store_primaries": 0,
    "gateway_reconcile_last_success_timestamp_seconds": 0,
    # The minutes of the rules' tests are counted from the epoch.
    "gateway_credential_expires_timestamp_seconds": 30 * 86_400,
}
"""Gauges that are there once something was looked at. An alert reads their value, not their
increase.
"""
ELSEWHERE: Final = frozenset({"gateway_canary_probes_total", "gateway_worker_exits_total"})
"""Counters that only some configurations have from the start: ``test_canary``,
``test_supervisor``.
"""


def rules() -> list[dict[str, str]]:
    document = yaml.safe_load(RULES.read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


class Series:
    """Of several targets, by name and labels; ``instance`` is the number of the target."""

    def __init__(self, scrapes: Sequence[str]) -> None:
        read = {name for rule in rules() for name in _SELECTOR.findall(rule["expr"])}
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for number, scrape in enumerate(scrapes):
            own = {"instance": str(number), "job": "gateway"}
            self.values["up", frozenset(own.items())] = 1
            for family in text_string_to_metric_families(scrape):
                for sample in family.samples:
                    if sample.name in read:
                        labels = frozenset({**sample.labels, **own}.items())
                        self.values[sample.name, labels] = sample.value

    def matching(self, wrong: Wrong) -> list[tuple[str, frozenset[tuple[str, str]]]]:
        return [
            (name, labels)
            for name, labels in self.values
            if name == wrong.name
            and wrong.labels.items() <= labels
            and (not wrong.above or float(dict(labels).get("le", "inf")) > wrong.above)
        ]


def silent(series: Series) -> dict[str, Any]:
    """One test of promtool's: all is well."""
    return {
        "name": "well",
        "interval": "30s",
        "input_series": [
            {"series": _written(key), "values": f"{_number(value)}x{2 * WELL_MINUTES}"}
            for key, value in series.values.items()
        ],
        "promql_expr_test": [_expected('count(ALERTS{alertstate="firing"})', WELL_MINUTES, [])],
    }


def firing(series: Series, rule: Mapping[str, str], wrongs: Sequence[Wrong]) -> dict[str, Any]:
    """Another: its metrics are well for a while, and then not."""
    well = 2 * WELL_MINUTES
    read = _SELECTOR.findall(rule["expr"])
    rows = {
        key: f"{_number(value)}x{well + 100}"
        for key, value in series.values.items()
        if key[0] in read
    }
    for wrong in wrongs:
        found = series.matching(wrong)
        if not found and wrong.name in {*LATER, *ELSEWHERE}:
            key = wrong.name, frozenset(wrong.labels.items())
            series.values[key] = LATER.get(wrong.name, 0)
            found = [key]
        # What is not there from the start begins when it is counted for the first time.
        before = f"_x{well}" if not found else None
        for key in found or [(wrong.name, frozenset(wrong.labels.items()))]:
            value = series.values.get(key, 0.0)
            then = (
                "stale"
                if wrong.becomes is None and not wrong.by
                else f"{_number(value + wrong.by)}+{_number(wrong.by)}x{_SAMPLES}"
                if wrong.grows
                else f"{_number(value + wrong.by if wrong.by else wrong.becomes or 0)}x{_SAMPLES}"
            )
            rows[key] = f"{before or f'{_number(value)}x{well}'} {then}"
    expression = f'count(ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}})'
    fires = WELL_MINUTES + max(wrong.minutes for wrong in wrongs)
    return {
        "name": rule["alert"],
        "interval": "30s",
        "input_series": [
            {"series": _written(key), "values": values} for key, values in rows.items()
        ],
        "promql_expr_test": [
            _expected(expression, WELL_MINUTES, []),
            _expected(f"{expression} > bool 0", fires, [{"labels": "{}", "value": 1}]),
        ],
    }


def _expected(expression: str, minutes: float, samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {"expr": expression, "eval_time": f"{round(60 * minutes)}s", "exp_samples": samples}


def _number(value: float) -> str:
    return f"{value:.17g}"


def _written(key: tuple[str, frozenset[tuple[str, str]]]) -> str:
    name, labels = key
    return f"{name}{{{','.join(f'{label}={json.dumps(v)}' for label, v in sorted(labels))}}}"


def promtool(*arguments: str, stdin: str = "") -> str:
    """What it says where it is not content; else nothing."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def problems(scrapes: Sequence[str], folder: Path) -> str:
    """Of all alerts with their first failure."""
    tests = folder / "alerts_test.yml"
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [
            silent(Series(scrapes)),
            *(firing(Series(scrapes), rule, WRONG[rule["alert"]]) for rule in rules()),
        ],
    }
    tests.write_text(json.dumps(document), "utf-8")  # JSON is YAML
    return promtool("test", "rules", str(tests))
