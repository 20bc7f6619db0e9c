"""Whether the event loop goes on, however busy the machine is.

What the loop notices is measured in the time that its thread spends computing between two ticks: a machine that is
busy with other things stretches every clock, but not that one.
"""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

LONGEST_STALL_SECONDS = 0.1
# A loop that waited for a child itself would stand still as long as the child may take: that is to be longer.
LONGEST_GAP_SECONDS = 0.5
SCHEDULER = Path("/proc/thread-self/schedstat")
CAN_TELL_WAITING = SCHEDULER.exists()


@dataclass
class Pulse:
    """The longest times between two ticks of the event loop."""

    computing: float = 0.0
    """Spent by the loop's thread itself."""
    passed: float = 0.0
    """By the clock on the wall, less the time that the thread waited for a processor."""

    async def beat(self) -> None:
        computed, at = time.thread_time(), awake()
        while True:
            await asyncio.sleep(0.001)
            before, was, computed, at = computed, at, time.thread_time(), awake()
            self.computing = max(self.computing, computed - before)
            self.passed = max(self.passed, at - was)


def awake() -> float:
    """A clock that stands still while this thread waits for a processor, where the kernel says how long it did."""
    waited = int(SCHEDULER.read_text().split()[1]) / 1e9 if CAN_TELL_WAITING else 0.0
    return time.monotonic() - waited


@asynccontextmanager
async def undisturbed(*, alone: bool = True) -> AsyncGenerator[None]:
    """Make sure that the loop goes on meanwhile."""
    # The objects of all tests together are none that a service would have to look through for cycles.
    gc.collect()
    gc.freeze()
    pulse = Pulse()
    beating = asyncio.create_task(pulse.beat())
    await asyncio.sleep(0.01)
    try:
        yield
        await asyncio.sleep(0.01)  # for a last beat
    finally:
        beating.cancel()
        gc.unfreeze()
    assert pulse.computing < LONGEST_STALL_SECONDS, f"computing: {pulse}"
    # Beside threads it may also wait for the interpreter's lock, which whoever holds it may be kept from giving back.
    if alone and CAN_TELL_WAITING:
        assert pulse.passed < LONGEST_GAP_SECONDS, f"passed: {pulse}"
