"""Executors and validators of others, called so that their faults stay theirs.

Each plug-in has a thread and an event loop of its own: one that blocks, hangs or cannot even be imported delays nobody
else, and what it does wrong is said of it by name. It shares the process all the same: install what you trust.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from services.ports import (
    AgentAnswer,
    AgentError,
    AgentRequest,
    InputInvalidError,
    Reply,
    Report,
    ValidatorError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from services.ports import (
        Agent,
        Ask,
        Delivery,
        Executor,
        Job,
        JsonValue,
        Previous,
        Submission,
        Validator,
    )

log = logging.getLogger(__name__)
P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")

# Importing something large takes seconds; building a request takes none.
START_SECONDS = 30.0
PREPARE_SECONDS = 10.0
# An executor ends its call by itself when the time is up; it gets a moment to say how.
GRACE_SECONDS = 2.0
# A loop that does not answer for this long is blocked.
_ANSWER_SECONDS = 1.0
# Every thread that hangs is lost until the process ends.
MOST_HUNG = 3


@dataclass(frozen=True)
class Installed:
    """A plug-in that is there: its name, the package that it comes from, and what imports its factory."""

    name: str
    origin: str
    load: Callable[[], object]


class PluginFaultError(Exception):
    """What a plug-in did wrong, in a sentence that names it."""


class PluginBrokenError(PluginFaultError):
    """It cannot even be made: an operator has to mend or remove it."""


class _GivenUpError(Exception):
    """What was done in another thread was cancelled there, and not by whoever waits for it here."""


async def _heard(future: Future[R]) -> R:
    """Wait for what is done in another thread: that it is cancelled there does not cancel the one who waits."""
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if future.cancelled() and task is not None and not task.cancelling():
            raise _GivenUpError from None
        raise


class _Thread:
    """An event loop in a thread of its own."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        # A daemon: one that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name=f"plug-in {name}", daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self.loop.close()

    def submit(self, coroutine: Coroutine[Any, Any, R]) -> Future[R]:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await _heard(self.submit(asyncio.sleep(0)))
        except (TimeoutError, _GivenUpError):
            return False
        return True

    def stop(self) -> None:
        """End it, at once or as soon as it no longer hangs."""
        self.loop.call_soon_threadsafe(self.loop.stop)


