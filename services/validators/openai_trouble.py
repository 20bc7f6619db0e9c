"""What trouble with an OpenAI-compatible service means: wait, have it mended, ask differently, or give up.

Messages name what an operator can mend and nothing that the service said: its words are in the log's payload,
and may name the operator's account.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

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
        HTTPStatus.TOO_MANY_REQUESTS,
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


@dataclass(frozen=True)
class ErrorBody:
    """What an error response says in OpenAI's form, or in a common variation of it."""

    message: str
    words: frozenset[str]
    parameter: str | None

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


def timed_out(at_worst: Reply) -> ValidatorError:
    """Name the trouble of an answer that was lost; `at_worst` is what the service may charge for it all the same."""
    message = "The OpenAI service gave no complete answer in time."
    return ValidatorError(Kind.TIMEOUT, message, code="timeout", reply=at_worst)


def connection_trouble(error: APIConnectionError, at_worst: Reply) -> ValidatorError:
    """Name the trouble of a call that brought no response."""
    cause = error.__cause__
    if isinstance(cause, httpx.UnsupportedProtocol):
        message = "OPENAI_BASE_URL is not an http or https address: mend it."
        return ValidatorError(Kind.CONFIG, message, code="invalid_base_url")
    if isinstance(error, APITimeoutError) and not isinstance(cause, httpx.ConnectTimeout | httpx.PoolTimeout):
        return timed_out(at_worst)
    message = "The connection to the OpenAI service (at OPENAI_BASE_URL) failed."
    return ValidatorError(Kind.UNAVAILABLE, message, code="connection_failed")


def status_trouble(
    status: int, model: str, reply: Reply, request_id: str | None, headers: Mapping[str, str]
) -> ValidatorError:
    """Name the trouble that a response with an error status tells of."""
    kind, code, message = _meaning(status, model, ErrorBody.of(reply.payload))
    return ValidatorError(
        kind,
        message,
        code=code,
        http_status=status,
        request_id=request_id,
        retry_after_seconds=retry_after_seconds(headers, time.time()) if kind is Kind.UNAVAILABLE else None,
        reply=reply,
    )


def _meaning(status: int, model: str, said: ErrorBody) -> tuple[ValidatorTroubleKind, str, str]:
    code = f"http_{status}"
    if status == HTTPStatus.PAYMENT_REQUIRED or said.is_out_of_quota:
        message = "The account of OPENAI_API_KEY has no quota left: add credit or raise its limit."
        return Kind.CONFIG, "insufficient_quota", message
    if status == HTTPStatus.TOO_MANY_REQUESTS and said.is_over_rate_limit:
        message = (
            "One request is larger than what OPENAI_API_KEY may send in a minute: raise the account's rate"
            " limit, or set SIGNOFF_OPENAI_MODEL to a model with a higher one."
        )
        return Kind.CONFIG, "over_rate_limit", message
    if status in _PASSES_BY_ITSELF or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        what = "limits its rate" if status == HTTPStatus.TOO_MANY_REQUESTS else "is in trouble"
        return Kind.UNAVAILABLE, code, f"The OpenAI service {what} (HTTP {status})."
    if said.is_filtered:
        message = "A content filter refused the request: a person has to look at the answer."
        return Kind.REFUSED, "content_filter", message
    if said.is_unknown_model:
        message = f"OPENAI_API_KEY has no access to a model {model!r}: set SIGNOFF_OPENAI_MODEL to one that it has."
        return Kind.CONFIG, "model_not_found", message
    return Kind.CONFIG, code, _what_to_mend(status)


def _what_to_mend(status: int) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "The OpenAI service refused the API key (HTTP 401): set OPENAI_API_KEY to one that is valid."
    if status == HTTPStatus.FORBIDDEN:
        return (
            "The OpenAI service denied access (HTTP 403): see what OPENAI_API_KEY may do and from where, and"
            " whether it may use the model in SIGNOFF_OPENAI_MODEL."
        )
    if status in REQUEST_REFUSED:
        return (
            f"The OpenAI service refused the request (HTTP {status}; the log has its answer): set"
            " SIGNOFF_OPENAI_MODEL to a model that supports structured outputs in Chat Completions."
        )
    return f"There is no Chat Completions service at OPENAI_BASE_URL (HTTP {status}): mend the address."


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
