"""What trouble with an OpenAI-compatible service means: wait, have it mended, ask differently, or give up.

One table says it all. Messages name what an operator can mend and nothing that the service said: its words are in the
log's payload, and may name the operator's account.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeGuard

import httpx
from openai import APIConnectionError, APITimeoutError

from services.ports import ValidatorError, ValidatorTroubleKind
from services.strict_json import canonical

if TYPE_CHECKING:
    from services.ports import JsonValue, Reply

Kind = ValidatorTroubleKind

REQUEST_REFUSED = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""It is this very request that the service does not take, and the body says why."""

# What a request can do without, by the names that services use for it.
_OPTIONAL_PARAMETERS = {
    "temperature": "temperature",
    "seed": "seed",
    "max_completion_tokens": "max_completion_tokens",
    "max_tokens": "max_completion_tokens",
}
_PASSES_BY_ITSELF = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_EARLY,
    }
)
# How OpenAI, Azure, vLLM, llama.cpp and others word it.
_TOO_LARGE = re.compile(
    r"context_length_exceeded|string_above_max_length|context (length|window|size)|input token count"
    r"|(prompt|input|request) is too (long|large)"
)
_MODEL_UNKNOWN = re.compile(r"\bmodel\b.{0,200}\bnot (found|exist)")
_NO_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_FILTERED = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})


# ------------------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Failure:
    """One row: what kind of trouble it is, which decides what happens next, and what people are told to do."""

    kind: ValidatorTroubleKind
    message: str


_AGAIN = " Validate again; if it stays so, have SIGNOFF_OPENAI_MODEL set to another model."

FAILURES: Mapping[str, Failure] = {
    # It passes by itself: asked again with back-off, until the deadline.
    "connection_failed": Failure(Kind.UNAVAILABLE, "The connection to the OpenAI service (at OPENAI_BASE_URL) failed."),
    "rate_limited": Failure(Kind.UNAVAILABLE, "The OpenAI service limits its rate (HTTP {status})."),
    "service_in_trouble": Failure(Kind.UNAVAILABLE, "The OpenAI service is in trouble (HTTP {status})."),
    "response_broken": Failure(Kind.UNAVAILABLE, "What the OpenAI service sent is cut off or broken."),
    "timeout": Failure(Kind.TIMEOUT, "The OpenAI service gave no complete answer in time."),
    # An operator must mend it: asked again slowly, until the deadline.
    "key_refused": Failure(
        Kind.CONFIG, "The OpenAI service refused the API key (HTTP {status}): set OPENAI_API_KEY to one that is valid."
    ),
    "access_denied": Failure(
        Kind.CONFIG,
        "The OpenAI service denied access (HTTP {status}): see what OPENAI_API_KEY may do and from where, and whether"
        " it may use the model in SIGNOFF_OPENAI_MODEL.",
    ),
    "insufficient_quota": Failure(
        Kind.CONFIG, "The account of OPENAI_API_KEY has no quota left: add credit or raise its limit."
    ),
    "over_rate_limit": Failure(
        Kind.CONFIG,
        "One request is larger than what OPENAI_API_KEY may send in a minute: raise the account's rate limit, or set"
        " SIGNOFF_OPENAI_MODEL to a model with a higher one.",
    ),
    "model_not_found": Failure(
        Kind.CONFIG,
        "OPENAI_API_KEY has no access to a model {model!r}: set SIGNOFF_OPENAI_MODEL to one that it has.",
    ),
    "request_refused": Failure(
        Kind.CONFIG,
        "The OpenAI service refused the request (HTTP {status}; the log has its answer): set SIGNOFF_OPENAI_MODEL to"
        " a model that supports structured outputs in Chat Completions.",
    ),
    "no_service": Failure(
        Kind.CONFIG,
        "There is no Chat Completions service at OPENAI_BASE_URL (HTTP {status}): mend the address.",
    ),
    "web_page": Failure(
        Kind.CONFIG,
        "What answers at OPENAI_BASE_URL sends a web page instead of a Chat Completion: mend the address.",
    ),
    "invalid_base_url": Failure(Kind.CONFIG, "OPENAI_BASE_URL is not an http or https address: mend it."),
    "client_refused": Failure(Kind.CONFIG, "The OpenAI client cannot send: see OPENAI_API_KEY and OPENAI_BASE_URL."),
    # No judgement: asked again at once, under a new nonce; three times in all.
    "no_choices": Failure(
        Kind.INVALID,
        "What the OpenAI service sent is no Chat Completion with an answer: see whether OPENAI_BASE_URL is right.",
    ),
    "no_text": Failure(Kind.INVALID, "The model's answer has no text." + _AGAIN),
    "answer_not_json": Failure(Kind.INVALID, "The model's answer is no judgement: {how}." + _AGAIN),
    "wrong_form": Failure(Kind.INVALID, "The model's answer is no judgement: {how}." + _AGAIN),
    "wrong_nonce": Failure(Kind.INVALID, "The model's answer is no judgement: {how}." + _AGAIN),
    "missing_id": Failure(Kind.INVALID, "The model's answer is no judgement: {how}." + _AGAIN),
    "doubled_id": Failure(Kind.INVALID, "The model's answer is no judgement: {how}." + _AGAIN),
    "invented_id": Failure(Kind.INVALID, "The model's answer is no judgement: {how}." + _AGAIN),
    # Asked again at once with twice the room; twice in all.
    "cut_off": Failure(Kind.TRUNCATED, "The model's answer was cut off by its length." + _AGAIN),
    # A person must look: not asked again.
    "refused": Failure(Kind.REFUSED, "The model refused to judge the answer: a person has to look at it."),
    "content_filter": Failure(Kind.REFUSED, "A content filter stopped the judgement: a person has to look at it."),
}
"""All that can go wrong with a call, by the code that the log has: docs/judge.md tells the same to people."""

