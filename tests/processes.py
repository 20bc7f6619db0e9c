"""Programs of ours as processes of their own, for as long as a block."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60


@contextmanager
def process(module: list[str], environment: dict[str, str], log: Path, ready: str) -> Generator[str]:
    """Run a module for as long as the block; yields what `ready` finds in what it prints, once it does."""
    with log.open("w") as output:
        command = [sys.executable, "-m", *module]
        started = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = time.monotonic() + START_SECONDS
        while (found := re.search(ready, log.read_text(), re.MULTILINE)) is None:
            assert started.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield found[1]
    finally:
        started.send_signal(signal.SIGINT)  # unlike SIGTERM, it gives nobody time to notice
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
