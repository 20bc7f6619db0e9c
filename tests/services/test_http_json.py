from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import json
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from db.records import JsonValue, PinnedAgent
from services.executors.http_json import HttpJson
from services.guard import Guard
from services.guarded_http import MAX_ANSWER_BYTES
from services.ports import (
    AgentAnswer,
    AgentError,
    AgentRequest,
    AgentTroubleKind,
    Delivery,
    FailedCriterion,
    InputInvalidError,
    Previous,
)
from services.sandbox import Sandbox
from tests.agents import LOOPBACK, Response, ScriptedAgent
from tests.fakes import pinned_agent, pinned_job

SECRET = 'pa$$w0rd-"\\with-marks'
PREVIOUS = Previous(
    {"text": "old"},
    "Add a title.",
    (FailedCriterion("crt_1", "Has a title.", "There is none.", ("old",)),),
)


@pytest.fixture
async def sandbox() -> AsyncGenerator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def http_json(sandbox: Sandbox) -> HttpJson:
    return HttpJson(sandbox, Guard(LOOPBACK))


async def send(
    http_json: HttpJson,
    url: str,
    body: JsonValue = None,
    *,
    timeout_seconds: float = 10.0,
    secret: str | None = None,
) -> AgentAnswer:
    request = AgentRequest(url, {"task": "ü"} if body is None else body)
    return await http_json.send(request, Delivery("key-1", timeout_seconds, secret, traceparent="00-aa-bb-01"))


async def trouble(
    http_json: HttpJson, url: str, *, timeout_seconds: float = 10.0, secret: str | None = None
) -> AgentError:
    with pytest.raises(AgentError) as raised:
        await send(http_json, url, timeout_seconds=timeout_seconds, secret=secret)
    return raised.value


# -------------------------------------------------------------------------------------------------- preparing


async def body_for(http_json: HttpJson, agent: PinnedAgent, previous: Previous | None = None) -> JsonValue:
    job = pinned_job({"topic": "cats", "title": "From the input"}, title="From the job")
    return (await http_json.prepare(job, agent, previous)).body


CRITERIA: JsonValue = [{"id": "crt_1", "text": "Is right.", "required": True}]
FAILED: JsonValue = [{"id": "crt_1", "text": "Has a title.", "rationale": "There is none.", "evidence": ["old"]}]


async def test_without_a_schema_the_agent_gets_all_there_is(http_json: HttpJson) -> None:
    first: dict[str, JsonValue] = {
        "job_id": "job_1",
        "title": "From the job",
        "description": "A description",
        "acceptance_criteria": CRITERIA,
        "input": {"topic": "cats", "title": "From the input"},
    }

    assert await body_for(http_json, pinned_agent()) == first
    assert await body_for(http_json, pinned_agent(), PREVIOUS) == {
        **first,
        "feedback": "Add a title.",
        "failed_criteria": FAILED,
        "previous_answer": {"text": "old"},
    }


async def test_a_schema_names_what_the_agent_gets_the_jobs_input_first(http_json: HttpJson) -> None:
    agent = pinned_agent(
        input_schema={
            "properties": {"feedback": {}, "title": {}, "topic": {}, "description": {}, "unknown": {}},
            "required": ["topic"],
        }
    )

    assert await body_for(http_json, agent) == {
        "title": "From the input",
        "topic": "cats",
        "description": "A description",
    }
    assert await body_for(http_json, agent, PREVIOUS) == {
        "feedback": "Add a title.",
        "title": "From the input",
        "topic": "cats",
        "description": "A description",
    }


async def test_a_schema_that_refers_to_its_own_parts_is_followed(http_json: HttpJson) -> None:
    agent = pinned_agent(
        input_schema={
            "$ref": "#/$defs/In~1put",
            "$defs": {
                "In/put": {
                    "allOf": [{"$ref": "#/$defs/In~1put"}, {"$ref": "#/$defs/base"}, {"properties": {"topic": {}}}]
                },
                "base": {"properties": {"job_id": {}}},
            },
        }
    )

    assert await body_for(http_json, agent) == {"job_id": "job_1", "topic": "cats"}


@pytest.mark.parametrize("schema", [True, {}, {"type": "object"}])
async def test_a_schema_without_properties_takes_all_there_is(http_json: HttpJson, schema: JsonValue) -> None:
    body = await body_for(http_json, pinned_agent(input_schema=schema))

    assert isinstance(body, dict)
    assert body.keys() == {"job_id", "title", "description", "acceptance_criteria", "input"}


