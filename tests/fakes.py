"""Fakes of the ports. They pass the same contract suites (tests/contracts) as the real adapters."""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from db.records import Criterion, JsonValue, PinnedAgent, PinnedJob
from services.ports import (
    Agent,
    AgentAnswer,
    AgentError,
    AgentRequest,
    AgentTroubleKind,
    Ask,
    Delivery,
    Finding,
    InputInvalidError,
    Job,
    Previous,
    Reply,
    Report,
    Submission,
    ValidatorError,
    Verdict,
)
from services.strict_json import canonical


def pinned_job(
    input: JsonValue = None,  # noqa: A002 - the record's own word
    criteria: Sequence[Criterion] = (Criterion("crt_1", "Is right.", required=True),),
    *,
    title: str = "A title",
    description: str = "A description",
) -> PinnedJob:
    """A job as an execution pins it. No input: an empty object."""
    return PinnedJob("job_1", title, description, {} if input is None else input, tuple(criteria))


def pinned_agent(
    endpoint_url: str = "http://127.0.0.1:9/run",
    *,
    input_schema: JsonValue = None,
    output_schema: JsonValue = None,
    input_mapping: Mapping[str, str] | None = None,
    timeout_seconds: float = 10.0,
    idempotent: bool = False,
    executor: str = "http_json",
) -> PinnedAgent:
    """An agent as an execution pins it."""
    return PinnedAgent(
        "agt_1",
        "An agent",
        executor,
        endpoint_url,
        input_schema,
        output_schema,
        input_mapping,
        timeout_seconds,
        idempotent,
    )


# --------------------------------------------------------------------------------------------------- executor

Outcome: TypeAlias = "JsonValue | AgentError | Callable[[AgentRequest, Delivery], JsonValue | Awaitable[JsonValue]]"


class FakeExecutor:
    """An executor without a network.

    `outcomes` are what its calls bring, in turn, the last one for ever (none given: `{"ok": true}`): an
    answer, an AgentError to raise, or a function of request and delivery that returns or raises one and may
    be async, for instance to wait for an event of the test's. `deliveries` is what was sent. `input_errors`,
    where set, is why prepare refuses.
    """

    def __init__(self, *outcomes: Outcome, input_errors: Sequence[str] = ()) -> None:
        self.outcomes = deque[Outcome](outcomes or ({"ok": True},))
        self.input_errors = input_errors
        self.deliveries: list[tuple[AgentRequest, Delivery]] = []

    async def prepare(self, job: Job, agent: Agent, previous: Previous | None) -> AgentRequest:
        if self.input_errors:
            raise InputInvalidError(self.input_errors)
        body: dict[str, JsonValue] = {"job_id": job.id, "input": job.input}
        if previous is not None:
            body |= {"feedback": previous.feedback, "previous_answer": previous.answer}
        return AgentRequest(agent.endpoint_url, body)

    async def send(self, request: AgentRequest, delivery: Delivery) -> AgentAnswer:
        self.deliveries.append((request, delivery))
        outcome: Any = self.outcomes.popleft() if len(self.outcomes) > 1 else self.outcomes[0]
        try:
            async with asyncio.timeout(delivery.timeout_seconds):
                if callable(outcome):
                    outcome = outcome(request, delivery)
                if inspect.isawaitable(outcome):
                    outcome = await outcome
        except TimeoutError:
            raise AgentError(AgentTroubleKind.TIMEOUT, "timeout", "The agent took too long.") from None
        if isinstance(outcome, AgentError):
            raise outcome
        return AgentAnswer(cast("JsonValue", outcome), http_status=200)


# -------------------------------------------------------------------------------------------------- validator


class FakeValidator:
    """A validator whose back end answers as scripted.

    `outcomes` are what its back end says, in turn, the last one for ever (none given: PASS): a verdict on
    every criterion, verdicts by the criterion's text, or a ValidatorError to raise. An outcome is used up
    when something is sent; a reply that `ask` has from its journal needs none. `submissions` is what it was
    given.
    """

    name = "fake"

    def __init__(self, *outcomes: Verdict | Mapping[str, Verdict] | ValidatorError) -> None:
        self.outcomes = deque[Verdict | Mapping[str, Verdict] | ValidatorError](outcomes or (Verdict.PASS,))
        self.submissions: list[Submission] = []

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        self.submissions.append(submission)
        request: JsonValue = {
            "criteria": [{"id": criterion.id, "text": criterion.text} for criterion in submission.criteria],
            "submission": canonical(submission.answer),
        }

        async def send() -> Reply:
            outcome = self.outcomes.popleft() if len(self.outcomes) > 1 else self.outcomes[0]
            if isinstance(outcome, ValidatorError):
                raise outcome
            verdicts: dict[str, JsonValue] = {
                criterion.id: (outcome if isinstance(outcome, Verdict) else outcome[criterion.text]).value
                for criterion in submission.criteria
            }
            return Reply(verdicts, prompt_tokens=100, completion_tokens=20, cost_usd=0.0001, http_status=200)

        def read(reply: Reply) -> Report:
            verdicts = cast("Mapping[str, str]", reply.payload)
            return Report(
                tuple(
                    Finding(id_, Verdict(verdict), f"The fake says {verdict}.", (), self.name)
                    for id_, verdict in verdicts.items()
                ),
                model="fake-1",
            )

        return await ask(request, send, read)
