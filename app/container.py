"""The composition root: the one place that names adapters and wires them to each other."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from db.session import Database, is_postgresql
from services.agents import SECRET_OVERLAP_SECONDS, Agents
from services.canary import Canary
from services.events.in_memory import InMemoryBus
from services.events.postgres import PostgresBus
from services.executions.requests import Executions
from services.executions.settle import Settling
from services.executions.steps import Steps
from services.executions.validation import RetryPolicy, Validating, ValidatorHealth
from services.executors.http_json import HttpJson
from services.feed import Feed
from services.guard import Guard
from services.housekeeping import Housekeeping
from services.inputs import InputLimits
from services.jobs import Jobs
from services.journal import Journal
from services.lifecycle import Lifecycle
from services.logs import Logs
from services.metrics import Metrics
from services.plugins import PluginExecutor, PluginValidator
from services.rates import MutationRates
from services.redaction import Redaction
from services.runners.cluster import Cluster
from services.runners.in_process import InProcess
from services.sandbox import Sandbox
from services.validators.checks import Checks
from services.validators.http import HttpValidator
from services.validators.openai_prices import Price
from services.validators.undecided import Unconfigured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from services.agents import Secrets
    from services.plugins import Installed
    from services.ports import Executor, Validator
    from services.runners.temporal import Temporal


__all__ = ["Cluster", "Container", "Wiring", "open_container"]


@dataclass(frozen=True)
class Container:
    """Everything that the entry points hand out."""

    database: Database
    bus: InMemoryBus | PostgresBus
    sandbox: Sandbox
    journal: Journal
    agents: Agents
    jobs: Jobs
    executions: Executions
    logs: Logs
    feed: Feed
    rates: MutationRates
    steps: Steps
    runner: InProcess | Temporal
    temporal: Temporal | None
    executors: Mapping[str, Executor]
    validator: Validator
    validators: Mapping[str, Validator]
    judge_configured: bool
    validator_health: ValidatorHealth
    metrics: Metrics


@dataclass(frozen=True)
class HttpValidation:
    """Where the validator over HTTP is, and how it is called; of its secrets the present one comes first."""

    url: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    allowed_networks: Sequence[IPv4Network | IPv6Network] = ()
    timeout_seconds: float = 120


@dataclass(frozen=True)
class Wiring:
    """What the container needs to know; times are in seconds, sizes in bytes."""

    database_url: str
    secrets: Secrets
    openai_api_key: str | None = field(default=None, repr=False)
    openai_base_url: str | None = None
    openai_model: str = "gpt-4.1-mini"
    openai_timeout_seconds: float = 120
    openai_price: tuple[float, ...] | None = None
    judge_calls: int = 5
    has_canary: bool = False
    judge_cost_usd: float | None = None
    allowed_networks: Sequence[IPv4Network | IPv6Network] = ()
    lease_seconds: float = 30
    drain_seconds: float = 20
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    executions_in_flight: int = 1_000
    executions_queued: int = 10_000
    log_payload_bytes: int = 256 * 1024
    mutations_per_minute: int = 600
    mutations_burst: int = 200
    inputs: InputLimits = field(default_factory=InputLimits)
    redacted_keys: re.Pattern[str] | None = None
    secret_overlap_seconds: float = SECRET_OVERLAP_SECONDS
    feed_poll_seconds: float = 2
    extra_executors: Sequence[tuple[str, Executor]] = ()
    plugin_executors: Sequence[Installed] = ()
    plugin_validators: Sequence[Installed] = ()
    plugin_validation_seconds: float = 300
    http_validator: HttpValidation | None = None
    """The validator "http", where there is one."""
    validator_name: str = "openai"
    """Who judges, unless an agent names another."""
    validator: Validator | None = None
    """Judges instead of those."""
    temporal: Cluster | None = None
    """Runs what is executed from now on; else, processes do."""
    is_worker: bool = False
    """Runs the steps of Temporal's executions."""
    worker_drain_seconds: float | None = None
    """How long they have to finish once it stops taking new ones; else, `drain_seconds`."""


