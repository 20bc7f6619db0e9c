"""A real Temporal server on loopback, from a wheel; it can be stopped and started again with what it knew."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.client import Client

BINARY = Path(sys.executable).with_name("temporal")
START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@dataclass
class TemporalServer:
    """At `address` while it runs; the same one each time it is started."""

    directory: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and return once it answers."""
        command = [str(BINARY), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)]
        command += ["--http-port", str(free_port()), "--metrics-port", str(free_port())]
        command += ["--db-filename", str(self.directory / "temporal.db"), "--log-level", "never"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            while not runner.run(self._answers()):
                assert time.monotonic() < deadline, "Temporal did not start"
                assert self._process.poll() is None, "Temporal ended"
                time.sleep(0.05)

    async def _answers(self) -> bool:
        try:
            await Client.connect(self.address)
        except RuntimeError:
            return False
        return True

    def stop(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def temporal_server(directory: Path) -> Generator[TemporalServer]:
    server = TemporalServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
