"""Calls agents over HTTP: one POST with a JSON body, one JSON answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import errno
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

import httpx
from standardwebhooks import Webhook

from services.guard import Endpoint, EndpointNotAllowedError, Guard, endpoint
from services.ports import AgentAnswer, AgentError, AgentRequest, AgentTroubleKind, InputInvalidError
from services.sandbox import ExpressionError, MissingKeyError, Sandbox, TooCostlyError, job_variable
from services.strict_json import InvalidJsonError, canonical, parse

if TYPE_CHECKING:
    from services.ports import Agent, Delivery, Job, JsonValue, Previous

MAX_ANSWER_BYTES = 2 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_EXCERPT_CHARACTERS = 4 * 1024
CONNECT_SECONDS = 10.0
# Messages reach the owners of jobs: none says where an agent lives, which is the admins' to know.
NOT_ALLOWED = "The agent's address is none that agents may have."
"""Per address. A kernel tries for two minutes; an agent that is there answers within a round trip."""

# An error's body is a courtesy: it is not worth much waiting.
_EXCERPT_SECONDS = 5.0
_MAX_RETRY_AFTER_SECONDS = 24 * 3600.0

_REDACTED = "[redacted]"


class HttpJson:
    """The executor `http_json`.

    `guard` decides where agents may live, `sandbox` evaluates input mappings and schemas.
    """

    def __init__(self, sandbox: Sandbox, guard: Guard) -> None:
        self._sandbox = sandbox
        self._guard = guard
        # Once, not for each call: it takes 20 ms. SSL_CERT_FILE names an operator's own authorities.
        self._tls = httpx.create_ssl_context()

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
        call = _Call(request, delivery, self._guard, self._tls)
        try:
            async with asyncio.timeout(delivery.timeout_seconds):
                return await call.run()
        except TimeoutError:
            raise call.timed_out() from None

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


def _headers(to: Endpoint, body: str, delivery: Delivery) -> dict[str, str]:
    now = datetime.now(UTC)
    headers = {
        "host": to.url.netloc.decode("ascii"),
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
        "user-agent": "signoff",
        "idempotency-key": delivery.idempotency_key,
        "webhook-id": delivery.idempotency_key,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if delivery.traceparent:
        headers["traceparent"] = delivery.traceparent
    if delivery.secret:
        webhook = Webhook(_signing_key(delivery.secret))
        headers["webhook-signature"] = webhook.sign(delivery.idempotency_key, now, body)
        headers["authorization"] = f"Bearer {delivery.secret}"
    return headers


def _signing_key(secret: str) -> bytes:
    """Return the key of webhook-signature: a `whsec_` secret's own, else the secret's characters in UTF-8."""
    if secret.startswith("whsec_"):
        with contextlib.suppress(binascii.Error):
            if key := base64.b64decode(secret.removeprefix("whsec_"), validate=True):
                return key
    return secret.encode()


# --------------------------------------------------------------------------------------------------- the call


class _Stream(Protocol):
    """A connection, as httpcore hands it to its tracers."""

    async def aclose(self) -> None: ...


@dataclass
class _Progress:
    """How far a call has got, which decides what its failure means."""

    connection: _Stream | None = None
    in_tls: bool = False
    sending: bool = False
    """From here on the agent may have the request."""
    http_status: int | None = None

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Take note of httpcore's events."""
        match event:
            case "connection.connect_tcp.complete":
                self.connection = cast("_Stream", info["return_value"])
            case "connection.start_tls.started":
                self.in_tls = True
            case "http11.send_request_headers.started":
                self.sending = True
            case _:
                pass


