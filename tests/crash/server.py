"""A real server process that a test can have end itself at a failpoint. Forked from one that has imported all."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from app.asgi import create_app, create_worker
from app.serving import ALLOCATIONS_PER_COLLECTION, listen, log_to_stderr, port_of, server_for
from app.settings import load
from tests.crash.failpoints import Failpoints
from tests.crash.mutants import MUTANTS

_FORKS = multiprocessing.get_context("forkserver")
# What a server imports only once it needs it is two thirds of its start.
_FORKS.set_forkserver_preload(["tests.crash.server", "services.validators.openai", "openai.resources.chat.completions"])


@dataclass
class ServerProcess:
    """A running `signoff serve`, at `url`."""

    process: ForkServerProcess
    url: str
    log: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process.is_alive():
            os.kill(self.pid, how)

    def ended(self, within_seconds: float) -> bool:
        self.process.join(within_seconds)
        return self.process.exitcode is not None


def start(
    environment: Mapping[str, str],
    log: Path,
    *,
    failpoint: str | None = None,
    after: str | None = None,
    how: signal.Signals = signal.SIGKILL,
    record: Path | None = None,
    mutant: str | None = None,
    works: bool = False,
) -> ServerProcess:
    """Start a server (or, if it `works`, a worker) on a free port and return once it listens, or has ended."""
    ours, theirs = _FORKS.Pipe()
    points = Failpoints(failpoint, after, how, record)
    process = _FORKS.Process(target=_serve, args=(theirs, dict(environment), log, points, mutant, works), daemon=True)
    process.start()
    for _ in range(300):
        if ours.poll(0.1):
            return ServerProcess(process, f"http://127.0.0.1:{ours.recv()}", log)
        if process.exitcode is not None:
            return ServerProcess(process, "http://127.0.0.1:1", log)
    raise TimeoutError(f"the server did not start: {log.read_text()}")


def _serve(
    ready: Connection,
    environment: dict[str, str],
    log: Path,
    points: Failpoints,
    mutant: str | None,
    works: bool,
) -> None:
    os.environ.update(environment)
    descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if mutant is not None:
        MUTANTS[mutant]()
    points.install()
    settings = load("127.0.0.1")
    log_to_stderr()
    sockets = listen("127.0.0.1", 0)
    application = create_worker(settings) if works else create_app(settings, migrates=False)
    server = server_for(application, application.state.drain, settings)
    port = port_of(sockets[0])

    def started() -> None:
        # As `signoff serve` does, but for the collection before: it would copy what forked processes share.
        gc.freeze()
        gc.set_threshold(ALLOCATIONS_PER_COLLECTION)
        ready.send(port)

    server.on_started = started
    server.run(sockets)
