"""The judge that asks an OpenAI model over Chat Completions: OpenAI's own service or a compatible one."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httpx
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError

from services.ports import Finding, Reply, Report, ValidatorError, ValidatorTroubleKind, Verdict
from services.strict_json import InvalidJsonError, parse
from services.validators import judgement
from services.validators.judgement import NoJudgementError
from services.validators.openai_prices import cost_usd
from services.validators.openai_trouble import (
    REQUEST_REFUSED,
    ErrorBody,
    connection_trouble,
    status_trouble,
    timed_out,
)

if TYPE_CHECKING:
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

    from services.ports import Ask, JsonValue, Submission

Kind = ValidatorTroubleKind

OPENAI_URL = "https://api.openai.com/v1"
_CONNECT_SECONDS = 10.0

# What is no judgement is asked for again twice; what was cut off once, with twice the room.
_CALLS = {Kind.INVALID: 3, Kind.TRUNCATED: 2}

# A result is an id, a few quotes and a sentence. Models that reason spend far more before its first word.
_TOKENS = 2_000
_TOKENS_PER_CRITERION = 400
_REASONING_TOKENS = 25_000
# Models that reason take neither temperature nor seed. They are known by name, not by what this process
# happened to learn: after a crash another process has to build an equal request.
_REASONING_MODEL = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9])")

# Prose has four characters a token; identifiers and other scripts have fewer.
_LEAST_CHARACTERS_PER_TOKEN = 3

# How much is kept, for the log, of a response that is no JSON.
_TEXT_CHARACTERS = 4_096
# Shorter keys are placeholders ("none", "ollama") for services that want none.
_SHORTEST_SECRET = 8


def openai_client(api_key: str, base_url: str | None, timeout_seconds: float) -> AsyncOpenAI:
    """Make the client that a judge needs; whoever makes it closes it.

    It does not retry: every try belongs in the log. It runs on httpx, whose requests tests can see.
    Raises ValueError for a key that cannot stand in a header.
    """
    if not api_key or not all("!" <= character <= "~" for character in api_key):
        raise ValueError("OPENAI_API_KEY is empty or holds other characters than visible ASCII ones.")
    http_client = httpx.AsyncClient(
        timeout=httpx.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds)),
        # A connection for each execution that one process may have in flight; a tenth of them is kept.
        limits=httpx.Limits(max_connections=1_000, max_keepalive_connections=100),
    )
    return AsyncOpenAI(
        api_key=api_key,
        base_url=base_url or OPENAI_URL,
        max_retries=0,
        timeout=timeout_seconds,
        # Works, though the client's types know only its own httpx2.
        http_client=cast("Any", http_client),
    )


@dataclass(frozen=True)
class OpenAIJudge:
    """Has a model judge what code cannot. Without a client (no API key) it asks nobody and is unsure.

    `timeout_seconds` bounds a whole call. A document of more than `max_submission_chars` is not sent: at four
    characters a token the default nearly fills 128,000 tokens, the smallest context of today's models.
    """

    client: AsyncOpenAI | None = field(repr=False)
    model: str
    _: KW_ONLY
    timeout_seconds: float = 120.0
    max_submission_chars: int = 400_000
    name: str = field(default="openai", init=False)

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        """Decide every criterion in one call, or a few where an answer is unusable. Raises ValidatorError."""
        if not submission.criteria:
            return Report(())
        if self.client is None:
            return undecided(
                submission,
                "No validator is configured that could judge this.",
                "Set OPENAI_API_KEY and validate again, or give the criteria an expression or a JSON Schema.",
            )
        settings = _Settings.fitting(self.model, len(submission.criteria))
        failures: Counter[ValidatorTroubleKind] = Counter()
        call = 0
        while True:
            call += 1
            exchange = _Exchange(self, self.client, submission, call, settings)
            if len(exchange.document) > self.max_submission_chars:
                return too_large(submission)
            try:
                outcome = await ask(cast("JsonValue", exchange.body), exchange.send, exchange.read)
            except ValidatorError as error:
                failures[error.kind] += 1
                if failures[error.kind] >= _CALLS.get(error.kind, 1):
                    raise
                settings = settings.after(error.kind)
                continue
            if isinstance(outcome, Report):
                return outcome
            settings = settings.without(outcome)

    def worst_case_usd(self, criteria: int) -> float | None:
        """The most that one validation may cost: every call as large and as long as may be."""
        if self.client is None:
            return 0.0
        settings = _Settings.fitting(self.model, criteria).after(Kind.TRUNCATED)
        written = len(judgement.RULES) + self.max_submission_chars + len(judgement.REMINDER)
        prompt, completion = written // _LEAST_CHARACTERS_PER_TOKEN, settings.max_completion_tokens or 0
        once = cost_usd(self.model, prompt, 0, completion)
        return None if once is None else once * sum(_CALLS.values())


def undecided(submission: Submission, rationale: str, advice: str) -> Report:
    """Report that nothing could be judged, and what a person can do about it."""
    return Report(
        tuple(
            Finding(criterion.id, Verdict.UNSURE, rationale, (), OpenAIJudge.name) for criterion in submission.criteria
        ),
        advice=advice,
    )


def too_large(submission: Submission) -> Report:
    return undecided(
        submission,
        "The job and its answer together are larger than what the model can read at once.",
        "Ask for a shorter answer, or set SIGNOFF_OPENAI_MODEL to a model with a larger context.",
    )


@dataclass(frozen=True)
class _Settings:
    """The parts of a request that not every service takes; what is None is not sent."""

    temperature: float | None
    is_seeded: bool
    max_completion_tokens: int | None

    @classmethod
    def fitting(cls, model: str, criteria: int) -> _Settings:
        tokens = _TOKENS + _TOKENS_PER_CRITERION * criteria
        if _REASONING_MODEL.match(model):
            return cls(None, is_seeded=False, max_completion_tokens=_REASONING_TOKENS + tokens)
        return cls(0.0, is_seeded=True, max_completion_tokens=tokens)

    def without(self, parameters: frozenset[str]) -> _Settings:
        return _Settings(
            None if "temperature" in parameters else self.temperature,
            self.is_seeded and "seed" not in parameters,
            None if "max_completion_tokens" in parameters else self.max_completion_tokens,
        )

    def after(self, trouble: ValidatorTroubleKind) -> _Settings:
        if trouble is not Kind.TRUNCATED or self.max_completion_tokens is None:
            return self
        return replace(self, max_completion_tokens=2 * self.max_completion_tokens)


class _Exchange:
    """One call: its request, how it is sent, and what its reply means."""

    def __init__(
        self,
        judge: OpenAIJudge,
        client: AsyncOpenAI,
        submission: Submission,
        call: int,
        settings: _Settings,
    ) -> None:
        self._judge = judge
        self._client = client
        self._submission = submission
        self._nonce = judgement.nonce(submission.seed, call)
        self._request_id: str | None = None
        self.document = judgement.document(submission, self._nonce)
        self.body = self._body(settings)

    def _body(self, settings: _Settings) -> CompletionCreateParamsNonStreaming:
        body: CompletionCreateParamsNonStreaming = {
            "model": self._judge.model,
            "messages": [
                {"role": "system", "content": judgement.RULES},
                {"role": "user", "content": self.document},
                {"role": "user", "content": judgement.REMINDER},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "judgement", "strict": True, "schema": judgement.ANSWER_SCHEMA},
            },
        }
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.is_seeded:
            # 31 bits, which every service takes. The nonce is no secret once it is sent.
            body["seed"] = int(self._nonce[:8], 16) >> 1
        if settings.max_completion_tokens is not None:
            body["max_completion_tokens"] = settings.max_completion_tokens
        return body

    # ----------------------------------------------------------------------------------------------- sending

    def _at_worst(self) -> Reply:
        """What a call may cost whose answer is lost: a token for every three characters, and all that it may answer."""
        written = len(judgement.RULES) + len(self.document) + len(judgement.REMINDER)
        prompt, completion = written // _LEAST_CHARACTERS_PER_TOKEN, self.body.get("max_completion_tokens") or 0
        cost = cost_usd(self._judge.model, prompt, 0, completion)
        return Reply(None, prompt_tokens=prompt, completion_tokens=completion, cost_usd=cost)

    async def send(self) -> Reply:
        """Send the request once. Raises ValidatorError unless the response is about this very request."""
        try:
            # The client's own time-out starts anew with every byte, and so never ends a dripping response.
            async with asyncio.timeout(self._judge.timeout_seconds):
                response = await self._client.chat.completions.with_raw_response.create(**self.body)
        # Nothing is chained: what the service or the client says may repeat the key.
        except TimeoutError:
            raise timed_out(self._at_worst()) from None
        except APIConnectionError as error:
            raise connection_trouble(error, self._at_worst()) from None
        except APIStatusError as error:
            reply = self._reply(error.status_code, error.response.content, error.response.headers)
            if error.status_code in REQUEST_REFUSED:
                return reply
            raise status_trouble(
                error.status_code, self._judge.model, reply, self._request_id, error.response.headers
            ) from None
        except OpenAIError:
            message = "The OpenAI client cannot send: see OPENAI_API_KEY and OPENAI_BASE_URL."
            raise ValidatorError(Kind.CONFIG, message, code="client_refused") from None
        return self._reply(response.status_code, response.content, response.headers)

    def _reply(self, status: int, content: bytes, headers: Mapping[str, str]) -> Reply:
        self._request_id = headers.get("x-request-id")
        try:
            payload = parse(content)
        except InvalidJsonError:
            text = content[: 4 * _TEXT_CHARACTERS].decode(errors="replace")[:_TEXT_CHARACTERS]
            payload = {"text": text.replace("\0", "\N{REPLACEMENT CHARACTER}")}
        payload = _redacted(payload, self._client.api_key)
        usage = _member(payload, "usage")
        prompt_tokens = _count(_member(usage, "prompt_tokens"))
        completion_tokens = _count(_member(usage, "completion_tokens"))
        cost = None
        if prompt_tokens is not None and completion_tokens is not None:
            cached = _count(_member(_member(usage, "prompt_tokens_details"), "cached_tokens"))
            cost = cost_usd(self._judge.model, prompt_tokens, cached or 0, completion_tokens)
        return Reply(payload, prompt_tokens, completion_tokens, cost, status)

    # ----------------------------------------------------------------------------------------------- reading

    def read(self, reply: Reply) -> Report | frozenset[str]:
        """Make sense of a reply, new or kept: a report, or the optional parameters to go without.

        Those are no error: after one that an operator must mend, the whole validation waits. Raises
        ValidatorError.
        """
        status = reply.http_status
        if status is not None and status in REQUEST_REFUSED:
            return self._read_refusal(status, reply)
        content = self._content(reply)
        try:
            ids = [criterion.id for criterion in self._submission.criteria]
            answer = judgement.read(content, self._nonce, ids)
        except NoJudgementError as error:
            message = f"The model's answer is no judgement: {error}."
            raise self._trouble(Kind.INVALID, message, reply) from None
        said_model = _member(reply.payload, "model")
        model = said_model if isinstance(said_model, str) and said_model else self._judge.model
        advice = None
        if answer.addresses_grader:
            advice = "The answer speaks to whoever judges it, so a model's word is not enough: look at it."
        return Report(judgement.decide(answer, self._submission.answer, model), model, advice)

    def _read_refusal(self, status: int, reply: Reply) -> Report | frozenset[str]:
        said = ErrorBody.of(reply.payload)
        refused = said.refused_parameters(frozenset(self.body))
        if refused:
            return refused
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or said.is_too_large:
            return too_large(self._submission)
        raise status_trouble(status, self._judge.model, reply, self._request_id, {})

    def _content(self, reply: Reply) -> str:
        """Find the model's words in a Chat Completion. Raises ValidatorError where there are none."""
        choice = _first(_member(reply.payload, "choices"))
        message = _member(choice, "message")
        finish_reason = _member(choice, "finish_reason")
        if finish_reason == "content_filter" or _member(message, "refusal"):
            code = "content_filter" if finish_reason == "content_filter" else "refused"
            text = "The model refused to judge the answer, or a content filter did: a person has to look at it."
            raise self._trouble(Kind.REFUSED, text, reply, code)
        if finish_reason == "length":
            raise self._trouble(Kind.TRUNCATED, "The model's answer was cut off by its length.", reply)
        if message is None:
            text = "What the OpenAI service sent is no Chat Completion: see whether OPENAI_BASE_URL is right."
            raise self._trouble(Kind.INVALID, text, reply)
        content = _member(message, "content")
        if not isinstance(content, str):
            raise self._trouble(Kind.INVALID, "The model's answer has no text.", reply)
        return content

    def _trouble(
        self, kind: ValidatorTroubleKind, message: str, reply: Reply, code: str | None = None
    ) -> ValidatorError:
        return ValidatorError(
            kind,
            message,
            code=code,
            http_status=reply.http_status,
            request_id=self._request_id,
            reply=reply,
        )


def _member(value: JsonValue, name: str) -> JsonValue:
    return value.get(name) if isinstance(value, Mapping) else None


def _first(value: JsonValue) -> JsonValue:
    return value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else None


def _count(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _redacted(value: JsonValue, secret: str) -> JsonValue:
    """Blank the API key wherever a service repeats it."""
    if len(secret) < _SHORTEST_SECRET:
        return value
    if isinstance(value, str):
        return value.replace(secret, "[redacted]")
    if isinstance(value, Mapping):
        return {name.replace(secret, "[redacted]"): _redacted(item, secret) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [_redacted(item, secret) for item in value]
    return value