async def test_a_mapping_says_what_the_agent_gets(http_json: HttpJson) -> None:
    agent = pinned_agent(
        input_mapping={
            "prompt": "job.title + ': ' + job.input.topic",
            "rules": "job.acceptance_criteria.map(c, c.text)",
            "hints": "has(previous.feedback) ? previous.feedback : 'none'",
            "again": "previous.failed_criteria.map(c, c.rationale)",
            "draft": "previous.answer.text",
            "nothing": "job.input.missing",
            "null": "null",
        }
    )

    first: dict[str, JsonValue] = {"prompt": "From the job: cats", "rules": ["Is right."], "null": None}
    assert await body_for(http_json, agent) == {**first, "hints": "none"}
    assert await body_for(http_json, agent, PREVIOUS) == {
        **first,
        "hints": "Add a title.",
        "again": ["There is none."],
        "draft": "old",
    }


async def test_what_does_not_fit_the_schema_is_told_line_by_line(http_json: HttpJson) -> None:
    agent = pinned_agent(
        input_schema={"properties": {"topic": {"type": "integer"}, "size": {}}, "required": ["topic", "size"]}
    )
    mapped = replace(agent, input_mapping={"topic": "job.input.topic", "size": "job.input.size", "x": "job.y"})

    with pytest.raises(InputInvalidError) as raised:
        await body_for(http_json, agent)

    assert set(raised.value.errors) == {
        '/topic: "cats" is not of type "integer"',
        'top level: "size" is a required property',
    }
    with pytest.raises(InputInvalidError) as raised:
        await body_for(http_json, mapped)
    assert raised.value.errors[-1] == "/size: left out, for in `job.input.size` there is no 'size'."
    assert len(raised.value.errors) == 3


async def test_a_mapping_that_fails_is_told_property_by_property(http_json: HttpJson) -> None:
    agent = pinned_agent(input_mapping={"good": "job.id", "sum": "job.title + 1", "when": "timestamp('x')"})

    with pytest.raises(InputInvalidError) as raised:
        await body_for(http_json, agent)

    assert [error.split(" failed: ")[0] for error in raised.value.errors] == [
        "/sum: `job.title + 1`",
        "/when: `timestamp('x')`",
    ]


async def test_what_takes_too_long_to_prepare_is_refused() -> None:
    costly = "job.input.map(x, job.input.map(y, job.input.map(z, [x, y, z])))"
    async with Sandbox(seconds=0.2) as sandbox:
        http_json = HttpJson(sandbox, Guard(LOOPBACK))
        with pytest.raises(InputInvalidError, match=r"/all: .* took longer than 0\.2 s"):
            await http_json.prepare(pinned_job(list(range(400))), pinned_agent(input_mapping={"all": costly}), None)


# ---------------------------------------------------------------------------------------------------- sending


async def test_a_request_arrives_as_agreed(http_json: HttpJson) -> None:
    async with ScriptedAgent(Response({"text": "ü"})) as agent:
        answer = await send(http_json, agent.url, {"b": "ü", "a": [1, 2.0]}, secret="s3cr3t")

    assert answer == AgentAnswer({"text": "ü"}, http_status=200)
    (request,) = agent.requests
    assert (request.method, request.path) == ("POST", "/run")
    assert request.body.decode() == '{"b":"ü","a":[1,2.0]}'
    expected = {
        "host": f"127.0.0.1:{agent.port}",
        "content-type": "application/json",
        "content-length": str(len(request.body)),
        "accept-encoding": "identity",
        "idempotency-key": "key-1",
        "webhook-id": "key-1",
        "authorization": "Bearer s3cr3t",
        "traceparent": "00-aa-bb-01",
    }
    assert expected.items() <= request.headers.items()
    # Signed as Standard Webhooks says, with the secret's characters as the key.
    Webhook(base64.b64encode(b"s3cr3t").decode()).verify(request.body, dict(request.headers))


async def test_a_standard_webhooks_secret_signs_with_its_own_key(http_json: HttpJson) -> None:
    secret = "whsec_" + base64.b64encode(b"k" * 24).decode()
    async with ScriptedAgent() as agent:
        await send(http_json, agent.url, secret=secret)

    (request,) = agent.requests
    Webhook(secret).verify(request.body, dict(request.headers))
    assert request.headers["authorization"] == f"Bearer {secret}"


