"""Running the server: its sockets, its signals, its orderly end, and its log."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TextIO

import orjson
import uvicorn

from app.protocol import HttpProtocol, WebSocketProtocol
from services.redaction import Credentials, blank_in_use
from services.trace import current_trace_id, current_work

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from app.asgi import Application
    from app.settings import Settings

# How long connections have to take the last bytes of their answers once nothing is in flight any more.
LAST_BYTES_SECONDS = 2
_POLL_SECONDS = 0.05
ALLOCATIONS_PER_COLLECTION = 10_000
NONE = Credentials.of()


# ------------------------------------------------------------------------------------------------------- draining


class Working(Protocol):
    """What a drain has to know of a runner."""

    @property
    def in_flight(self) -> int:
        """How many executions it works on."""
        ...

    def stop_accepting(self) -> None:
        """Start nothing new."""
        ...


@dataclass
class Drain:
    """The orderly end: /readyz says so first, nothing new is started, what is in flight gets its time.

    Whoever waits for what does not end in that time is answered with what there is.
    """

    seconds: float
    runner: Working | None = None
    stop_waiting: Callable[[], None] | None = None
    _deadline: float | None = field(default=None, init=False)

    @property
    def has_begun(self) -> bool:
        """Whether the process is on its way out."""
        return self._deadline is not None

    def begin(self) -> None:
        """Start the clock; a second time changes nothing."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self.seconds
            if self.runner is not None:
                self.runner.stop_accepting()

    def hurry(self) -> None:
        """The time is up."""
        self.begin()
        self._deadline = time.monotonic()

    async def finished(self, at_least_seconds: float = 0) -> None:
        """Wait until nothing is in flight or the time is up, whichever comes first, but for a moment anyway."""
        self.begin()
        earliest = time.monotonic() + min(at_least_seconds, self.seconds)
        while (now := time.monotonic()) < (self._deadline or 0):
            if now >= earliest and (self.runner is None or self.runner.in_flight == 0):
                break
            await asyncio.sleep(_POLL_SECONDS)
        if self.stop_waiting is not None:
            self.stop_waiting()


class Server(uvicorn.Server):
    """Drains on SIGTERM and SIGINT while it still serves, then ends with status 0.

    A second signal hurries it: what is in flight is left to others at once. A third one kills it.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain, notice_seconds: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._notice_seconds = notice_seconds
        self._ending: asyncio.Task[None] | None = None
        self.on_started: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell."""
        await super().startup(sockets)
        if self.started and self.on_started is not None:
            self.on_started()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Handle the signals here: uvicorn's own handler would stop listening at once, and then die of the signal."""
        loop = asyncio.get_running_loop()
        for number, notice_seconds in ((signal.SIGTERM, self._notice_seconds), (signal.SIGINT, 0.0)):
            loop.add_signal_handler(number, self.end, notice_seconds)
        try:
            yield
        finally:
            self._handle_no_more()

    def end(self, notice_seconds: float = 0.0) -> None:
        """Begin the orderly end."""
        if self._ending is None:
            logging.getLogger(__name__).info("draining")
            self._drain.begin()
            self._ending = asyncio.get_running_loop().create_task(self._end(notice_seconds))
        else:
            self._handle_no_more()
            self._drain.hurry()
            self.should_exit = self.force_exit = True

    def _handle_no_more(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)

    async def _end(self, notice_seconds: float) -> None:
        await self._drain.finished(notice_seconds)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the connections, then what the service works with: hurried as well, or its leases would be kept."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()


def server_for(app: Application, drain: Drain, settings: Settings) -> Server:
    """Make the server; it listens on the sockets that its `serve` is given."""
    config = uvicorn.Config(
        app.door,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        # A listener would cost several times as much, in memory too, and what it is told is short.
        ws_per_message_deflate=False,
        # One frame of a WebSocket is a request like any other.
        ws_max_size=settings.request_bytes,
        # What is left then are streams without an end, and readers that do not read.
        timeout_graceful_shutdown=LAST_BYTES_SECONDS,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # The door asks them where there are any.
        proxy_headers=False,
    )
    return Server(config, drain, settings.drain_notice_seconds)