class Plugin(Generic[P]):
    """One plug-in: made in its own thread, called there, and given up where it hangs."""

    def __init__(self, kind: str, installed: Installed, methods: tuple[str, ...]) -> None:
        self._kind = kind
        self.installed = installed
        self._methods = methods
        self._thread: _Thread | None = None
        self._made: tuple[_Thread, P] | None = None
        self._hung = 0
        self.problem: str | None = None
        """What was wrong with it at the start."""

    @property
    def name(self) -> str:
        """What settings and agents call it."""
        return self.installed.name

    def fault(self, what: str, error_type: type[PluginFaultError] = PluginFaultError) -> PluginFaultError:
        """Name a fault as the plug-in's own."""
        return error_type(f"The {self._kind} {self.name!r} of the plug-in {self.installed.origin} {what}.")

    async def start(self) -> str | None:
        """Make it, so that what is wrong with it is known at once: returns that, and logs it."""

        async def nothing(plugin: P) -> None:
            del plugin

        try:
            await self.call(nothing, START_SECONDS)
        except PluginFaultError as error:
            self.problem = str(error)
            log.error("%s Whatever names it will fail; the service goes on.", error)  # noqa: TRY400  (logged where it failed)
        return self.problem

    def stop(self) -> None:
        """End its thread."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    async def call(
        self, use: Callable[[P], Awaitable[R]], seconds: float, passes: tuple[type[Exception], ...] = ()
    ) -> R:
        """Use the plug-in in its thread, for so long. Raises PluginFaultError, and those of its port (`passes`)."""
        if self._hung >= MOST_HUNG:
            raise self.fault(f"has hung {self._hung} times and is not called any more: mend it, then restart")
        thread = self._thread = self._thread or _Thread(self.name)
        future = thread.submit(self._used(thread, use))
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await _heard(future)
        except PluginFaultError:
            raise
        except _GivenUpError:
            raise self.fault("was given up: another call of it hung") from None
        except Exception as error:
            if isinstance(error, passes):
                raise
            if limit.expired():
                # If it only waits, that has ended it; if it blocks its thread, nothing does. A thread hangs once,
                # however many calls stood in it.
                if self._thread is thread and not await thread.answers() and self._thread is thread:
                    self._hung += 1
                    thread.stop()
                    self._thread = None
                raise self.fault(f"did not finish within {seconds:g} s") from None
            log.exception("plug-in %s failed", self.name)
            # Its own words stay in this process's log: they may name what it was given to keep.
            raise self.fault(f"failed with {type(error).__name__}") from error

    async def _used(self, thread: _Thread, use: Callable[[P], Awaitable[R]]) -> R:
        try:
            if self._made is None or self._made[0] is not thread:
                self._made = (thread, await self._make())
            return await use(self._made[1])
        except (SystemExit, KeyboardInterrupt) as error:
            # These would end the loop, and leave whoever waits for it waiting.
            raise RuntimeError(type(error).__name__) from error

    async def _make(self) -> P:
        try:
            factory = self.installed.load()
            made: Any = cast("Callable[[], object]", factory)()
            if inspect.isawaitable(made):
                made = await made
        except Exception as error:
            log.exception("plug-in %s cannot be made", self.name)
            raise self.fault(
                f"cannot be made ({type(error).__name__}): mend or remove it", PluginBrokenError
            ) from error
        missing = [name for name in self._methods if not callable(getattr(made, name, None))]
        if missing:
            what = f"has no method {missing[0]!r}: its entry point must make an object of the port"
            raise self.fault(what, PluginBrokenError)
        return cast("P", made)


class PluginExecutor:
    """An executor of others (services.ports.Executor)."""

    def __init__(self, installed: Installed) -> None:
        self.plugin: Plugin[Executor] = Plugin("executor", installed, ("prepare", "send"))

    async def prepare(self, job: Job, agent: Agent, previous: Previous | None) -> AgentRequest:
        """See ports.Executor. Raises PluginFaultError too."""
        request = await self.plugin.call(
            lambda executor: executor.prepare(job, agent, previous), PREPARE_SECONDS, (InputInvalidError,)
        )
        return _as(AgentRequest, request, self.plugin)

    async def send(self, request: AgentRequest, delivery: Delivery) -> AgentAnswer:
        """See ports.Executor. Raises PluginFaultError too."""
        answer = await self.plugin.call(
            lambda executor: executor.send(request, delivery), delivery.timeout_seconds + GRACE_SECONDS, (AgentError,)
        )
        return _as(AgentAnswer, answer, self.plugin)


class PluginValidator:
    """A validator of others (services.ports.Validator); `seconds` bound one whole validation."""

    def __init__(self, installed: Installed, seconds: float) -> None:
        self.plugin: Plugin[Validator] = Plugin("validator", installed, ("validate",))
        self.name = installed.name
        self._seconds = seconds

    @property
    def can_judge(self) -> bool:
        """Whether it could be made."""
        return self.plugin.problem is None

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        """See ports.Validator. Raises PluginFaultError too."""
        asking = _AskFromThere(ask)
        try:
            report = await self.plugin.call(
                lambda validator: validator.validate(submission, asking), self._seconds, (ValidatorError, OursError)
            )
        except OursError as error:
            raise error.error from None
        finally:
            await asking.end()
        return _as(Report, report, self.plugin)


def _as(wanted: type[T], value: object, plugin: Plugin[Any]) -> T:
    if not isinstance(value, wanted):
        raise plugin.fault(f"returned {type(value).__name__} instead of {wanted.__name__}")
    return value


class OursError(Exception):
    """Something on our side of `ask` went wrong while a plug-in asked; it is no fault of the plug-in's."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class _AskFromThere:
    """`ask` for a validator in another thread: it sends and reads there, what is journaled is journaled here."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._here = asyncio.get_running_loop()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def __call__(
        self,
        request: JsonValue,
        send: Callable[[], Awaitable[Reply]],
        read: Callable[[Reply], R],
        *,
        at_most_usd: float | None = None,
    ) -> R:
        there = asyncio.get_running_loop()
        outcome: list[R] = []
        trouble: list[Exception] = []

        async def send_and_read() -> Reply:
            reply = await send()
            if not isinstance(reply, Reply):  # pyright: ignore[reportUnnecessaryIsInstance]  (it is theirs)
                raise TypeError(f"{type(reply).__name__} instead of Reply")
            try:
                outcome.append(read(reply))
            except Exception as error:  # noqa: BLE001  (raised where a reply is read, after it is kept)
                trouble.append(error)
            return reply

        async def send_from_here() -> Reply:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(send_and_read(), there))

        def read_here(reply: Reply) -> Reply:
            if trouble:
                raise trouble[0]
            return reply

        async def asked() -> Reply:
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            self._under_way.add(task)
            try:
                return await self._ask(request, send_from_here, read_here, at_most_usd=at_most_usd)
            except ValidatorError:
                raise
            except Exception as error:
                raise OursError(error) from error
            finally:
                self._under_way.discard(task)

        reply = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked(), self._here))
        # One that an earlier run had is in the journal, and was read by nobody yet.
        return outcome[0] if outcome else read(reply)

    async def end(self) -> None:
        """Let nothing go on here for a validator that has ended or was given up."""
        left = tuple(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