ASKED_IN_ALL: Mapping[ValidatorTroubleKind, int] = {Kind.INVALID: 3, Kind.TRUNCATED: 2}
"""How often a vote is asked for, one call after the other, before such trouble counts; of the others once."""


def trouble(
    code: str,
    reply: Reply | None = None,
    *,
    request_id: str | None = None,
    retry_after: float | None = None,
    **names: object,
) -> ValidatorError:
    """Make the error of one row of the table."""
    failure = FAILURES[code]
    return ValidatorError(
        failure.kind,
        failure.message.format(**names),
        code=code,
        http_status=reply.http_status if reply is not None else None,
        request_id=request_id,
        retry_after_seconds=retry_after if failure.kind is Kind.UNAVAILABLE else None,
        reply=reply,
    )


# --------------------------------------------------------------------------------------------- reading what it says


@dataclass(frozen=True)
class ErrorBody:
    """What an error response says in OpenAI's form, or in a common variation of it."""

    message: str
    words: frozenset[str]
    parameter: str | None
    status: int | None = None
    """What it gives as its HTTP status: gateways send errors of others with 200."""

    @classmethod
    def of(cls, payload: JsonValue) -> ErrorBody:
        inner = payload.get("error", payload) if isinstance(payload, Mapping) else payload
        if not isinstance(inner, Mapping):
            return cls(inner if isinstance(inner, str) else canonical(inner), frozenset(), None)
        message = inner.get("message")
        parameter = inner.get("param")
        return cls(
            message if isinstance(message, str) else canonical(inner),
            frozenset(word for word in (inner.get("code"), inner.get("type")) if isinstance(word, str)),
            parameter if isinstance(parameter, str) else None,
            next((int(word) for word in (inner.get("code"), inner.get("status")) if _is_error_status(word)), None),
        )

    def refused_parameters(self, sent: frozenset[str]) -> frozenset[str]:
        """Which of the optional parameters that were sent the service does not take."""
        named = {
            ours
            for theirs, ours in _OPTIONAL_PARAMETERS.items()
            if self.parameter == theirs or re.search(rf"\b{theirs}\b", self.message)
        }
        # The room kept for the answer counts towards the context: without it the request may fit.
        if self.is_too_large and "in the completion" in self.message:
            named.add("max_completion_tokens")
        return sent & named

    @property
    def is_too_large(self) -> bool:
        return _TOO_LARGE.search(" ".join((*self.words, self.message.lower()))) is not None

    @property
    def is_filtered(self) -> bool:
        return not _FILTERED.isdisjoint(self.words)

    @property
    def is_out_of_quota(self) -> bool:
        return not _NO_QUOTA.isdisjoint(self.words)

    @property
    def is_over_rate_limit(self) -> bool:
        """More in one request than the account may send in a minute: waiting does not help."""
        return "request too large" in self.message.lower()

    @property
    def is_unknown_model(self) -> bool:
        return (
            "model_not_found" in self.words
            or self.parameter == "model"
            or _MODEL_UNKNOWN.search(self.message.lower()) is not None
        )


def _is_error_status(word: object) -> TypeGuard[int]:
    return isinstance(word, int) and not isinstance(word, bool) and word in range(300, 600)


def connection_trouble(error: APIConnectionError, at_worst: Reply) -> ValidatorError:
    """Name the trouble of a call that brought no response; `at_worst` is what a lost one may be charged as."""
    cause = error.__cause__
    if isinstance(cause, httpx.UnsupportedProtocol):
        return trouble("invalid_base_url")
    if isinstance(error, APITimeoutError) and not isinstance(cause, httpx.ConnectTimeout | httpx.PoolTimeout):
        return trouble("timeout", at_worst)
    return trouble("connection_failed")


def status_trouble(
    status: int, model: str, reply: Reply, request_id: str | None, headers: Mapping[str, str]
) -> ValidatorError:
    """Name the trouble that a response with an error status tells of."""
    return trouble(
        _row_of(status, ErrorBody.of(reply.payload)),
        reply,
        request_id=request_id,
        retry_after=retry_after_seconds(headers, time.time()),
        status=status,
        model=model,
    )


def _row_of(status: int, said: ErrorBody) -> str:
    if status == HTTPStatus.PAYMENT_REQUIRED or said.is_out_of_quota:
        return "insufficient_quota"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "over_rate_limit" if said.is_over_rate_limit else "rate_limited"
    if status in _PASSES_BY_ITSELF or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "service_in_trouble"
    if said.is_filtered:
        return "content_filter"
    if said.is_unknown_model:
        return "model_not_found"
    if status == HTTPStatus.UNAUTHORIZED:
        return "key_refused"
    if status == HTTPStatus.FORBIDDEN:
        return "access_denied"
    return "request_refused" if status in REQUEST_REFUSED else "no_service"


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Read when to ask again: milliseconds, seconds or an HTTP date. `now` is Unix time."""
    for name, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers[name]) / divisor
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    try:
        date = email.utils.parsedate_to_datetime(headers["retry-after"])
        return max(date.timestamp() - now, 0.0)
    except (KeyError, ValueError, OverflowError):
        return None
