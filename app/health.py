"""`/healthz`: the process is alive. `/readyz`: it can do its work, check by check."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.requests import Request

    from app.serving import Drain
    from services.executions.validation import ValidatorHealth

# Longer, and whoever asks has given up.
CHECK_SECONDS = 2.0
# Anybody may ask: they share one look at the database a second.
FRESH_SECONDS = 1.0


class Temporal(Protocol):
    """What has to be known of the runner that uses it."""

    @property
    def problem(self) -> str | None:
        """Why it cannot be used just now."""
        ...


@dataclass
class Health:
    """`is_current` says whether the database is at the newest revision, and raises where it is not reachable."""

    is_current: Callable[[], Awaitable[bool]]
    drain: Drain
    validator: ValidatorHealth | None = None
    temporal: Temporal | None = None
    needs_temporal: bool = False
    """Without it, executions only wait; but a worker has nothing to do."""
    _looked_at: float = field(default=-FRESH_SECONDS, init=False)
    _database: dict[str, str] = field(default_factory=dict[str, str], init=False)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def healthz(self, request: Request) -> JSONResponse:
        """Answer as long as the event loop turns."""
        del request
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> JSONResponse:
        """Answer 200 where every check is ok, else 503.

        What is wrong with the validator or with Temporal is told, but takes no API out of service: executions wait.
        """
        del request
        # No look at the database on the way out: the answer is known, and must not be late.
        database = {} if self.drain.has_begun else await self._look()
        checks = {**database, "draining": "yes" if self.drain.has_begun else "ok"}
        temporal = {} if self.temporal is None else {"temporal": self.temporal.problem or "ok"}
        if self.needs_temporal:
            checks |= temporal
        ready = all(check == "ok" for check in checks.values())
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        checks |= temporal
        checks["validator"] = (self.validator and self.validator.problem) or "ok"
        if self.validator is not None and self.validator.canary is not None:
            checks["canary"] = self.validator.canary
        return JSONResponse({"status": "ready" if ready else "not ready", "checks": checks}, status)

    async def _look(self) -> dict[str, str]:
        async with self._looking:
            if time.monotonic() - self._looked_at >= FRESH_SECONDS:
                self._database = await self._ask()
                self._looked_at = time.monotonic()
            return self._database

    async def _ask(self) -> dict[str, str]:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                newest = await self.is_current()
        except Exception:  # noqa: BLE001 - whatever it is, the database is of no use just now
            return {"database": "not reachable", "revision": "unknown"}
        return {"database": "ok", "revision": "ok" if newest else "not the newest: signoff migrate"}
