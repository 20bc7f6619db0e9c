"""Calls agents over HTTP: one POST with a JSON body, one JSON answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from services.guarded_http import MAX_ANSWER_BYTES, Answer, CallError, GuardedHttp, Reach
from services.large_values import LARGE_BYTES, beside_the_loop
from services.ports import AgentAnswer, AgentError, AgentRequest, AgentTroubleKind, InputInvalidError
from services.redaction import Credentials
from services.sandbox import ExpressionError, MissingKeyError, Sandbox, TooCostlyError, job_variable
from services.signing import UnusableSecretError, signed
from services.strict_json import InvalidJsonError, canonical, parse

if TYPE_CHECKING:
    from services.guard import Guard
    from services.ports import Agent, Delivery, Job, JsonValue, Previous

MAX_EXCERPT_CHARACTERS = 4 * 1024

_KINDS = {
    Reach.NOT_ALLOWED: AgentTroubleKind.FAILED,
    Reach.NOT_SENT: AgentTroubleKind.NOT_SENT,
    Reach.CUT: AgentTroubleKind.UNKNOWN,
    Reach.TIMED_OUT: AgentTroubleKind.TIMEOUT,
    Reach.ANSWERED: AgentTroubleKind.FAILED,
}
# The agent, or a proxy before it, says that it did not begin.
_NOT_BEGUN = frozenset({429, 503})


class HttpJson:
    """The executor `http_json`.

    `guard` decides where agents may live, `sandbox` evaluates input mappings and schemas.
    """

    def __init__(self, sandbox: Sandbox, guard: Guard, answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._sandbox = sandbox
        self._http = GuardedHttp(guard, "agent", answer_bytes)

    async def prepare(self, job: Job, agent: Agent, previous: Previous | None) -> AgentRequest:
        """Build the body: by the agent's mapping, else by the names in its schema, else all there is."""
        left_out: dict[str, str] = {}
        if agent.input_mapping is not None:
            body = await self._mapped(agent.input_mapping, job, previous, left_out)
        else:
            body = _matched(agent.input_schema, job, _sources(job, previous))
        if agent.input_schema is not None:
            try:
                errors = await self._sandbox.validate(agent.input_schema, body)
            except TooCostlyError as error:
                errors = [f"The input schema could not be checked: {error}."]
            if errors:
                raise InputInvalidError([*errors, *_reasons(left_out, errors)])
        return AgentRequest(url=agent.endpoint_url, body=body)

    async def send(self, request: AgentRequest, delivery: Delivery) -> AgentAnswer:
        """Send the request over a connection of its own."""
        blank = Credentials.of(delivery.secret, delivery.previous_secret)
        body = canonical(request.body)
        try:
            headers = _headers(body, delivery)
            answer = await self._http.post(request.url, body, headers, timeout_seconds=delivery.timeout_seconds)
        except UnusableSecretError:
            message = "The agent's secret holds characters that an HTTP header cannot carry."
            raise AgentError(AgentTroubleKind.FAILED, "secret_unusable", message) from None
        except CallError as error:
            raise AgentError(
                _KINDS[error.reach],
                error.code,
                blank.blank_text(error.message),
                http_status=error.http_status,
                payload=_excerpt(error.received, blank),
            ) from None
        if not answer.is_success:
            raise _refused(answer, blank)
        if len(answer.body) > LARGE_BYTES:
            return await beside_the_loop(_read, answer, blank)
        return _read(answer, blank)

    async def _mapped(
        self, mapping: Mapping[str, str], job: Job, previous: Previous | None, left_out: dict[str, str]
    ) -> dict[str, JsonValue]:
        """Evaluate the mapping; a property whose expression needs what is not there is left out, noted why."""
        variables: dict[str, JsonValue] = {
            "job": job_variable(job),
            "previous": _previous_sources(previous, ""),
        }
        body: dict[str, JsonValue] = {}
        errors: list[str] = []
        for name, expression in mapping.items():
            try:
                body[name] = await self._sandbox.evaluate(expression, variables)
            except MissingKeyError as error:
                left_out[name] = f"/{name}: left out, for in `{expression}` {error}."
            except (ExpressionError, TooCostlyError) as error:
                errors.append(f"/{name}: `{expression}` failed: {error}.")
        if errors:
            raise InputInvalidError(errors)
        return body


# ------------------------------------------------------------------------------------------------ the request


def _previous_sources(previous: Previous | None, answer_prefix: str) -> dict[str, JsonValue]:
    if previous is None:
        return {}
    return {
        "feedback": previous.feedback,
        "failed_criteria": [
            {
                "id": failed.id,
                "text": failed.text,
                "rationale": failed.rationale,
                "evidence": list(failed.evidence),
            }
            for failed in previous.failed_criteria
        ],
        f"{answer_prefix}answer": previous.answer,
    }