async def test_without_a_secret_nothing_is_signed(http_json: HttpJson) -> None:
    async with ScriptedAgent() as agent:
        await http_json.send(AgentRequest(agent.url, {}), Delivery("key-1", 10))

    (request,) = agent.requests
    assert request.headers["webhook-id"] == request.headers["idempotency-key"] == "key-1"
    assert not {"authorization", "webhook-signature", "traceparent", "cookie"} & request.headers.keys()


async def test_each_call_has_a_connection_of_its_own(http_json: HttpJson) -> None:
    async with ScriptedAgent() as agent:
        for _ in range(3):
            await send(http_json, agent.url)

        assert agent.connections == 3


async def test_a_proxy_of_the_environment_is_not_used(http_json: HttpJson, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedAgent() as proxy, ScriptedAgent() as agent:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        await send(http_json, agent.url)

        assert (len(agent.requests), len(proxy.requests)) == (1, 0)


async def test_a_secret_that_no_header_can_carry_is_told_and_not_sent(http_json: HttpJson) -> None:
    async with ScriptedAgent() as agent:
        for secret in ("line\r\nX-Other: 1", "schlüssel", "nul\0"):
            error = await trouble(http_json, agent.url, secret=secret)

            assert (error.kind, error.code) == (AgentTroubleKind.FAILED, "secret_unusable")
            assert secret not in error.message
        assert agent.connections == 0


# ---------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    "response",
    [
        Response([1, "ü", {"a": None}], status=201),
        Response([1, "ü", {"a": None}], headers={"content-encoding": "identity", "content-type": "text/plain"}),
        Response([1, "ü", {"a": None}], headers={"content-length": None, "connection": "close"}),
        Response(
            raw=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            b'12\r\n[1,"\xc3\xbc",{"a":null}\r\n1\r\n]\r\n0\r\n\r\n'
        ),
        Response([1, "ü", {"a": None}], drip_seconds=0.001),
    ],
    ids=["201", "identity", "until the end", "chunked", "slow"],
)
async def test_answers_are_read_however_they_come(http_json: HttpJson, response: Response) -> None:
    async with ScriptedAgent(response) as agent:
        answer = await send(http_json, agent.url)

    assert answer.value == [1, "ü", {"a": None}]


async def test_an_answer_may_have_two_mebibytes_and_no_byte_more(http_json: HttpJson) -> None:
    largest = b'"' + b"x" * (MAX_ANSWER_BYTES - 2) + b'"'
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(largest) + 1, largest + b" ")
    async with ScriptedAgent(
        Response(largest),
        Response(largest + b" "),
        Response(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked),
    ) as agent:
        assert (await send(http_json, agent.url)).value == "x" * (MAX_ANSWER_BYTES - 2)
        for _ in range(2):
            error = await trouble(http_json, agent.url)
            assert (error.kind, error.code) == (AgentTroubleKind.FAILED, "answer_too_large")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "answer_not_json"),
        (b"<html>", "answer_not_json"),
        (b"{'a': 1}", "answer_not_json"),
        (b'{"a": 1} trailing', "answer_not_json"),
        (b'{"a": NaN}', "answer_not_json"),
        (b'{"a": 1e999}', "answer_not_json"),
        (b'{"a": 1, "a": 2}', "answer_not_json"),
        (b'"\\ud800"', "answer_not_json"),
        (b'"\\u0000"', "answer_not_json"),
        (b'"raw\x00nul and \xff"', "answer_not_json"),
        (b"[" * 200_000, "answer_not_json"),
        (b"9" * 5000, "answer_not_json"),
        (b"\xef\xbb\xbf{}", "answer_not_json"),
        (b" null ", "answer_null"),
    ],
    ids=range(14),
)
async def test_what_is_not_strict_json_is_no_answer(http_json: HttpJson, body: bytes, code: str) -> None:
    async with ScriptedAgent(Response(body)) as agent:
        error = await trouble(http_json, agent.url)

    assert (error.kind, error.code, error.http_status) == (AgentTroubleKind.ANSWER_INVALID, code, 200)
    shown = body.decode(errors="replace").replace("\0", "\ufffd")[:4096]
    assert error.payload == (shown or None)
    json.dumps(error.payload, ensure_ascii=False).encode()


