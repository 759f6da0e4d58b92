"""Every Prometheus object, in one place. Names and labels are promises; see
docs/operator/metrics.md.

With workers, ``PROMETHEUS_MULTIPROC_DIR`` is set before this module is imported and one scrape
shows the sum.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

MAX_TENANT_LABELS = 200
"""Tenants beyond this share the label ``other``: a time series for each of ten thousand would sink
Prometheus.
"""
MAX_PROVIDER_LABELS = 2 * MAX_TENANT_LABELS
"""Providers beyond this share the label ``other`` too: a tenant may have many, and name them
anew.
"""
OTHER = "other"

REGISTRY = CollectorRegistry()

CHECKS = Counter(
    "gateway_checks",
    "Checks answered.",
    ["tenant", "dialect", "decision", "reason"],
    registry=REGISTRY,
)
CHECK_SECONDS = Histogram(
    "gateway_check_seconds",
    "Time of one check.",
    ["dialect"],
    registry=REGISTRY,
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 3),
)
RULES_NEXT = Counter(
    "gateway_rules_next",
    "Checks that the tenant's next rules would have answered otherwise.",
    ["tenant", "decision", "would_decide"],
    registry=REGISTRY,
)
LOGINS = Counter(
    "gateway_logins",
    "Logins that came back from Cognito.",
    ["tenant", "provider", "outcome"],
    registry=REGISTRY,
)
REVOCATIONS = Counter(
    "gateway_revocations", "Revocations.", ["tenant", "source", "kind"], registry=REGISTRY
)
REVOCATION_SECONDS = Histogram(
    "gateway_revocation_seconds",
    "Event received until the last replica confirmed.",
    ["source"],
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 2.5, 5, 10, 30),
)
SESSION_CACHE = Counter(
    "gateway_session_cache",
    "Look-ups in the in-process session cache.",
    ["result"],
    registry=REGISTRY,
)
STORE_SECONDS = Histogram(
    "gateway_store_seconds",
    "Round trips to a store.",
    ["store", "command"],
    registry=REGISTRY,
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 3),
)
STORE_PRIMARIES = Gauge(
    "gateway_store_primaries",
    "Primaries of Redis by what they can do.",
    ["state"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
HOOK_EVENTS = Counter(
    "gateway_hook_events",
    "Events of hooks, by what became of them.",
    ["source", "outcome"],
    registry=REGISTRY,
)
HOOK_ACK_SECONDS = Histogram(
    "gateway_hook_ack_seconds",
    "Delivery received until acknowledged; senders give up after 3 s.",
    ["source"],
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 2.5, 3),
)
HOOK_BACKLOG = Gauge(
    "gateway_hook_backlog",
    "Events stored and not yet applied.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
HOOK_HELD = Gauge(
    "gateway_hook_held",
    "Removals of many people at once that wait for an operator.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
HOOK_LAG_SECONDS = Gauge(
    "gateway_hook_lag_seconds",
    "Age of the oldest event not yet applied.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
RECONCILE_LAG_SECONDS = Gauge(
    "gateway_reconcile_lag_seconds",
    "Since a provider's directory or log was last read to its end.",
    ["tenant", "provider"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
RECONCILE_FINDINGS = Counter(
    "gateway_reconcile_findings",
    "Events that no hook had delivered.",
    ["source"],
    registry=REGISTRY,
)
RECONCILE_SKIPPED = Counter(
    "gateway_reconcile_skipped",
    "Entries of directories that could not be read.",
    ["source"],
    registry=REGISTRY,
)
WEBHOOKS = Counter("gateway_webhooks", "Messages to tenants' apps.", ["outcome"], registry=REGISTRY)
HOOK_DELIVERIES = Counter(
    "gateway_hook_deliveries",
    "Deliveries of identity-provider hooks.",
    ["source", "outcome"],
    registry=REGISTRY,
)
PROVISION = Counter("gateway_provision", "Provisioning runs.", ["outcome"], registry=REGISTRY)
TENANTS = Gauge(
    "gateway_tenants", "Tenants being served.", registry=REGISTRY, multiprocess_mode="livemax"
)
TENANT_PROBLEMS = Gauge(
    "gateway_tenant_problems",
    "What keeps the newest tenants from being served.",
    ["source"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
REVOCATION_STREAMS = Gauge(
    "gateway_revocation_streams",
    "Open streams of revocations at the admin API.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
CLOCK_OFFSET_SECONDS = Gauge(
    "gateway_clock_offset_seconds",
    "This machine's wall clock less that of what it shares with other machines.",
    ["reference"],
    registry=REGISTRY,
    multiprocess_mode="livemostrecent",
)
CANARY_PROBES = Counter(
    "gateway_canary_probes",
    "Requests without a session that the canary sent through the ingress.",
    ["result"],
    registry=REGISTRY,
)
CANARY_OPEN = Gauge(
    "gateway_canary_open",
    "1 while the last answer to the canary let it in.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
CONNECTIONS = Gauge(
    "gateway_connections",
    "Open connections of a listener.",
    ["listener"],
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
CONNECTIONS_CLOSED = Counter(
    "gateway_connections_closed",
    (
        "Connections that were cut off: slow_head, slow_body, unread (an answer that was not "
        "taken), idle (to make room)."
    ),
    ["listener", "reason"],
    registry=REGISTRY,
)
ACCEPT_ERRORS = Counter(
    "gateway_accept_errors",
    "Connections that could not be accepted, for want of descriptors or memory.",
    ["listener"],
    registry=REGISTRY,
)
TASK_FAILURES = Counter(
    "gateway_task_failures",
    "Work in the background that an unexpected error ended, and that was begun again.",
    ["task"],
    registry=REGISTRY,
)
WORKER_EXITS = Counter(
    "gateway_worker_exits",
    "Workers that ended by themselves and are started again.",
    ["worker"],
    registry=REGISTRY,
)
LOG_LINES_DROPPED = Counter(
    "gateway_log_lines_dropped",
    "Lines of the log that were lost: its reader is stuck or gone, or the disk is full.",
    registry=REGISTRY,
)

_tenant_labels: set[str] = set()
_provider_labels: set[tuple[str, str]] = set()


def tenant_label(tenant: str) -> str:
    """The tenant's own label for the first ``MAX_TENANT_LABELS`` seen by this process, then
    ``other``.
    """
    if tenant in _tenant_labels:
        return tenant
    if len(_tenant_labels) < MAX_TENANT_LABELS:
        _tenant_labels.add(tenant)
        return tenant
    return OTHER


def provider_labels(tenant: str, provider: str) -> tuple[str, str]:
    """Labels ``tenant`` and ``provider``: those of the first ``MAX_PROVIDER_LABELS`` pairs of
    tenants that have a label of their own, then ``other``.
    """
    label = tenant_label(tenant)
    pair = (label, provider)
    if label == OTHER:
        return OTHER, OTHER
    if pair not in _provider_labels:
        if len(_provider_labels) >= MAX_PROVIDER_LABELS:
            return label, OTHER
        _provider_labels.add(pair)
    return pair


def source_label(source: str) -> str:
    """The kind of source: one that names a record of its own (``scim:RECORD``) counts among its
    like.
    """
    return source.partition(":")[0]


def scrape() -> tuple[bytes, str]:
    """Body and content type of ``/metrics``."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library leaves its constructor untyped
        return generate_latest(registry), CONTENT_TYPE_LATEST
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


def worker_died(pid: int) -> None:
    """Drop the gauges of a worker that is gone."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library leaves it untyped