# -------------------------------------------------------------------------------------------------------- sockets


def collect_seldom() -> None:
    """Have garbage looked for less, once all is there that stays: for a process of the service's own."""
    # Modules, schema and mappings stay for good; a full collection that walks over them keeps everybody 100 ms.
    gc.collect()
    gc.freeze()
    # An answer of a thousand rows is ten thousand objects, none of them garbage that only a collection would find.
    gc.set_threshold(ALLOCATIONS_PER_COLLECTION)


def listen(host: str, port: int) -> list[socket.socket]:
    """Bind every address of a host, before anything else is begun. Raises OSError; port 0 takes a free one."""
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                bound = socket.socket(family, kind, protocol)
            except OSError:
                continue  # a kernel without IPv6 still resolves names to it
            sockets.append(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((address[0], port_of(sockets[0]) or port, *address[2:]))
            bound.listen(2048)
            bound.settimeout(0)
    except BaseException:
        for bound in sockets:
            bound.close()
        raise
    if not sockets:
        raise OSError(f"{host} has no address that this machine could listen on")
    return sockets


def port_of(bound: socket.socket) -> int:
    """The port that a socket has got, 0 where it has none yet."""
    return int(bound.getsockname()[1])


# ------------------------------------------------------------------------------------------------------------ log


class _Blanking(logging.StreamHandler[TextIO]):
    """Writes to stderr what is left without credentials: those in use at the moment, and those that are given."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(sys.stderr)
        self._credentials = credentials

    def format(self, record: logging.LogRecord) -> str:
        """Format as always, traces of exceptions included, then blank."""
        return self.blank(super().format(record))

    def blank(self, text: str) -> str:
        """What is left of a text."""
        return self._credentials.blank_text(blank_in_use(text))


class _Context(logging.Filter):
    """Adds to each record the trace, the job and the execution that it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        job_id, execution_id = current_work.get() or (None, None)
        about = "" if execution_id is None else f" job={job_id} execution={execution_id}"
        trace_id = current_trace_id.get() or "-"
        vars(record).update(trace_id=trace_id, job_id=job_id, execution_id=execution_id, about=about)
        return True


class _ClientsMistake(logging.Filter):
    """Takes the stack trace from what uvicorn logs of a WebSocket's text that is no UTF-8: ours tell of bugs only."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[0] is UnicodeDecodeError and "received from client" in record.msg:
            record.exc_info = None
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return True


class _Json(logging.Formatter):
    """One JSON object a line, for programs that collect logs. Blanks before JSON escapes what a credential holds."""

    def __init__(self, blank: Callable[[str], str]) -> None:
        super().__init__()
        self._blank = blank

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._blank(record.getMessage()),
        }
        line |= {name: vars(record).get(name) for name in ("trace_id", "job_id", "execution_id")}
        if record.exc_info:
            line["exception"] = self._blank(self.formatException(record.exc_info))
        return orjson.dumps({name: value for name, value in line.items() if value not in {None, "-"}}).decode()


def log_to_stderr(level: int = logging.INFO, credentials: Credentials = NONE) -> None:
    """Log to stderr, one line an event, with the trace that it belongs to, and never any of the credentials.

    For people on a terminal; as JSON where no terminal is.
    """
    handler = _Blanking(credentials)
    handler.addFilter(_Context())
    handler.addFilter(_ClientsMistake())
    to_people = logging.Formatter("%(asctime)s %(levelname)s %(name)s trace=%(trace_id)s%(about)s %(message)s")
    handler.setFormatter(to_people if sys.stderr.isatty() else _Json(handler.blank))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Below that, theirs tell of every request and every migration step.
    for chatty in ("uvicorn", "httpx", "httpcore", "alembic", "openai"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