async def test_an_empty_204_is_no_answer(http_json: HttpJson) -> None:
    async with ScriptedAgent(Response(raw=b"HTTP/1.1 204 No Content\r\n\r\n")) as agent:
        error = await trouble(http_json, agent.url)

    assert (error.kind, error.http_status) == (AgentTroubleKind.ANSWER_INVALID, 204)


@pytest.mark.parametrize("status", [300, 301, 304, 307, 400, 401, 404, 408, 409, 418, 422, 500, 502, 504, 599])
async def test_an_error_status_is_final(http_json: HttpJson, status: int) -> None:
    async with ScriptedAgent(
        Response({"error": "ü"}, status=status, headers={"location": "http://127.0.0.1:9/", "retry-after": "3"})
    ) as agent:
        error = await trouble(http_json, agent.url)

    assert (error.kind, error.code) == (AgentTroubleKind.FAILED, f"http_{status}")
    assert (error.http_status, error.retry_after_seconds) == (status, None)
    assert error.payload == (None if status == 304 else '{"error": "\\u00fc"}')
    assert len(agent.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, None),
        ("7", 7),
        (" 0 ", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("999999999", 86_400),
        ("9" * 5000, None),
        ("0 Jan 3000000000 0:0", None),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
    ],
)
async def test_an_agent_that_is_busy_was_not_reached(
    http_json: HttpJson, status: int, retry_after: str | None, seconds: float | None
) -> None:
    async with ScriptedAgent(Response({}, status=status, headers={"retry-after": retry_after})) as agent:
        error = await trouble(http_json, agent.url)

    assert (error.kind, error.code, error.http_status) == (AgentTroubleKind.NOT_SENT, f"http_{status}", status)
    assert error.retry_after_seconds == seconds


async def test_a_busy_agent_may_name_a_date(http_json: HttpJson) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    async with ScriptedAgent(Response({}, status=503, headers={"retry-after": date})) as agent:
        error = await trouble(http_json, agent.url)

    assert error.retry_after_seconds == pytest.approx(600, abs=60)


@pytest.mark.parametrize(
    "response",
    [
        Response(b"x" * 3_000_000, status=500),
        Response(b"x" * 10_000, status=500, cut_after=9_000),
        Response(gzip.compress(b"x" * 10_000), status=500, headers={"content-encoding": "gzip"}),
        Response(b"", status=500, headers={"content-length": "10"}, resets=True, cut_after=10_000),
    ],
    ids=["large", "cut", "compressed", "reset"],
)
async def test_a_status_decides_whatever_becomes_of_its_body(http_json: HttpJson, response: Response) -> None:
    async with ScriptedAgent(response) as agent:
        error = await trouble(http_json, agent.url)

    assert (error.kind, error.code) == (AgentTroubleKind.FAILED, "http_500")
    assert error.payload in {"x" * 4096, None}


async def test_a_compressed_answer_is_not_even_looked_at(http_json: HttpJson) -> None:
    bomb = gzip.compress(b'"' + b"0" * 50_000_000 + b'"')
    async with ScriptedAgent(
        Response(bomb, headers={"content-encoding": "gzip"}),
        Response({}, headers={"content-encoding": "br"}),
        Response(bomb, headers={"content-encoding": "identity, gzip"}),
    ) as agent:
        for _ in range(3):
            error = await trouble(http_json, agent.url)
            assert (error.kind, error.code) == (AgentTroubleKind.FAILED, "answer_compressed")


@pytest.mark.parametrize("size", [70_000, 3_000_000])
async def test_headers_are_bounded(http_json: HttpJson, size: int) -> None:
    async with ScriptedAgent(Response({}, headers={"x-large": "x" * size})) as agent:
        error = await trouble(http_json, agent.url)

    assert (error.kind, error.code) == (AgentTroubleKind.FAILED, "headers_too_large")


# -------------------------------------------------------------------------------------------- no whole answer


