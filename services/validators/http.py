"""The validator that is asked over HTTP: anybody's own, in any language. docs/validator-http.md says how to write one.

It is held to the law that a model is held to (docs/adr/0005): an answer of another form is no verdict, and a quote
that is not in the submission voids its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from services.guarded_http import CallError, GuardedHttp, Reach
from services.large_values import LARGE_BYTES, beside_the_loop, is_large
from services.ports import Reply, Report, ValidatorError, ValidatorTroubleKind
from services.redaction import Credentials
from services.signing import UnusableSecretError, signed
from services.strict_json import InvalidJsonError, canonical, parse
from services.trace import current_trace_id, traceparent
from services.validators import judgement, votes
from services.validators.judgement import Judgement, NoJudgementError
from services.validators.undecided import undecided

if TYPE_CHECKING:
    from services.guard import Guard
    from services.guarded_http import Answer
    from services.ports import Ask, JsonValue, Submission

Kind = ValidatorTroubleKind

VERSION = 1
TIMEOUT_SECONDS = 120.0

# What is no judgement is asked for twice more: a validator may well ask a model itself.
_CALLS = 3
_EXCERPT_CHARACTERS = 4_096
# What a column of the database can count; no answer costs as many.
_MANY_TOKENS = 2**31
_PASSES_BY_ITSELF = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
_OPTIONAL = frozenset({"model", "advice", "addresses_grader", "usage"})
_USAGE = frozenset({"prompt_tokens", "completion_tokens", "cost_usd"})


class HttpValidator:
    """Asks the service at `url`. Requests are signed with each of `secrets`, the present one first."""

    name = "http"

    def __init__(
        self, guard: Guard, url: str, secrets: tuple[str, ...] = (), *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._http = GuardedHttp(guard, "validator")
        self._url = url
        self._secrets = secrets
        self._timeout_seconds = timeout_seconds
        self._credentials = Credentials.of(*secrets)

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        """Decide every criterion in one call, or a few where an answer is unusable. Raises ValidatorError."""
        if not submission.criteria:
            return Report(())
        request = _request(submission)
        call = 0
        while True:
            call += 1
            exchange = _Exchange(self, submission, canonical(request), judgement.nonce(submission.seed, call))
            try:
                said = await ask(request, exchange.send, exchange.read)
            except ValidatorError as error:
                if error.kind is not Kind.INVALID or call == _CALLS:
                    raise
                continue
            if isinstance(said, Report):
                return said
            # Looking quotes up in a large answer takes half a second.
            large = is_large(submission.answer)
            return await beside_the_loop(_report, said, submission) if large else _report(said, submission)

    async def send(self, body: str, message_id: str) -> Reply:
        """Send one request. Raises ValidatorError unless the answer is about this very request."""
        with self._credentials.in_use():
            try:
                headers = signed(message_id, body, self._secrets)
                if trace := traceparent(current_trace_id.get()):
                    headers["traceparent"] = trace
                answer = await self._http.post(self._url, body, headers, timeout_seconds=self._timeout_seconds)
            except UnusableSecretError:
                message = "SIGNOFF_VALIDATOR_SECRET holds characters that an HTTP header cannot carry."
                raise ValidatorError(Kind.CONFIG, message, code="secret_unusable") from None
            except CallError as error:
                raise _unreached(error) from None
        large = len(answer.body) > LARGE_BYTES
        reply = await beside_the_loop(self._reply, answer) if large else self._reply(answer)
        if answer.is_success or answer.http_status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return reply
        raise _status_trouble(answer, reply)

    def _reply(self, answer: Answer) -> Reply:
        payload: JsonValue
        try:
            payload = parse(answer.body)
        except InvalidJsonError:
            payload = {"text": answer.body.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")}
        payload = self._credentials.blank(payload)
        if isinstance(payload, Mapping) and set(payload) == {"text"}:
            # Cut after blanking, so that the cut leaves no part of a credential.
            payload = {"text": str(payload["text"])[:_EXCERPT_CHARACTERS]}
        usage = _member(payload, "usage")
        return Reply(
            payload,
            _count(_member(usage, "prompt_tokens")),
            _count(_member(usage, "completion_tokens")),
            _amount(_member(usage, "cost_usd")),
            answer.http_status,
        )


@dataclass(frozen=True)
class _Said:
    """A whole answer of the right form; its quotes are not looked up yet."""

    judgement: Judgement
    model: str | None
    advice: str | None


@dataclass(frozen=True)
class _Exchange:
    """One call: what it sends, and what the reply means."""

    validator: HttpValidator
    submission: Submission
    body: str = field(repr=False)
    message_id: str

    async def send(self) -> Reply:
        return await self.validator.send(self.body, self.message_id)

    def read(self, reply: Reply) -> _Said | Report:
        """Make sense of a reply, new or kept. Raises ValidatorError."""
        if reply.http_status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return _too_large(self.submission)
        try:
            return _said(reply.payload, self.submission)
        except NoJudgementError as error:
            message = f"The validator's answer is no judgement: {error}."
            raise ValidatorError(Kind.INVALID, message, http_status=reply.http_status, reply=reply) from None


# ----------------------------------------------------------------------------------------------- the words of the wire


def _request(submission: Submission) -> JsonValue:
    """Say what is asked: equal submissions make equal requests, whichever process makes them."""
    job = submission.job
    return {
        "version": VERSION,
        "task": {"id": job.id, "title": job.title, "description": job.description, "input": job.input},
        "criteria": [
            {"id": criterion.id, "text": criterion.text, "required": criterion.required}
            for criterion in submission.criteria
        ],
        "submission": submission.answer,
    }


def _said(payload: JsonValue, submission: Submission) -> _Said:
    """Read a whole answer. Raises NoJudgementError unless it has the form that docs/validator-http.md asks for."""
    if not isinstance(payload, Mapping) or not {"results"} <= set(payload) <= {"results"} | _OPTIONAL:
        raise NoJudgementError(f"it is not an object of results and, perhaps, {', '.join(sorted(_OPTIONAL))}")
    addresses_grader = payload.get("addresses_grader", False)
    if not isinstance(addresses_grader, bool):
        raise NoJudgementError("addresses_grader is not a boolean")
    model, advice = (_text(payload.get(name), name) for name in ("model", "advice"))
    _check_usage(payload.get("usage", {}))
    results = judgement.read_results(payload["results"], [criterion.id for criterion in submission.criteria])
    return _Said(Judgement(addresses_grader, results), model, advice)


def _report(said: _Said, submission: Submission) -> Report:
    """Decide: every quote is looked up."""
    findings = votes.decide(said.judgement, submission, said.model or HttpValidator.name)
    return Report(findings, said.model, said.advice)


def _member(value: JsonValue, name: str) -> JsonValue:
    return value.get(name) if isinstance(value, Mapping) else None


def _text(value: JsonValue, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise NoJudgementError(f"{name} is not a string")
    return value or None


def _check_usage(usage: JsonValue) -> None:
    if (
        not isinstance(usage, Mapping)
        or not set(usage) <= _USAGE
        or any(item is not None and _amount(item) is None for item in usage.values())
    ):
        raise NoJudgementError(f"usage is not an object of {', '.join(sorted(_USAGE))}, each a number from 0")


def _amount(value: JsonValue) -> float | None:
    """A number from 0, else None. That it is finite is the parser's to know."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _count(value: JsonValue) -> int | None:
    amount = _amount(value)
    return int(amount) if amount is not None and amount < _MANY_TOKENS else None


