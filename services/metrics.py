"""What is counted while the service runs: is it healthy, what is stuck, what does it cost.

Labels have few values, all known beforehand: no job, agent, person or address ever is one.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from db.records import ExecutionOutcome, LiveExecutions
    from services.ports import AgentTroubleKind, Reply, ValidatorTroubleKind

# A call of an agent may take 15 minutes, one of a validator two.
_CALL_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_EXECUTION_SECONDS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300)
_LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

M = TypeVar("M", Counter, Histogram)


class _Answers(Collector):
    """A histogram of all requests. The library's own takes two locks for each, and longer than finding out who asks."""

    def __init__(self) -> None:
        # By route and hundreds of the status: how many there were up to each bound, and beyond; in the end their sum.
        self._counts: dict[tuple[str, int], list[float]] = {}

    def observe(self, what: tuple[str, int], seconds: float) -> None:
        """Count one, in the thread of the event loop."""
        counts = self._counts.get(what)
        if counts is None:
            counts = self._counts[what] = [0.0] * (len(_REQUEST_SECONDS) + 2)
        counts[bisect_left(_REQUEST_SECONDS, seconds)] += 1
        counts[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """Tell, in the same thread."""
        family = HistogramMetricFamily(
            "signoff_http_request_seconds",
            "Requests over HTTP until the last byte of their answers, streams left out.",
            labels=["route", "status"],
        )
        bounds = [*(str(float(bound)) for bound in _REQUEST_SECONDS), "+Inf"]
        for (route, hundreds), (*counts, total) in self._counts.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric([route, f"{hundreds}xx"], buckets, total)
        yield family


class _Labelled(Generic[M]):
    """A metric with labels that keeps what it has for each: the library checks and joins them anew each time."""

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._known: dict[tuple[str, ...], M] = {}

    def __call__(self, *labels: str) -> M:
        """The metric with these labels."""
        known = self._known.get(labels)
        if known is None:
            known = self._known[labels] = self._metric.labels(*labels)
        return known


class Metrics:
    """The instruments of one process, on a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        # What ends.
        self._finished = _Labelled(
            Counter(
                "signoff_executions_finished", "Executions that ended here, by outcome.", ["outcome"], registry=registry
            )
        )
        self._execution_seconds = Histogram(
            "signoff_execution_seconds",
            "From Execute to the end of an execution.",
            buckets=_EXECUTION_SECONDS,
            registry=registry,
        )
        # What is live, in the whole database: each process tells the same.
        self._live = Gauge(
            "signoff_executions", "Live executions in the database.", ["runner", "state"], registry=registry
        )
        self._oldest = Gauge(
            "signoff_oldest_execution_seconds",
            "Since when the oldest live execution waits for its end.",
            ["runner", "state"],
            registry=registry,
        )
        # What went wrong, and was dealt with.
        self.takeovers = Counter(
            "signoff_lease_takeovers",
            "Executions taken over from an owner that let its lease expire.",
            registry=registry,
        )
        self.lost_claims = Counter(
            "signoff_lost_claims", "Steps that found their execution taken over or ended.", registry=registry
        )
        self.dropped_answers = Counter(
            "signoff_dropped_answers", "Answers of agents that came after their execution had ended.", registry=registry
        )
        # Agents and validators.
        self._agent_calls = _Labelled(
            Histogram(
                "signoff_agent_call_seconds",
                "Calls of agents, by what came of them.",
                ["outcome"],
                buckets=_CALL_SECONDS,
                registry=registry,
            )
        )
        self._validator_calls = _Labelled(
            Histogram(
                "signoff_validator_call_seconds",
                "Calls of validators, by what came of them.",
                ["validator", "outcome"],
                buckets=_CALL_SECONDS,
                registry=registry,
            )
        )
        self._tokens = _Labelled(
            Counter(
                "signoff_validator_tokens", "Tokens that validators used.", ["validator", "kind"], registry=registry
            )
        )
        self._cost = _Labelled(
            Counter("signoff_validator_cost_usd", "US dollars that validators cost.", ["validator"], registry=registry)
        )
        self.validator_problem = Gauge(
            "signoff_validator_problem", "1 while an operator must mend something for the validator.", registry=registry
        )
        # This process.
        self._answers = _Answers()
        registry.register(self._answers)
        self.loop_lag = Histogram(
            "signoff_event_loop_lag_seconds",
            "How late the event loop comes to what is due; looked at twice a second.",
            buckets=_LAG_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "signoff_executions_in_flight", "Executions that this process works on.", registry=registry
        )
        self.capacity = Gauge("signoff_executions_in_flight_limit", "How many it works on at most.", registry=registry)
        self.followers = Gauge(
            "signoff_followers", "Subscriptions and waiting callers in this process.", registry=registry
        )
        self.connections = Gauge(
            "signoff_database_connections",
            "Connections to the database: of transactions (pool work) and of single reads (pool reads, on PostgreSQL)."
            " Leases, and hearing of changes, have one more each.",
            ["pool", "state"],
            registry=registry,
        )
        self.bus_connected = Gauge(
            "signoff_bus_connected", "1 while other processes are heard at once, 0 while polled.", registry=registry
        )
        self.temporal_reachable = Gauge(
            "signoff_temporal_reachable",
            "1 while Temporal can be used, 0 while executions wait for it.",
            registry=registry,
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request over HTTP was answered, so long after it came."""
        self._answers.observe((route, status // 100), seconds)

    def finished(self, outcome: ExecutionOutcome, seconds: float) -> None:
        """An execution has ended, so long after Execute."""
        self._finished(outcome.value).inc()
        self._execution_seconds.observe(max(0.0, seconds))

    def agent_called(self, trouble: AgentTroubleKind | None, seconds: float) -> None:
        """An agent was called; None where it answered."""
        self._agent_calls("ok" if trouble is None else trouble.value).observe(seconds)

    def validator_called(
        self, validator: str, trouble: ValidatorTroubleKind | None, seconds: float, reply: Reply | None
    ) -> None:
        """A validator was asked; None where its reply was a verdict."""
        self._validator_calls(validator, "ok" if trouble is None else trouble.value).observe(seconds)
        if reply is None:
            return
        for kind, count in (("prompt", reply.prompt_tokens), ("completion", reply.completion_tokens)):
            if count:
                self._tokens(validator, kind).inc(count)
        if reply.cost_usd:
            self._cost(validator).inc(reply.cost_usd)

    def live(self, counted: list[LiveExecutions]) -> None:
        """What is live in the database just now."""
        self._live.clear()
        self._oldest.clear()
        for item in counted:
            labels = (item.runner, item.state.value)
            self._live.labels(*labels).set(item.count)
            self._oldest.labels(*labels).set(item.oldest_seconds)