@pytest.mark.parametrize(
    "response",
    [
        Response(cut_after=0),
        Response(resets=True),
        Response(cut_after=5),
        Response(cut_after=40),
        Response({"text": "x" * 1000}, cut_after=500),
        Response({"text": "x" * 1000}, cut_after=500, resets=True),
        Response(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"),
        Response(raw=b"SSH-2.0-OpenSSH_9.6\r\n"),
        Response(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    ],
    ids=range(9),
)
async def test_a_cut_answer_leaves_the_outcome_unknown(http_json: HttpJson, response: Response) -> None:
    async with ScriptedAgent(response) as agent:
        error = await trouble(http_json, agent.url)

    assert (error.kind, error.code) == (AgentTroubleKind.UNKNOWN, "connection_broken")
    assert len(agent.requests) == 1


@pytest.mark.parametrize(
    "response",
    [
        Response(hangs=True),
        Response(hangs=True, cut_after=40),
        Response({"text": "x" * 1000}, hangs=True, cut_after=500),
        Response({"text": "x" * 1000}, drip_seconds=0.1),
        Response(delay_seconds=60),
    ],
    ids=["silent", "half a head", "half a body", "dripping", "late"],
)
async def test_time_bounds_the_whole_call(http_json: HttpJson, response: Response) -> None:
    async with ScriptedAgent(response) as agent:
        started = time.monotonic()
        error = await trouble(http_json, agent.url, timeout_seconds=1)

        assert time.monotonic() - started < 30  # by themselves they take a minute at least
        assert (error.kind, error.code) == (AgentTroubleKind.TIMEOUT, "timeout")
        assert "1 s" in error.message
        assert len(agent.requests) == 1


async def test_a_handshake_that_is_cut_short_leaves_no_connection(http_json: HttpJson) -> None:
    async with ScriptedAgent() as agent:
        call = asyncio.create_task(send(http_json, agent.url.replace("http:", "https:")))
        await agent.connected.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gc.collect()  # would warn of what was left open


async def test_a_cancelled_call_ends_its_connection(http_json: HttpJson) -> None:
    async with ScriptedAgent(Response(hangs=True)) as agent:
        call = asyncio.create_task(send(http_json, agent.url))
        await agent.called.wait()
        call.cancel()

        with pytest.raises(asyncio.CancelledError):
            await call


# ---------------------------------------------------------------------------------------------- not even sent


async def test_a_refused_connection_was_not_sent(http_json: HttpJson) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening
        error = await trouble(http_json, f"http://127.0.0.1:{unused.getsockname()[1]}/")

    assert (error.kind, error.code) == (AgentTroubleKind.NOT_SENT, "connection_refused")


def resolving_to(*addresses: str, trouble: OSError | None = None) -> Guard:
    async def resolve(host: str, port: int) -> Sequence[str]:
        if trouble is not None:
            raise trouble
        return addresses

    return Guard(LOOPBACK, resolve)


@pytest.mark.parametrize(
    ("why", "code", "message"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "dns_failed", "The agent's host does not exist."),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "dns_failed", "The agent's host could not be resolved."),
        (TimeoutError(), "dns_timeout", "The agent's host could not be resolved in time."),
    ],
)
async def test_a_host_that_does_not_resolve_was_not_sent_to(
    sandbox: Sandbox, why: OSError, code: str, message: str
) -> None:
    error = await trouble(HttpJson(sandbox, resolving_to(trouble=why)), "https://agent.example/")

    assert (error.kind, error.code, error.message) == (AgentTroubleKind.NOT_SENT, code, message)


async def test_the_next_address_is_tried_where_one_refuses(sandbox: Sandbox) -> None:
    async with ScriptedAgent() as agent:
        http_json = HttpJson(sandbox, resolving_to("127.0.0.2", "::1", "127.0.0.1"))
        await send(http_json, f"http://agent.example:{agent.port}/run?x=1")

    (request,) = agent.requests
    assert request.headers["host"] == f"agent.example:{agent.port}"
    assert request.path == "/run?x=1"


async def test_no_other_address_is_tried_once_one_was_sent_to(sandbox: Sandbox) -> None:
    async with ScriptedAgent(Response(resets=True)) as agent:
        http_json = HttpJson(sandbox, resolving_to("127.0.0.1", "127.0.0.1"))
        error = await trouble(http_json, f"http://agent.example:{agent.port}/")

        assert error.kind is AgentTroubleKind.UNKNOWN
        assert agent.connections == 1