def _sources(job: Job, previous: Previous | None) -> dict[str, JsonValue]:
    shown = job_variable(job)
    return {"job_id": shown.pop("id"), **shown, **_previous_sources(previous, "previous_")}


def _matched(schema: JsonValue, job: Job, sources: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Take what the schema names: from the job's input first, then from the sources."""
    names = _property_names(schema)
    if not names:
        return dict(sources)
    found = dict(sources)
    if isinstance(job.input, Mapping):
        found.update(job.input)
    return {name: found[name] for name in names if name in found}


def _reasons(left_out: Mapping[str, str], errors: Sequence[str]) -> list[str]:
    """Say why properties were left out that the schema turned out to require."""
    return [why for name, why in left_out.items() if any(f'"{name}" is a required' in error for error in errors)]


def _property_names(schema: JsonValue) -> list[str]:
    """List the properties that a schema writes at its top, or where it refers to from there."""
    names: dict[str, None] = {}
    seen: set[int] = set()
    waiting = [schema]
    while waiting:
        part = waiting.pop(0)
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(properties := part.get("properties"), Mapping):
            names |= dict.fromkeys(properties)
        if isinstance(reference := part.get("$ref"), str) and reference.startswith("#/"):
            waiting.append(_at_pointer(schema, reference[2:]))
        if isinstance(every := part.get("allOf"), Sequence) and not isinstance(every, str):
            waiting.extend(every)
    return list(names)


def _at_pointer(root: JsonValue, pointer: str) -> JsonValue:
    for step in pointer.split("/"):
        if not isinstance(root, Mapping):
            return None
        root = root.get(step.replace("~1", "/").replace("~0", "~"))
    return root


def _headers(body: str, delivery: Delivery) -> dict[str, str]:
    secrets = [secret for secret in (delivery.secret, delivery.previous_secret) if secret]
    headers = {
        "idempotency-key": delivery.idempotency_key,
        **signed(delivery.idempotency_key, body, secrets if delivery.secret else ()),
    }
    if delivery.traceparent:
        headers["traceparent"] = delivery.traceparent
    return headers


# ------------------------------------------------------------------------------------------------- the answer


def _refused(answer: Answer, blank: Credentials) -> AgentError:
    """Say what a status other than 2xx means."""
    status = answer.http_status
    is_unsent = status in _NOT_BEGUN
    hint = " Redirects are not followed." if 300 <= status < 400 else ""  # noqa: PLR2004
    return AgentError(
        AgentTroubleKind.NOT_SENT if is_unsent else AgentTroubleKind.FAILED,
        f"http_{status}",
        f"The agent answered with HTTP status {status}.{hint}",
        http_status=status,
        retry_after_seconds=answer.retry_after_seconds if is_unsent else None,
        payload=_excerpt(answer.body, blank),
    )


def _read(answer: Answer, blank: Credentials) -> AgentAnswer:
    """Read a whole answer. Raises AgentError where it is not strict JSON, or null."""
    try:
        value = parse(answer.body)
    except InvalidJsonError as error:
        why = _why_invalid(answer.body, error, blank)
        message = f"The agent did not answer with strict JSON. {why}".rstrip()
        raise _unusable("answer_not_json", message, answer, blank) from None
    if value is None:
        raise _unusable("answer_null", "The agent answered null, which is no answer.", answer, blank)
    return AgentAnswer(blank.blank(value), http_status=answer.http_status)


def _unusable(code: str, message: str, answer: Answer, blank: Credentials) -> AgentError:
    return AgentError(
        AgentTroubleKind.ANSWER_INVALID,
        code,
        message,
        http_status=answer.http_status,
        payload=_excerpt(answer.body, blank),
    )


def _excerpt(received: bytes, blank: Credentials) -> str | None:
    """Show the beginning of a body as text that a log can keep, without the credentials.

    Blanked before it is cut, so that the cut cannot leave a part of one.
    """
    beginning = received[: MAX_EXCERPT_CHARACTERS * 4 + 64 * 1024]
    text = blank.blank_text(beginning.decode(errors="replace").replace("\0", "\ufffd"))
    return text[:MAX_EXCERPT_CHARACTERS] or None


def _why_invalid(body: bytes, error: InvalidJsonError, blank: Credentials) -> str:
    """Word what is wrong with an answer; a quote cut short must not show a part of a credential."""
    try:
        parse(blank.blank_text(body.decode(errors="replace")))
    except InvalidJsonError as after_blanking:
        return str(after_blanking)
    return str(error) if blank.is_empty else ""