def _too_large(submission: Submission) -> Report:
    return undecided(
        submission,
        HttpValidator.name,
        "The validator says that the job and its answer are larger than what it can look at.",
        "Ask for a shorter answer, or have the validator take larger requests (HTTP status 413).",
    )


# ------------------------------------------------------------------------------------------------------------ trouble


def _unreached(error: CallError) -> ValidatorError:
    """Say what a call without a usable answer means."""
    kind, message = Kind.UNAVAILABLE, error.message
    match error.reach:
        case Reach.NOT_ALLOWED:
            kind = Kind.CONFIG
            message = (
                "The host of SIGNOFF_VALIDATOR_URL is not public: allow its network in"
                " SIGNOFF_ALLOWED_VALIDATOR_NETWORKS."
            )
        case Reach.NOT_SENT if error.code == "tls_failed":
            kind = Kind.CONFIG
        case Reach.NOT_SENT:
            pass
        case Reach.CUT | Reach.TIMED_OUT:
            kind = Kind.TIMEOUT
        case Reach.ANSWERED:
            kind = Kind.INVALID
    return ValidatorError(kind, message, code=error.code, http_status=error.http_status)


def _status_trouble(answer: Answer, reply: Reply) -> ValidatorError:
    """Say what a status other than 2xx means."""
    status = answer.http_status
    kind, message = Kind.CONFIG, f"The validator refused the request (HTTP {status}; the log has its answer)."
    if status in _PASSES_BY_ITSELF or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind, message = Kind.UNAVAILABLE, f"The validator is busy or in trouble (HTTP {status})."
    elif status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        message = f"The validator refused the signature or the token (HTTP {status}): see SIGNOFF_VALIDATOR_SECRET."
    elif status < HTTPStatus.BAD_REQUEST:
        message = f"The validator redirects (HTTP {status}), which is not followed: mend SIGNOFF_VALIDATOR_URL."
    elif status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        message = f"There is no validator at SIGNOFF_VALIDATOR_URL (HTTP {status}): mend the address."
    return ValidatorError(
        kind,
        message,
        code=f"http_{status}",
        http_status=status,
        retry_after_seconds=answer.retry_after_seconds if kind is Kind.UNAVAILABLE else None,
        reply=reply,
    )