# ------------------------------------------------------------------------------------------------------ guard


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"])
async def test_nothing_is_sent_where_agents_may_not_live(sandbox: Sandbox, host: str) -> None:
    async with ScriptedAgent() as agent:
        error = await trouble(HttpJson(sandbox, Guard()), f"http://{host}:{agent.port}/run")

        assert (error.kind, error.code) == (AgentTroubleKind.FAILED, "endpoint_not_allowed")
        assert agent.connections == 0


async def test_a_url_that_is_none_is_not_allowed(http_json: HttpJson) -> None:
    error = await trouble(http_json, "http://user:secret@127.0.0.1/")

    assert (error.kind, error.code) == (AgentTroubleKind.FAILED, "endpoint_not_allowed")


async def test_a_name_is_resolved_once_and_the_checked_address_called(sandbox: Sandbox) -> None:
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async with ScriptedAgent() as agent:
        await send(HttpJson(sandbox, Guard(LOOPBACK, rebinding)), f"http://agent.example:{agent.port}/")

    assert asked == ["agent.example"]
    assert len(agent.requests) == 1


# -------------------------------------------------------------------------------------------------------- TLS


@asynccontextmanager
async def tls_agent(certificate: Path) -> AsyncGenerator[ScriptedAgent]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with ScriptedAgent(tls=context) as agent:
        yield agent


async def test_tls_is_verified_for_the_name_although_the_address_is_called(
    sandbox: Sandbox, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    http_json = HttpJson(sandbox, resolving_to("127.0.0.1"))
    async with tls_agent(certificate) as agent:
        await send(http_json, f"https://agent.example:{agent.port}/")
        await send(http_json, agent.url)
        error = await trouble(http_json, f"https://other.example:{agent.port}/")

    assert (error.kind, error.code) == (AgentTroubleKind.NOT_SENT, "tls_failed")
    assert "other.example" in error.message
    assert len(agent.requests) == 2


async def test_a_certificate_that_nobody_vouches_for_is_refused(http_json: HttpJson, certificate: Path) -> None:
    async with tls_agent(certificate) as agent:
        error = await trouble(http_json, agent.url)

        assert (error.kind, error.code) == (AgentTroubleKind.NOT_SENT, "tls_failed")
        assert "self-signed certificate" in error.message
        assert agent.requests == []


async def test_a_server_that_does_not_speak_tls_was_not_sent_to(http_json: HttpJson) -> None:
    async with ScriptedAgent() as agent:
        error = await trouble(http_json, agent.url.replace("http:", "https:"), timeout_seconds=1)

    # The fake waits for the end of a head that never comes.
    assert (error.kind, error.code) == (AgentTroubleKind.NOT_SENT, "connect_timeout")
    assert agent.requests == []


# ------------------------------------------------------------------------------------------------ credentials


@pytest.mark.parametrize(
    "response",
    [
        Response({"echo": SECRET}, status=400),
        Response(f"Bearer {SECRET}".encode(), status=401),
        Response(f"<html>{SECRET}{SECRET}</html>".encode()),
        Response(b"x" * 4090 + SECRET.encode() + b"x" * 100_000, status=500),
        Response(b"x" * (MAX_ANSWER_BYTES) + SECRET.encode()),
        Response({"echo": SECRET}, status=503),
        Response(f'{{"{SECRET[:5]}": 1, "{SECRET[:5]}": 1}} {SECRET}'.encode()),
    ],
    ids=range(7),
)
async def test_a_credential_that_is_echoed_is_redacted(http_json: HttpJson, response: Response) -> None:
    async with ScriptedAgent(response) as agent:
        error = await trouble(http_json, agent.url, secret=SECRET)

    told = f"{error.message} {error.payload} {error}"
    for form in (SECRET, json.dumps(SECRET)[1:-1], SECRET[:6] if "x" * 4090 in told else SECRET):
        assert form not in told
    assert "[redacted]" in told or "x" * 4090 in told


async def test_a_quote_from_the_answer_does_not_leak_the_credential(http_json: HttpJson) -> None:
    secret = "duplicate-me-" * 10  # longer than what a message quotes
    async with ScriptedAgent(Response(f'{{"{secret}": 1, "{secret}": 2}}'.encode())) as agent:
        error = await trouble(http_json, agent.url, secret=secret)

    assert "occurs twice" in error.message
    assert "duplicate-me" not in f"{error.message} {error.payload}"
    assert error.message.count("[redacted]") == 1
