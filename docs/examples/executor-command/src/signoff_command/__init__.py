"""An executor whose agents are programs: the job is written to standard input, the answer is read from standard output.

Which programs there are is the operator's to say, in SIGNOFF_COMMAND_DIRECTORY; an agent only names one, as the last
part of its endpoint URL (`https://commands.example.org/summarise` runs `summarise` in that directory).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from services.ports import AgentAnswer, AgentError, AgentRequest, AgentTroubleKind, InputInvalidError

if TYPE_CHECKING:
    from services.ports import Agent, Delivery, Job, JsonValue, Previous

# What programs are told of the environment.
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


class Command:
    """Made once, when the service starts."""

    def __init__(self) -> None:
        self._directory = Path(os.environ["SIGNOFF_COMMAND_DIRECTORY"])

    async def prepare(self, job: Job, agent: Agent, previous: Previous | None) -> AgentRequest:
        """Say what would be sent. It is shown as a preview and built anew after a crash: it only depends on these."""
        if not isinstance(job.input, Mapping):
            raise InputInvalidError(["the job's input must be an object"])
        body: dict[str, JsonValue] = {**job.input, "task": job.description or job.title}
        if previous is not None:
            body["feedback"] = previous.feedback
        return AgentRequest(agent.endpoint_url, body)

    async def send(self, request: AgentRequest, delivery: Delivery) -> AgentAnswer:
        """Run the program once. What went wrong, and whether it may be tried again, is the kind of the error."""
        name = request.url.rsplit("/", 1)[-1]
        program = self._directory / name
        if not re.fullmatch(r"[\w-]+", name) or not program.is_file():
            raise AgentError(AgentTroubleKind.FAILED, "no_program", f"There is no program {name!r} here.")
        process = await asyncio.create_subprocess_exec(
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Not this process's own, which holds the service's secrets. The same key means: this request once more.
            env={**_passed_on(), "IDEMPOTENCY_KEY": delivery.idempotency_key},
        )
        try:
            async with asyncio.timeout(delivery.timeout_seconds):
                written, _ = await process.communicate(json.dumps(request.body).encode())
        except TimeoutError:
            message = f"The program {name!r} did not end in time."
            raise AgentError(AgentTroubleKind.TIMEOUT, "timeout", message) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            message = f"The program {name!r} ended with status {process.returncode}."
            raise AgentError(AgentTroubleKind.FAILED, "failed", message)
        try:
            return AgentAnswer(json.loads(written))
        except ValueError:
            message = "the program wrote something that is not JSON."
            raise AgentError(AgentTroubleKind.ANSWER_INVALID, "answer_not_json", message) from None


def _passed_on() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}