class _Call:
    """One request on its way."""

    def __init__(self, request: AgentRequest, delivery: Delivery, guard: Guard, tls: ssl.SSLContext) -> None:
        self._request = request
        self._delivery = delivery
        self._guard = guard
        self._tls = tls
        self._progress = _Progress()
        self._redact = _Redactor(delivery.secret)

    async def run(self) -> AgentAnswer:
        """Resolve, connect, send, read. Raises AgentError."""
        try:
            to = endpoint(self._request.url)
        except EndpointNotAllowedError:
            self._fail(AgentTroubleKind.FAILED, "endpoint_not_allowed", NOT_ALLOWED)
        secret = self._delivery.secret
        if secret and not (secret.isascii() and secret.isprintable()):
            self._fail(
                AgentTroubleKind.FAILED,
                "secret_unusable",
                "The agent's secret holds characters that an HTTP header cannot carry.",
            )
        body = canonical(self._request.body)
        headers = _headers(to, body, self._delivery)
        addresses = await self._addresses(to)
        for left, address in enumerate(addresses, 1 - len(addresses)):
            request = httpx.Request(
                "POST",
                to.url.copy_with(host=address),
                headers=headers,
                content=body.encode(),
                extensions={
                    "sni_hostname": to.host,  # what the certificate must be for
                    "timeout": {"connect": CONNECT_SECONDS},
                    "trace": self._progress.trace,
                },
            )
            try:
                return await self._exchange(request)
            except httpx.TransportError as error:
                if left == 0 or self._progress.connection is not None:
                    self._fail_transport(error)
        raise AssertionError("a host has at least one address")

    def timed_out(self) -> AgentError:
        """Say what it means that the time is up."""
        if not self._progress.sending:
            return self._error(
                AgentTroubleKind.NOT_SENT,
                "connect_timeout",
                "The agent could not be connected to in time.",
            )
        seconds = f"{self._delivery.timeout_seconds:g} s"
        return self._error(
            AgentTroubleKind.TIMEOUT, "timeout", f"The agent did not answer completely within {seconds}."
        )

    async def _addresses(self, to: Endpoint) -> Sequence[str]:
        try:
            return await self._guard.addresses(to.host, to.port)
        except EndpointNotAllowedError:
            self._fail(AgentTroubleKind.FAILED, "endpoint_not_allowed", NOT_ALLOWED)
        except TimeoutError:
            self._fail(AgentTroubleKind.NOT_SENT, "dns_timeout", "The agent's host could not be resolved in time.")
        except OSError as error:
            unknown = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
            why = "does not exist" if unknown else "could not be resolved"
            self._fail(AgentTroubleKind.NOT_SENT, "dns_failed", f"The agent's host {why}.")

    async def _exchange(self, request: httpx.Request) -> AgentAnswer:
        transport = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False)
        try:
            response = await transport.handle_async_request(request)
            try:
                return await self._read(response)
            finally:
                await response.aclose()
        finally:
            await transport.aclose()
            if self._progress.connection is not None:
                # A handshake that is cancelled leaves its connection open.
                await self._progress.connection.aclose()

    async def _read(self, response: httpx.Response) -> AgentAnswer:
        status = self._progress.http_status = response.status_code
        if not 200 <= status < 300:  # noqa: PLR2004
            await self._fail_status(response)
        if sum(len(name) + len(value) for name, value in response.headers.raw) > MAX_HEADER_BYTES:
            self._fail_headers()
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity"}:
            # Not even looked at: 300 KB of gzip can be 300 MB of zeros.
            self._fail(
                AgentTroubleKind.FAILED,
                "answer_compressed",
                "The agent sent a compressed answer, although only identity is accepted.",
            )
        received = await _receive(response, MAX_ANSWER_BYTES)
        if len(received) > MAX_ANSWER_BYTES:
            self._fail(
                AgentTroubleKind.FAILED,
                "answer_too_large",
                f"The agent sent more than {MAX_ANSWER_BYTES} bytes.",
                payload=self._excerpt(received),
            )
        try:
            value = parse(bytes(received))
        except InvalidJsonError as error:
            why = self._why_invalid(received, error)
            self._fail_answer("answer_not_json", f"The agent did not answer with strict JSON. {why}".rstrip(), received)
        if value is None:
            self._fail_answer("answer_null", "The agent answered null, which is no answer.", received)
        return AgentAnswer(value, http_status=status)

    def _excerpt(self, received: bytes | bytearray) -> str | None:
        """Show the beginning of a body as text that a log can keep, without the credential.

        Redacted before it is cut, so that the cut cannot leave a part of the credential.
        """
        beginning = bytes(received[: MAX_EXCERPT_CHARACTERS * 4 + 64 * 1024])
        text = self._redact(beginning.decode(errors="replace").replace("\0", "\ufffd"))
        return text[:MAX_EXCERPT_CHARACTERS] or None

    def _why_invalid(self, received: bytearray, error: InvalidJsonError) -> str:
        """Word what is wrong with an answer; a quote cut short must not show a part of the credential."""
        try:
            parse(self._redact(received.decode(errors="replace")))
        except InvalidJsonError as after_redaction:
            return str(after_redaction)
        return str(error) if self._delivery.secret is None else ""

    # ----------------------------------------------------------------------------------------------- failures

    def _error(
        self,
        kind: AgentTroubleKind,
        code: str,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        payload: JsonValue = None,
    ) -> AgentError:
        return AgentError(
            kind,
            code,
            self._redact(message),
            http_status=self._progress.http_status,
            retry_after_seconds=retry_after_seconds,
            payload=payload,
        )

    def _fail(self, kind: AgentTroubleKind, code: str, message: str, *, payload: JsonValue = None) -> NoReturn:
        raise self._error(kind, code, message, payload=payload) from None

    def _fail_answer(self, code: str, message: str, received: bytes | bytearray) -> NoReturn:
        self._fail(AgentTroubleKind.ANSWER_INVALID, code, message, payload=self._excerpt(received))

    def _fail_headers(self) -> NoReturn:
        self._fail(
            AgentTroubleKind.FAILED,
            "headers_too_large",
            f"The agent sent more than {MAX_HEADER_BYTES} bytes of headers.",
        )

    async def _fail_status(self, response: httpx.Response) -> NoReturn:
        """A status other than 2xx decides by itself; what of the body comes quickly is shown."""
        status = response.status_code
        received = bytearray()
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(_EXCERPT_SECONDS):
                if not response.headers.get("content-encoding"):
                    await _receive(response, MAX_EXCERPT_CHARACTERS * 4, received)
        is_unsent = status in {429, 503}
        hint = " Redirects are not followed." if 300 <= status < 400 else ""  # noqa: PLR2004
        raise self._error(
            AgentTroubleKind.NOT_SENT if is_unsent else AgentTroubleKind.FAILED,
            f"http_{status}",
            f"The agent answered with HTTP status {status}.{hint}",
            retry_after_seconds=_retry_after(response.headers.get("retry-after")) if is_unsent else None,
            payload=self._excerpt(received),
        ) from None

    def _fail_transport(self, error: httpx.TransportError) -> NoReturn:
        """Word what broke below HTTP, by how far the call had got."""
        causes = list(_causes(error))
        if self._progress.sending:
            # h11 hints at 431 (Request Header Fields Too Large) where its own bound on headers was reached.
            if any(getattr(cause, "error_status_hint", None) == 431 for cause in causes):  # noqa: PLR2004
                self._fail_headers()
            message = "The agent was sent the request, but the connection broke before a complete answer came."
            self._fail(AgentTroubleKind.UNKNOWN, "connection_broken", message)
        if isinstance(error, httpx.TimeoutException):
            raise self.timed_out() from None
        if self._progress.in_tls:
            reason = next(
                (cause.verify_message for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)),
                "",
            )
            why = f" ({reason})" if reason else ""
            self._fail(AgentTroubleKind.NOT_SENT, "tls_failed", f"The agent and TLS: no secure connection{why}.")
        if any(isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED for cause in causes):
            self._fail(AgentTroubleKind.NOT_SENT, "connection_refused", "The agent refused the connection.")
        self._fail(AgentTroubleKind.NOT_SENT, "connect_failed", "The agent could not be connected to.")


async def _receive(response: httpx.Response, limit: int, into: bytearray | None = None) -> bytearray:
    """Read the body as it was sent; more than `limit` bytes mean that there were more."""
    received = bytearray() if into is None else into
    async for chunk in response.aiter_raw():
        received += chunk
        if len(received) > limit:
            break
    return received


def _retry_after(value: str | None) -> float | None:
    """Read Retry-After, in seconds or as a date; at most a day."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        seconds = float(value)
    else:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """List an exception and what led to it, groups opened."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", one).exceptions


class _Redactor:
    """Replaces a credential, plain or as JSON writes it, wherever a text holds it."""

    def __init__(self, secret: str | None) -> None:
        self._pattern: re.Pattern[str] | None = None
        if secret:
            forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
            self._pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))

    def __call__(self, text: str) -> str:
        return self._pattern.sub(_REDACTED, text) if self._pattern else text
