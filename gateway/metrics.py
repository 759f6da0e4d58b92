"""Every Prometheus object, in one place. Names and labels are promises; see
docs/operator/metrics.md.

With workers, ``PROMETHEUS_MULTIPROC_DIR`` is set before this module is imported and one scrape
shows the sum.
"""

from __future__ import annotations

import os
import platform
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakSet

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import InfoMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.exemplars import ExemplarFiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client import Metric
    from prometheus_client.metrics import MetricWrapperBase

MAX_TENANT_LABELS = 200
"""Tenants beyond this share the label ``other``: a time series for each of ten thousand would sink
Prometheus.
"""
MAX_PROVIDER_LABELS = 2 * MAX_TENANT_LABELS
"""Providers beyond this share the label ``other`` too: a tenant may have many, and name them
anew.
"""
OTHER = "other"
OPENMETRICS: Final = "application/openmetrics-text"

CHECK_BOUNDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 3.0)
"""Seconds of the buckets of ``gateway_check_duration_seconds``."""

REGISTRY = CollectorRegistry()

CHECKS = Counter(
    "gateway_checks",
    "Checks answered.",
    ["tenant", "dialect", "decision", "reason"],
    registry=REGISTRY,
)
CHECK_DURATION = Histogram(
    "gateway_check_duration_seconds",
    "Time of one check.",
    ["dialect"],
    registry=REGISTRY,
    buckets=CHECK_BOUNDS,
)
SHADOW_RULE_MISMATCHES = Counter(
    "gateway_shadow_rule_mismatches",
    "Checks that the tenant's shadow rules would have answered otherwise.",
    ["tenant", "decision", "would_decide"],
    registry=REGISTRY,
)
LOGINS = Counter(
    "gateway_logins",
    "Logins that came back from Cognito.",
    ["tenant", "provider", "outcome"],
    registry=REGISTRY,
)
SECRET_EXPIRY_UNREADABLE = Counter(
    "gateway_secret_expiry_unreadable",
    "Client secrets whose end Microsoft Graph did not tell, so that the document's date counts.",
    ["tenant"],
    registry=REGISTRY,
)
CLIENT_SECRET_READS = Counter(
    "gateway_client_secret_reads",
    "Secrets of app clients that were read in AWS Secrets Manager.",
    ["outcome"],
    registry=REGISTRY,
)
POOL_PASSWORD_LOGINS = Counter(
    "gateway_pool_password_logins",
    "Names and passwords about which Cognito was to be asked (basic: cognito).",
    ["tenant", "outcome"],
    registry=REGISTRY,
)
LOGIN_DURATION = Histogram(
    "gateway_login_duration_seconds",
    "Return from Cognito until the session is stored, of logins that succeed.",
    registry=REGISTRY,
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REVOCATIONS = Counter(
    "gateway_revocations", "Revocations.", ["tenant", "source", "kind"], registry=REGISTRY
)
REVOCATION_DURATION = Histogram(
    "gateway_revocation_duration_seconds",
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
STORE_REQUEST_DURATION = Histogram(
    "gateway_store_request_duration_seconds",
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
HOOK_ACK_DURATION = Histogram(
    "gateway_hook_ack_duration_seconds",
    "Delivery received until acknowledged; senders give up after 3 s.",
    ["source"],
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 2.5, 3),
)
HOOK_QUEUE_DEPTH = Gauge(
    "gateway_hook_queue_depth",
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
HOOK_QUEUE_OLDEST_AGE = Gauge(
    "gateway_hook_queue_oldest_age_seconds",
    "Age of the oldest event not yet applied.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
RECONCILE_LAST_SUCCESS = Gauge(
    "gateway_reconcile_last_success_timestamp_seconds",
    "When a provider's directory or log was last read to its end.",
    ["tenant", "provider"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
DEPROVISIONING_INCOMPLETE = Gauge(
    "gateway_deprovisioning_incomplete",
    "1 while not every removal at a provider is told, although somebody set that up.",
    ["tenant", "provider"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
RECONCILE_MISSED_EVENTS = Counter(
    "gateway_reconcile_missed_events",
    "Events that no hook had delivered, found by reconciliation.",
    ["source"],
    registry=REGISTRY,
)
RECONCILE_SKIPPED = Counter(
    "gateway_reconcile_skipped",
    "Entries of directories that could not be read.",
    ["source"],
    registry=REGISTRY,
)
SIGN_INS_RECORDED = Counter(
    "gateway_sign_ins_recorded",
    "Logins that the admin role took from Redis.",
    ["outcome"],
    registry=REGISTRY,
)
AUDIT_EXPORTED = Counter(
    "gateway_audit_exported", "Audit records sent to audit.export.", registry=REGISTRY
)
AUDIT_EXPORT_BEHIND = Gauge(
    "gateway_audit_export_behind_seconds",
    "Age of the oldest audit record that has not been sent to audit.export.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
CREDENTIAL_EXPIRES = Gauge(
    "gateway_credential_expires_timestamp_seconds",
    "When a secret or certificate of a connection to an identity provider ends.",
    ["tenant", "provider", "credential"],
    registry=REGISTRY,
    multiprocess_mode="livemin",
)
CONNECTION_FAILING = Gauge(
    "gateway_connection_failing",
    "1 while a provider's metadata or discovery document cannot be used.",
    ["tenant", "provider"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
MAIL_MESSAGES = Counter(
    "gateway_mail_messages", "E-mails sent.", ["template", "outcome"], registry=REGISTRY
)
DOMAIN_CHECKS = Counter(
    "gateway_domain_checks", "Look-ups of domains' DNS records.", ["outcome"], registry=REGISTRY
)
COGNITO_CALLS = Counter(
    "gateway_cognito_calls",
    "Calls of Cognito's API, each attempt by itself.",
    ["pool", "outcome"],
    registry=REGISTRY,
)
DOMAINS = Gauge(
    "gateway_domains",
    "E-mail domains that tenants have claimed, by state.",
    ["state"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
WEBHOOK_DELIVERIES = Counter(
    "gateway_webhook_deliveries", "Messages to tenants' apps.", ["outcome"], registry=REGISTRY
)
HOOK_DELIVERIES = Counter(
    "gateway_hook_deliveries",
    "Deliveries of identity-provider hooks.",
    ["source", "outcome"],
    registry=REGISTRY,
)
POOL_FAILED_OVER = Gauge(
    "gateway_pool_failed_over",
    "1 while logins of a user pool go to its secondary region.",
    ["pool"],
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
PROVISIONING_RUNS = Counter(
    "gateway_provisioning_runs", "Provisioning runs.", ["outcome"], registry=REGISTRY
)
TENANTS = Gauge(
    "gateway_tenants", "Tenants being served.", registry=REGISTRY, multiprocess_mode="livemax"
)
TENANT_CONFIG_ERRORS = Gauge(
    "gateway_tenant_config_errors",
    "Errors that keep the newest tenant configuration from being served.",
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
INGRESS_BYPASS_DETECTED = Gauge(
    "gateway_ingress_bypass_detected",
    "1 while the last unauthenticated request of the canary succeeded.",
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
CONNECTIONS_OPENED = Counter(
    "gateway_connections_opened",
    "Connections that a listener accepted.",
    ["listener"],
    registry=REGISTRY,
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
TRACE_SPANS_DROPPED = Counter(
    "gateway_trace_spans_dropped",
    (
        "Spans that no collector has: queue_full, export_failed (it was down, slow or refused "
        "them), stopped (at the end of a process)."
    ),
    ["reason"],
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


FAULTS: Final = (
    "audit_export_fault",
    "audit_reads_fault",
    "block_does_not_open",
    "by_hand_fault",
    "cognito_sync_does_not_open",
    "cognito_sync_fault",
    "connection_fault",
    "connections_fault",
    "deprovisioning_fault",
    "disabled_user_does_not_open",
    "domain_fault",
    "domains_fault",
    "group_names_do_not_open",
    "hook_event_fault",
    "hook_inbox_fault",
    "hook_retention_fault",
    "hook_row_does_not_open",
    "hook_stats_fault",
    "hook_worker_crashed",
    "mail_fault",
    "mail_outbox_fault",
    "reconcile_fault",
    "revocation_feed_does_not_open",
    "revocation_not_carried_on",
    "setup_trials_fault",
    "sign_in_not_recorded",
    "sign_ins_fault",
    "snapshot_fault",
    "tenant_not_ended",
    "tenants_fault",
    "tenants_not_confirmed",
    "webhook_fault",
    "webhook_outbox_fault",
)
"""Values of ``task`` that are log events; work that ``background.forever`` repeats has its name
there.
"""


def begin_at_zero(metric: MetricWrapperBase, *values: Iterable[str]) -> None:
    """For each combination of ``values``, one for each label: the series is there before anything
    is counted. Prometheus takes the first value that it sees for what was always so: an alert on
    the increase would miss the first event.
    """
    for labels in product(*values):
        metric.labels(*labels)


begin_at_zero(TASK_FAILURES, FAULTS)


class BuildInfo(Collector):
    """``gateway_build_info``: one series, always 1."""

    def __init__(self) -> None:
        self.role = ""
        """What ``gateway serve`` was told to be, all its processes together."""

    def collect(self) -> Iterable[Metric]:
        build = {"version": __version__, "python": platform.python_version(), "role": self.role}
        yield InfoMetricFamily(
            "gateway_build", "Version of the gateway and of Python, and its role.", value=build
        )


class Processes(Collector):
    """``process_*`` of all processes of this gateway as if they were one: times and memory are the
    sum, descriptors those of the process that has most open, the start is the supervisor's.

    ``main``: the only process, or the supervisor. ``folder``: where each worker has its counters;
    None without workers.
    """

    def __init__(self, main: int, folder: Path | None, *, proc: Path = Path("/proc")) -> None:
        self._main = main
        self._folder = folder
        self._proc = proc
        self._cpu_s = 0.0

    def collect(self) -> Iterator[Metric]:
        # Before the workers are looked at: what one has used moves here when it is reaped.
        reaped_s = self._reaped_s() if self._folder is not None else 0.0
        totals: dict[str, Metric] = {}
        for pid in (self._main, *self._workers()):
            for metric in ProcessCollector(
                pid=partial(int, pid), proc=str(self._proc), registry=None
            ).collect():
                total = totals.setdefault(metric.name, metric)
                if total is not metric:
                    _merge(total, metric)
        if (cpu := totals.get("process_cpu_seconds")) is not None:
            # A worker that is reaped between the two looks would be missing: Prometheus takes a
            # counter that falls for one that began anew.
            self._cpu_s = max(self._cpu_s, cpu.samples[0].value + reaped_s)
            cpu.samples[0] = cpu.samples[0]._replace(value=self._cpu_s)
        yield from totals.values()

    def _workers(self) -> Iterator[int]:
        """Those that live. A file stays when its process has ended, and its number may be another's
        by now.
        """
        if self._folder is None:
            return
        numbers = {path.stem.rpartition("_")[2] for path in self._folder.glob("*.db")}
        for pid in sorted({int(number) for number in numbers if number.isdecimal()} - {self._main}):
            stat = self._stat(pid)
            if stat and int(stat[1]) == self._main:
                yield pid

    def _reaped_s(self) -> float:
        """What workers that have ended had used."""
        stat = self._stat(self._main)
        return sum(map(int, stat[13:15])) / os.sysconf("SC_CLK_TCK") if stat else 0.0

    def _stat(self, pid: int) -> list[bytes]:
        """Of proc(5), from the state on; empty for a process that is gone."""
        try:
            return (self._proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return []


_HIGHEST: Final = frozenset({"process_open_fds", "process_max_fds"})
_FIRST: Final = "process_start_time_seconds"


def _merge(total: Metric, metric: Metric) -> None:
    ours, other = total.samples[0], metric.samples[0].value
    if total.name in _HIGHEST:
        value = max(ours.value, other)
    else:
        value = ours.value if total.name == _FIRST else ours.value + other
    total.samples[0] = ours._replace(value=value)


_FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
_EXEMPLARS: Final = ExemplarFiles(Path(_FOLDER)) if _FOLDER else None
# Workers are forked after this module is imported, so this is the supervisor's number in them too.
BUILD: Final = BuildInfo()
_OF_ALL: Final = (BUILD, Processes(os.getpid(), Path(_FOLDER) if _FOLDER else None))


class HandsOver(Protocol):
    """Counts by itself, and tells the counters here when it is asked."""

    def hand_over(self) -> None: ...


HANDED_OVER: WeakSet[HandsOver] = WeakSet()
"""Asked before each scrape of this process."""

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


def observe_all(child: Any, buckets: Sequence[int], total: float) -> None:
    """Many observations of a histogram at once: how many fell into each bucket (its bounds, then
    above), and their sum. The library has no function for it; ``tests/test_metrics.py`` compares.
    """
    for bucket, number in zip(child._buckets, buckets, strict=True):  # noqa: SLF001 - see above
        if number:
            bucket.inc(number)
    child._sum.inc(total)  # noqa: SLF001


def observe(child: Histogram, value: float, exemplar: dict[str, str] | None) -> None:
    """An observation of a histogram with the trace that it is of, in any number of processes."""
    child.observe(value, exemplar)
    if exemplar is not None and _EXEMPLARS is not None:
        _EXEMPLARS.keep(child, value, exemplar)


class _AllProcesses(MultiProcessCollector):
    """With the exemplars that the library leaves out."""

    def __init__(self, registry: CollectorRegistry, exemplars: ExemplarFiles) -> None:
        super().__init__(registry)  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self._exemplars = exemplars

    def collect(self) -> Iterator[Metric]:
        newest = self._exemplars.newest()
        names = {name for name, _ in newest}
        for metric in super().collect():  # type: ignore[no-untyped-call]  # as above
            if f"{metric.name}_bucket" in names:
                metric.samples = [
                    sample._replace(
                        exemplar=newest.get((sample.name, frozenset(sample.labels.items())))
                    )
                    for sample in metric.samples
                ]
            yield metric


def scrape(accept: str = "") -> tuple[bytes, str]:
    """Body and content type of ``/metrics``; with exemplars for who accepts OpenMetrics."""
    registry = CollectorRegistry()
    for counts in tuple(HANDED_OVER):
        counts.hand_over()
    if _EXEMPLARS is not None:
        _AllProcesses(registry, _EXEMPLARS)
    else:
        registry.register(REGISTRY)
    for collector in _OF_ALL:
        registry.register(collector)
    if OPENMETRICS in accept:
        body = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # the library leaves it untyped
        return body, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_LATEST


def worker_died(pid: int) -> None:
    """Drop the gauges of a worker that is gone."""
    if _EXEMPLARS is not None:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library leaves it untyped
        _EXEMPLARS.forget(pid)