@asynccontextmanager
async def open_container(wiring: Wiring) -> AsyncGenerator[Container]:
    """Wire everything and run executions while the context is open. The database is at its newest revision.

    Raises ValueError for an OpenAI key that is none, KeyError for a validator that is not there.
    """
    bus = PostgresBus() if is_postgresql(wiring.database_url) else InMemoryBus()
    async with AsyncExitStack() as stack:
        database = Database.open(wiring.database_url, on_commit=bus.ring)
        stack.push_async_callback(database.close)
        if isinstance(bus, PostgresBus):
            await stack.enter_async_context(bus.run(database))
        sandbox = await stack.enter_async_context(Sandbox(2, expression_characters=wiring.inputs.expression_characters))
        validators: dict[str, Validator] = {"openai": _openai(wiring, stack)}
        if (http := wiring.http_validator) is not None:
            # Not where agents may live: what an operator runs beside this service is not for them to call.
            validators["http"] = HttpValidator(
                Guard(http.allowed_networks), http.url, http.secrets, timeout_seconds=http.timeout_seconds
            )
        their_executors = [PluginExecutor(found) for found in wiring.plugin_executors]
        their_validators = [
            PluginValidator(found, wiring.plugin_validation_seconds) for found in wiring.plugin_validators
        ]
        validators |= {found.name: found for found in their_validators}
        if wiring.validator is not None:
            validators[wiring.validator.name] = wiring.validator
        validator = wiring.validator or validators[wiring.validator_name]
        guard = Guard(tuple(wiring.allowed_networks))
        executors: Mapping[str, Executor] = {
            "http_json": HttpJson(sandbox, guard, wiring.inputs.result_bytes),
            **dict(wiring.extra_executors),
            **{found.plugin.name: found for found in their_executors},
        }
        journal = Journal(Redaction(more_keys=wiring.redacted_keys), wiring.log_payload_bytes)
        lifecycle = Lifecycle(journal)
        metrics = Metrics()
        settling = Settling(lifecycle, journal, metrics)
        validating = Validating(
            database,
            journal,
            settling,
            Checks(sandbox),
            validator,
            validators,
            wiring.retry,
            metrics,
            largest_cost_usd=wiring.judge_cost_usd,
        )
        for stop in [found.plugin.stop for found in their_executors] + [
            found.plugin.stop for found in their_validators
        ]:
            stack.callback(stop)
        started = await asyncio.gather(*(found.plugin.start() for found in their_validators))
        problems = dict(zip((found.name for found in their_validators), started, strict=True))
        validating.health.problem = problems.get(validator.name)
        await asyncio.gather(*(found.plugin.start() for found in their_executors))
        in_process = InProcess(database, wiring.lease_seconds, wiring.executions_in_flight)
        temporal = None if wiring.temporal is None else _temporal(wiring, wiring.temporal, database, in_process)
        runner = temporal or in_process
        if isinstance(bus, PostgresBus):
            bus.on_heard = runner.heard
        steps = Steps(
            database, journal, settling, executors, validating, sandbox, wiring.secrets, metrics, runner.look_again
        )
        jobs = Jobs(database, journal, lifecycle, settling, sandbox, runner, wiring.inputs)
        executions = Executions(
            database,
            jobs,
            lifecycle,
            settling,
            steps,
            runner,
            bus,
            wiring.retry.deadline_seconds,
            wiring.executions_queued,
        )
        await stack.enter_async_context(Housekeeping(database).run())
        # In any case: what was started in process is finished in process, whatever is set now.
        await stack.enter_async_context(in_process.run(steps, wiring.drain_seconds))
        if temporal is not None:
            await stack.enter_async_context(temporal.run(steps))
        if wiring.has_canary:
            canary = Canary(validator, validating.health, wiring.retry.slow_seconds)
            stack.push_async_callback(_ended, asyncio.create_task(canary.run()))
        yield Container(
            database=database,
            bus=bus,
            sandbox=sandbox,
            journal=journal,
            agents=Agents(
                database,
                sandbox,
                wiring.secrets,
                executors.keys(),
                validators.keys(),
                guard.endpoint_problem,
                wiring.inputs,
                wiring.secret_overlap_seconds,
            ),
            jobs=jobs,
            executions=executions,
            logs=Logs(database),
            feed=Feed(database, bus, wiring.feed_poll_seconds),
            rates=MutationRates(database, wiring.mutations_per_minute, wiring.mutations_burst),
            steps=steps,
            runner=runner,
            temporal=temporal,
            executors=executors,
            validator=validator,
            validators=validators,
            judge_configured=bool(getattr(validator, "can_judge", True)),
            validator_health=validating.health,
            metrics=metrics,
        )


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


# What not every service has is imported where it is made: the libraries of these two take as long as all the rest.


def _openai(wiring: Wiring, stack: AsyncExitStack) -> Validator:
    """Make the validator "openai", which asks nobody without a key. Raises ValueError for a key that is none."""
    if not wiring.openai_api_key:
        return Unconfigured()
    from services.validators.openai import OpenAIJudge, openai_client  # noqa: PLC0415 - as above

    client = openai_client(wiring.openai_api_key, wiring.openai_base_url, wiring.openai_timeout_seconds)
    stack.push_async_callback(client.close)
    return OpenAIJudge(
        client,
        wiring.openai_model,
        timeout_seconds=wiring.openai_timeout_seconds,
        max_calls=wiring.judge_calls,
        price=None if wiring.openai_price is None else Price(*wiring.openai_price),
    )


def _temporal(wiring: Wiring, cluster: Cluster, database: Database, in_process: InProcess) -> Temporal:
    """Make the runner of Temporal's executions."""
    from services.runners.temporal import Temporal  # noqa: PLC0415 - as above

    return Temporal(
        database,
        cluster,
        in_process,
        works=wiring.is_worker,
        lease_seconds=wiring.lease_seconds,
        capacity=wiring.executions_in_flight,
        drain_seconds=wiring.drain_seconds if wiring.worker_drain_seconds is None else wiring.worker_drain_seconds,
    )
