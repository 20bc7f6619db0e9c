"""The judge that asks an OpenAI model over Chat Completions: OpenAI's own service or a compatible one."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httpx
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError

from services.evidence import Quotable
from services.ports import Reply, Report, ValidatorError, ValidatorTroubleKind
from services.strict_json import InvalidJsonError, parse
from services.validators import judgement, tripwire
from services.validators.judgement import Judgement, NoJudgementError
from services.validators.openai_prices import Price, cost_usd, price_of
from services.validators.openai_trouble import (
    ASKED_IN_ALL,
    REQUEST_REFUSED,
    ErrorBody,
    connection_trouble,
    status_trouble,
    trouble,
)
from services.validators.undecided import undecided
from services.validators.votes import Ballot

if TYPE_CHECKING:
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

    from services.ports import Ask, Criterion, JsonValue, Submission

Kind = ValidatorTroubleKind

OPENAI_URL = "https://api.openai.com/v1"
_CONNECT_SECONDS = 10.0

# Later and by itself: of a vote that is missing only for now, the rest is not counted.
_ASKED_LATER = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.CONFIG})

# A result is an id, a few quotes and a sentence. Models that reason spend far more before its first word.
_TOKENS = 2_000
_TOKENS_PER_CRITERION = 400
_REASONING_TOKENS = 25_000
# Models that reason take neither temperature nor seed. They are known by name, so that another process, which may
# have to go on with a validation, builds an equal request without having learnt it.
_REASONING_MODEL = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9])")

# Whatever else is in a request. How much room an answer may have depends on how large the request is.
_REFUSED_FOR_GOOD = frozenset({"temperature", "seed"})
# More validations than one process has under way.
_MOST_BEGUN = 10_000

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


class Memory:
    """Which parameters the service does not take, so that they are refused once and not in every validation.

    A validation goes on with those that it began with: an interrupted one has to build the requests that its
    journal has. Another process knows nothing of them, and asks at worst for what it has to learn.
    """

    def __init__(self) -> None:
        self._refused: frozenset[str] = frozenset()
        self._begun: OrderedDict[str, frozenset[str]] = OrderedDict()

    def begin(self, seed: str) -> frozenset[str]:
        """What the validation of this seed goes without."""
        begun = self._begun.setdefault(seed, self._refused)
        while len(self._begun) > _MOST_BEGUN:
            self._begun.popitem(last=False)
        return begun

    def learn(self, refused: frozenset[str]) -> None:
        """Remember for the validations to come what is refused whatever the request."""
        self._refused |= refused & _REFUSED_FOR_GOOD


@dataclass(frozen=True)
class OpenAIJudge:
    """Has a model judge what code cannot.

    `timeout_seconds` bounds a whole call, `max_calls` a whole validation. A document of more than
    `max_submission_chars` is not sent: at four characters a token the default nearly fills 128,000 tokens, the
    smallest context of today's models.
    """

    client: AsyncOpenAI = field(repr=False)
    model: str
    _: KW_ONLY
    timeout_seconds: float = 120.0
    max_submission_chars: int = 400_000
    max_calls: int = 5
    price: Price | None = None
    """What the model costs, where that is not its list price."""
    name: str = field(default="openai", init=False)
    memory: Memory = field(default_factory=Memory, init=False, repr=False, compare=False)

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        """Decide every criterion: mostly in one call, in a few where that may help. Raises ValidatorError."""
        if not submission.criteria:
            return Report(())
        if len(judgement.document(submission, judgement.nonce(submission.seed, 1))) > self.max_submission_chars:
            return too_large(submission)
        return await _Validation(self, submission, ask).report()

    def worst_case_usd(self, criteria: int) -> float | None:
        """The most that one validation may cost: every call as large as may be, and all but the first cut off."""
        settings = _Settings.fitting(self.model, criteria)
        written = len(judgement.RULES) + self.max_submission_chars + len(judgement.REMINDER) + len(judgement.WARNING)
        prompt = written // _LEAST_CHARACTERS_PER_TOKEN
        total = 0.0
        for _ in range(self.max_calls):
            cost = cost_usd(self.price or price_of(self.model), prompt, 0, settings.max_completion_tokens or 0)
            if cost is None:
                return None
            total += cost
            settings = _Settings.fitting(self.model, criteria).after(Kind.TRUNCATED)
        return total


def too_large(submission: Submission) -> Report:
    return undecided(
        submission,
        OpenAIJudge.name,
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


@dataclass(frozen=True)
class _Vote:
    """A judgement, who made it, and what the service says of the machinery that it ran on."""

    judgement: Judgement
    model: str
    fingerprint: str | None


class _TooLargeError(Exception):
    """The service says that the model cannot read it all."""


class _Validation:
    """One validation: as many votes as may help, each in as many calls as it takes."""

    def __init__(self, judge: OpenAIJudge, submission: Submission, ask: Ask) -> None:
        self._judge = judge
        self._submission = submission
        self._ask = ask
        settings = _Settings.fitting(judge.model, len(submission.criteria))
        self._settings = settings.without(judge.memory.begin(submission.seed))
        self._call = 0
        # Requests that were refused for a parameter: no call of the model was made.
        self._refused = 0

    @property
    def _calls(self) -> int:
        """How many calls of the model were made."""
        return self._call - self._refused

    async def report(self) -> Report:
        """Ask for votes until no further one may help or can be had. Raises ValidatorError."""
        answer = self._submission.answer
        # In a thread: a large answer takes half a second.
        ballot = await asyncio.to_thread(
            lambda: Ballot(self._submission.criteria, Quotable(answer), tripwire.suspicion(answer))
        )
        votes: list[_Vote] = []
        stopped: str | None = None
        while criteria := ballot.to_ask():
            if votes and self._calls >= self._judge.max_calls:
                stopped = f"{self._calls} calls are all that SIGNOFF_JUDGE_MAX_CALLS allows"
                break
            try:
                vote = await self._vote(criteria, ballot)
            except _TooLargeError:
                return too_large(self._submission)
            except ValidatorError as error:
                # What comes later by itself is waited for; else what is there has to do.
                if not votes or error.kind in _ASKED_LATER:
                    raise
                stopped = f"another vote was not to be had: {error.message.rstrip('.')}"
                break
            votes.append(vote)
            ballot.count(vote.judgement)
        model = votes[-1].model
        fingerprints = dict.fromkeys(vote.fingerprint for vote in votes if vote.fingerprint)
        return Report(
            ballot.findings(model, stopped),
            model,
            _advice(ballot, stopped),
            votes=ballot.votes,
            prompt=judgement.PROMPT,
            system_fingerprint=", ".join(fingerprints) or None,
        )

    async def _vote(self, criteria: Sequence[Criterion], ballot: Ballot) -> _Vote:
        """Have the model judge these criteria. Raises ValidatorError, _TooLargeError."""
        failures: Counter[ValidatorTroubleKind] = Counter()
        # Each time from the other end, so that votes do not agree on what comes first.
        ordered = criteria[::-1] if ballot.votes % 2 else criteria
        while True:
            self._call += 1
            exchange = _Exchange(
                self._judge,
                self._submission,
                self._call,
                self._settings,
                ordered,
                is_suspect=ballot.suspicion is not None,
            )
            try:
                outcome = await self._ask(
                    cast("JsonValue", exchange.body),
                    exchange.send,
                    exchange.read,
                    at_most_usd=exchange.at_worst().cost_usd,
                )
            except ValidatorError as error:
                failures[error.kind] += 1
                is_last = failures[error.kind] >= ASKED_IN_ALL.get(error.kind, 1)
                if is_last or self._calls >= self._judge.max_calls:
                    raise
                self._settings = self._settings.after(error.kind)
                continue
            if isinstance(outcome, _Vote):
                return outcome
            if not outcome:
                raise _TooLargeError
            self._refused += 1
            self._judge.memory.learn(outcome)
            self._settings = self._settings.without(outcome)


def _advice(ballot: Ballot, stopped: str | None) -> str | None:
    """What a person can do about what could not be decided."""
    if ballot.suspicion is not None:
        return (
            f"It looks as if the answer speaks to whoever judges it ({ballot.suspicion}), so a model's word is not"
            " enough: look at it yourself. Execute again for another answer, or have an admin complete the job with"
            " this one."
        )
    return None if stopped is None else f"It was not judged again because {stopped}."


class _Exchange:
    """One call: its request, how it is sent, and what its reply means."""

    def __init__(
        self,
        judge: OpenAIJudge,
        submission: Submission,
        call: int,
        settings: _Settings,
        criteria: Sequence[Criterion],
        *,
        is_suspect: bool,
    ) -> None:
        self._judge = judge
        self._criteria = criteria
        self._nonce = judgement.nonce(submission.seed, call)
        self._request_id: str | None = None
        self._document = judgement.document(submission, self._nonce, criteria)
        self._reminder = judgement.REMINDER + (judgement.WARNING if is_suspect else "")
        self.body = self._body(settings)

    def _body(self, settings: _Settings) -> CompletionCreateParamsNonStreaming:
        body: CompletionCreateParamsNonStreaming = {
            "model": self._judge.model,
            "messages": [
                {"role": "system", "content": judgement.RULES},
                {"role": "user", "content": self._document},
                {"role": "user", "content": self._reminder},
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

    def at_worst(self) -> Reply:
        """What a call may cost at most: a token for every three characters, and all that it may answer."""
        written = len(judgement.RULES) + len(self._document) + len(self._reminder)
        prompt, completion = written // _LEAST_CHARACTERS_PER_TOKEN, self.body.get("max_completion_tokens") or 0
        cost = cost_usd(self._judge.price or price_of(self._judge.model), prompt, 0, completion)
        return Reply(None, prompt_tokens=prompt, completion_tokens=completion, cost_usd=cost)

    async def send(self) -> Reply:
        """Send the request once. Raises ValidatorError unless the response is about this very request."""
        try:
            # The client's own time-out starts anew with every byte, and so never ends a dripping response.
            async with asyncio.timeout(self._judge.timeout_seconds):
                response = await self._judge.client.chat.completions.with_raw_response.create(**self.body)
        # Nothing is chained: what the service or the client says may repeat the key.
        except TimeoutError:
            raise trouble("timeout", self.at_worst()) from None
        except APIConnectionError as error:
            raise connection_trouble(error, self.at_worst()) from None
        except APIStatusError as error:
            reply = self._reply(error.status_code, error.response.content, error.response.headers)
            if error.status_code in REQUEST_REFUSED:
                return reply
            raise status_trouble(
                error.status_code, self._judge.model, reply, self._request_id, error.response.headers
            ) from None
        except OpenAIError:
            raise trouble("client_refused") from None
        return self._reply(response.status_code, response.content, response.headers)

    def _reply(self, status: int, content: bytes, headers: Mapping[str, str]) -> Reply:
        self._request_id = headers.get("x-request-id")
        try:
            payload = parse(content)
        except InvalidJsonError:
            text = content[: 4 * _TEXT_CHARACTERS].decode(errors="replace")[:_TEXT_CHARACTERS]
            payload = {"text": text.replace("\0", "\N{REPLACEMENT CHARACTER}")}
        payload = _redacted(payload, self._judge.client.api_key)
        usage = _member(payload, "usage")
        prompt_tokens = _count(_member(usage, "prompt_tokens"))
        completion_tokens = _count(_member(usage, "completion_tokens"))
        cost = None
        if prompt_tokens is not None and completion_tokens is not None:
            cached = _count(_member(_member(usage, "prompt_tokens_details"), "cached_tokens"))
            cost = cost_usd(
                self._judge.price or price_of(self._judge.model), prompt_tokens, cached or 0, completion_tokens
            )
        return Reply(payload, prompt_tokens, completion_tokens, cost, status)

    # ----------------------------------------------------------------------------------------------- reading

    def read(self, reply: Reply) -> _Vote | frozenset[str]:
        """Make sense of a reply, new or kept: a vote, or the optional parameters to go without.

        Those are no error: after one that an operator must mend, the whole validation waits. None of them to go
        without: it is too large. Raises ValidatorError.
        """
        status = reply.http_status
        if status is not None and status in REQUEST_REFUSED:
            return self._read_refusal(status, reply)
        said = ErrorBody.of(reply.payload)
        choices = _member(reply.payload, "choices")
        if choices is None and _member(reply.payload, "error") is not None:
            # As it would be with the status that it should have had.
            status = said.status or HTTPStatus.BAD_GATEWAY
            if status in REQUEST_REFUSED:
                return self._read_refusal(status, reply)
            raise status_trouble(status, self._judge.model, reply, self._request_id, {})
        content = self._content(reply)
        try:
            ids = [criterion.id for criterion in self._criteria]
            answer = judgement.read(content, self._nonce, ids)
        except NoJudgementError as error:
            raise self._trouble(error.code, reply, how=error) from None
        model = _member(reply.payload, "model")
        fingerprint = _member(reply.payload, "system_fingerprint")
        return _Vote(
            answer,
            model if isinstance(model, str) and model else self._judge.model,
            fingerprint if isinstance(fingerprint, str) and fingerprint else None,
        )

    def _read_refusal(self, status: int, reply: Reply) -> frozenset[str]:
        said = ErrorBody.of(reply.payload)
        refused = said.refused_parameters(frozenset(self.body))
        if refused or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or said.is_too_large:
            return refused
        raise status_trouble(status, self._judge.model, reply, self._request_id, {})

    def _content(self, reply: Reply) -> str:
        """Find the model's words in a Chat Completion. Raises ValidatorError where there are none."""
        text = _member(reply.payload, "text")
        if isinstance(text, str) and _member(reply.payload, "choices") is None:
            raise self._trouble("web_page" if text.lstrip().startswith("<") else "response_broken", reply)
        choice = _first(_member(reply.payload, "choices"))
        message = _member(choice, "message")
        finish_reason = _member(choice, "finish_reason")
        if finish_reason == "content_filter":
            raise self._trouble("content_filter", reply)
        if _member(message, "refusal"):
            raise self._trouble("refused", reply)
        if finish_reason == "length":
            raise self._trouble("cut_off", reply)
        if message is None:
            raise self._trouble("no_choices", reply)
        content = _member(message, "content")
        if not isinstance(content, str):
            raise self._trouble("no_text", reply)
        return content

    def _trouble(self, code: str, reply: Reply, how: NoJudgementError | None = None) -> ValidatorError:
        return trouble(code, reply, request_id=self._request_id, how=how)


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
