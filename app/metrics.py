"""`/metrics`, for Prometheus: only to whoever has the token, and not there at all without one.

A reverse proxy on the same machine makes every caller look local, so "local" would not keep anybody out.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from app.middleware import problem, unauthenticated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pydantic import SecretStr
    from starlette.requests import Request

    from app.container import Container
    from services.metrics import Metrics

log = logging.getLogger(__name__)

# The database is asked at most this often, whoever scrapes; what takes longer is left out.
FRESH_SECONDS = 5.0
CENSUS_SECONDS = 2.0
LOOK_SECONDS = 0.5


@dataclass
class Exposition:
    """Answers what Prometheus asks, with the numbers of `container` once there is one."""

    token: SecretStr | None
    container: Container | None = None
    _asked_at: float = field(default=-FRESH_SECONDS, init=False)

    def metrics(self) -> Metrics | None:
        """The instruments, once there are any."""
        return None if self.container is None else self.container.metrics

    async def answer(self, request: Request) -> Response:
        """Answer a scrape."""
        if self.token is None or self.container is None:
            return problem(HTTPStatus.NOT_FOUND, "NOT_FOUND", "SIGNOFF_METRICS_TOKEN is not set.")
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self.token.get_secret_value()}".encode()):
            return unauthenticated("This is not the token of SIGNOFF_METRICS_TOKEN.")
        await self._look(self.container)
        return Response(generate_latest(self.container.metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    @asynccontextmanager
    async def of(self, container: Container) -> AsyncGenerator[None]:
        """Tell of this container, and watch its event loop, while the context is open."""
        registry = container.metrics.registry
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self.container = container
        watching = asyncio.create_task(_watch(container.metrics))
        try:
            yield
        finally:
            watching.cancel()

    async def _look(self, container: Container) -> None:
        metrics = container.metrics
        metrics.in_flight.set(container.runner.in_flight)
        metrics.capacity.set(container.runner.capacity)
        metrics.followers.set(container.bus.followers + container.feed.sharing)
        metrics.bus_connected.set(container.bus.is_connected)
        metrics.validator_problem.set(container.validator_health.problem is not None)
        if container.temporal is not None:
            metrics.temporal_reachable.set(container.temporal.problem is None)
        for pool, (in_use, most) in container.database.connections().items():
            metrics.connections.labels(pool, "in_use").set(in_use)
            metrics.connections.labels(pool, "limit").set(most)
        if time.monotonic() - self._asked_at < FRESH_SECONDS:
            return
        self._asked_at = time.monotonic()
        try:
            async with asyncio.timeout(CENSUS_SECONDS):
                metrics.live(await container.executions.census())
        except Exception as error:  # noqa: BLE001 - the process's own numbers are told whatever becomes of the database
            metrics.live([])
            log.warning("live executions were not counted: %r", error)


async def _watch(metrics: Metrics) -> None:
    """See how late the event loop comes to what is due."""
    while True:
        due = time.monotonic() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        metrics.loop_lag.observe(max(0.0, time.monotonic() - due))
