"""What operators see of the service: its metrics, its log, its traces."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Generator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from pydantic import SecretStr
from starlette.types import Message

from app.serving import log_to_stderr
from app.settings import BadSettingError, Settings, read
from app.tracing import trace_as_told, wants_traces
from services.metrics import Metrics
from services.trace import current_trace_id, current_work, make_spans
from tests.agents import LOOPBACK, Response, ScriptedAgent
from tests.app.conftest import Api
from tests.schema.sockets import Socket
from tests.scrapes import samples

TOKEN = "the-token-of-the-metrics"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def settings(sqlite_url: str) -> Settings:
    return read(
        database_url=sqlite_url,
        secret_key=SecretStr("k" * 40),
        trusted_hosts=("signoff.test",),
        allowed_agent_networks=LOOPBACK,
        openai_api_key=None,
        metrics_token=SecretStr(TOKEN),
    )


# ------------------------------------------------------------------------------------------------------------ metrics


async def scrape(api: Api) -> dict[str, float]:
    answer = await api.http.get("/metrics", headers={**AUTHORIZED, "host": "10.0.0.7:8000"})
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


async def test_executions_calls_and_what_is_live_are_counted(api: Api, agent: ScriptedAgent) -> None:
    async with ScriptedAgent(Response(hangs=True)) as busy, ScriptedAgent(Response(status=500)) as broken:
        for url in (agent.url, broken.url):
            await api.execute(await api.job(await api.agent(url)))
        await api.execute(await api.job(await api.agent(busy.url)), b'{"waitSeconds": 0}')
        await busy.called.wait()

        found = await scrape(api)

    assert found['signoff_executions_finished_total{outcome="accepted"}'] == 1
    assert found['signoff_executions_finished_total{outcome="agent_failed"}'] == 1
    assert found['signoff_agent_call_seconds_count{outcome="ok"}'] == 1
    assert found['signoff_agent_call_seconds_count{outcome="failed"}'] == 1
    assert found['signoff_executions{runner="in_process",state="calling_agent"}'] == 1
    assert found['signoff_oldest_execution_seconds{runner="in_process",state="calling_agent"}'] >= 0
    assert found["signoff_execution_seconds_count"] == 2
    assert found["signoff_executions_in_flight"] == 1
    assert found['signoff_http_request_seconds_count{route="/api",status="2xx"}'] == 3
    assert found["signoff_bus_connected"] == 1


def test_how_long_requests_take_is_told_as_prometheus_counts_it() -> None:
    """Beside the library's own histogram, which is told the same."""
    metrics, registry = Metrics(), CollectorRegistry()
    name, bounds = "signoff_http_request_seconds", (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300)
    theirs = Histogram(name, "The same.", ["route", "status"], buckets=bounds, registry=registry)
    for route, status, seconds in [
        ("/graphql", 200, 0.0),
        ("/graphql", 204, 0.005),
        ("/graphql", 200, 0.0051),
        ("/graphql", 503, 1.0),
        ("/api", 404, 300.0),
        ("/api", 404, 301.0),
    ]:
        metrics.answered(route, status, seconds)
        theirs.labels(route, f"{status // 100}xx").observe(seconds)

    def told(by: CollectorRegistry) -> dict[str, float]:
        return {
            line: value
            for line, value in samples(generate_latest(by).decode()).items()
            if line.startswith(name) and "_created" not in line
        }

    assert told(metrics.registry) == told(registry)


async def test_the_event_loop_is_watched(api: Api) -> None:
    async def looked_at() -> float:
        return (await scrape(api))["signoff_event_loop_lag_seconds_count"]

    first = await looked_at()
    while await looked_at() == first:  # noqa: ASYNC110 - it rings no bell
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer another"}, {"authorization": TOKEN}])
async def test_metrics_are_for_whoever_has_their_token(api: Api, headers: dict[str, str]) -> None:
    assert (await api.http.get("/metrics", headers=headers)).status_code == 401


async def test_a_persons_token_is_not_the_metrics(api: Api) -> None:
    assert (await api.get("/metrics")).status_code == 401


class TestWithoutAToken:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"metrics_token": None})

    async def test_there_are_no_metrics(self, api: Api) -> None:
        assert (await api.http.get("/metrics", headers={"authorization": "Bearer "})).status_code == 404


async def test_no_path_of_a_clients_making_becomes_a_label(api: Api) -> None:
    await api.http.get("/nowhere/at/all")
    await api.get("/api/jobs/job_00000000000000000000000000")

    assert not [name for name in await scrape(api) if "nowhere" in name or "job_" in name]


# --------------------------------------------------------------------------------------------------------------- logs


@pytest.fixture
def root_log() -> Generator[logging.Logger]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield root
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def logged() -> None:
    tokens = current_trace_id.set("a" * 32), current_work.set(("job_1", "exe_1"))
    try:
        int("Broken.")
    except ValueError:
        logging.getLogger("signoff.test").exception("it %s", "failed")
    current_work.reset(tokens[1])
    current_trace_id.reset(tokens[0])


def test_a_line_of_the_log_is_json_where_no_terminal_is(
    root_log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    log_to_stderr()
    logged()

    (line,) = file.getvalue().splitlines()
    entry: dict[str, Any] = json.loads(line)
    assert "ValueError: invalid literal" in entry.pop("exception")
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "ERROR",
        "logger": "signoff.test",
        "message": "it failed",
        "trace_id": "a" * 32,
        "job_id": "job_1",
        "execution_id": "exe_1",
    }


def test_a_line_of_the_log_is_for_people_on_a_terminal(
    root_log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    log_to_stderr()
    logged()

    first = terminal.getvalue().splitlines()[0]
    assert first.endswith(f"ERROR signoff.test trace={'a' * 32} job=job_1 execution=exe_1 it failed")


# ------------------------------------------------------------------------------------------------------------- traces


@pytest.fixture
def spans() -> Generator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    make_spans(provider.get_tracer("test"))
    yield exporter
    make_spans(None)
    provider.shutdown()


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


async def test_one_trace_goes_from_the_caller_through_the_operation_to_the_agent(
    api: Api, agent: ScriptedAgent, spans: InMemorySpanExporter
) -> None:
    job_id = await api.job(await api.agent(agent.url))
    spans.clear()
    caller = f"00-{'b' * 32}-{'c' * 16}-01"
    body = {
        "query": "mutation Press($id: ID!) { executeJob(input: {jobId: $id}) { job { status } } }",
        "variables": {"id": job_id},
        "operationName": "Press",
    }
    answer = await api.http.post("/graphql", json=body, headers={**api.bearer(), "traceparent": caller})
    assert answer.json()["data"]["executeJob"]["job"]["status"] == "COMPLETED"

    made = {span.name: span for span in spans.get_finished_spans()}
    assert set(made) == {"HTTP POST", "GraphQL mutation", "agent step", "call the agent", "validation step"}
    assert {span.context.trace_id for span in made.values() if span.context} == {int("b" * 32, 16)}
    assert parent_of(made["HTTP POST"]) == int("c" * 16, 16)
    assert parent_of(made["GraphQL mutation"]) == id_of(made["HTTP POST"])
    assert parent_of(made["call the agent"]) == id_of(made["agent step"])
    # The agent goes on under the span of its call.
    sent = agent.requests[0].headers["traceparent"]
    assert sent == f"00-{'b' * 32}-{id_of(made['call the agent']):016x}-01"


async def test_a_request_without_a_caller_begins_the_trace_that_its_answer_names(
    api: Api, spans: InMemorySpanExporter
) -> None:
    answer = await api.get("/api/jobs/job_00000000000000000000000000")

    (span,) = spans.get_finished_spans()
    assert span.parent is None
    assert span.context is not None
    assert answer.headers["x-trace-id"] == f"{span.context.trace_id:032x}"


async def test_requests_of_one_connection_are_traces_of_their_own(api: Api, spans: InMemorySpanExporter) -> None:
    """A server begins the next one in the midst of sending, where what the present one has set is still there."""
    tasks: list[asyncio.Task[None]] = []
    headers = [(name.encode(), value.encode()) for name, value in {"host": "signoff.test", **api.bearer()}.items()]

    async def receive() -> Message:
        return {"type": "http.request"}

    async def ask(path: str, *others: str) -> None:
        async def send(message: Message) -> None:
            if message["type"] == "http.response.body" and others:
                tasks.append(asyncio.create_task(ask(*others)))

        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"query={viewer{id}}"}
        await api.app({**scope, "headers": headers, "state": {}}, receive, send)

    await ask("/healthz", "/graphql", "/graphql")
    for task in tasks:
        await task

    made = spans.get_finished_spans()
    requests = [span for span in made if span.name == "HTTP GET"]
    assert [span.parent for span in requests] == [None, None]
    assert {parent_of(span) for span in made if span.name == "GraphQL query"} == set(map(id_of, requests))
    assert len({trace_of(span) for span in made}) == 2


async def over_a_socket(api: Api, *asked: dict[str, Any], **headers: str) -> None:
    """Have operations executed over one socket, one after the other."""
    async with Socket(api.app, headers={"host": "signoff.test", **api.bearer(), **headers}) as socket:
        await socket.init()
        for payload in asked:
            await socket.send({"id": "1", "type": "subscribe", "payload": payload})
            assert (await socket.receive())["type"] == "next"
            assert (await socket.receive())["type"] == "complete"


async def test_an_operation_over_a_websocket_is_a_trace_that_goes_on_to_the_agent(
    api: Api, agent: ScriptedAgent, spans: InMemorySpanExporter
) -> None:
    job_id = await api.job(await api.agent(agent.url))
    spans.clear()
    press = {
        "query": "mutation Press($id: ID!) { executeJob(input: {jobId: $id}) { job { status } } }",
        "variables": {"id": job_id},
        "operationName": "Press",
    }
    await over_a_socket(api, {"query": "{ viewer { id } }"}, press)

    made = {span.name: span for span in spans.get_finished_spans()}
    assert set(made) == {"GraphQL query", "GraphQL mutation", "agent step", "call the agent", "validation step"}
    query, mutation, step = made["GraphQL query"], made["GraphQL mutation"], made["agent step"]
    assert query.parent is None
    assert mutation.parent is None
    assert mutation.attributes == {"graphql.operation.name": "Press"}
    assert trace_of(query) != trace_of(mutation) == trace_of(step) == trace_of(made["validation step"])
    assert agent.requests[0].headers["traceparent"].startswith(f"00-{trace_of(mutation):032x}-")


async def test_operations_are_part_of_the_trace_that_their_socket_was_opened_in(
    api: Api, spans: InMemorySpanExporter
) -> None:
    await over_a_socket(api, {"query": "{ viewer { id } }"}, traceparent=f"00-{'b' * 32}-{'c' * 16}-01")

    (span,) = spans.get_finished_spans()
    assert (trace_of(span), parent_of(span)) == (int("b" * 32, 16), int("c" * 16, 16))


async def test_the_span_of_a_subscription_is_sent_once_it_stands_or_is_refused(
    api: Api, agent: ScriptedAgent, spans: InMemorySpanExporter
) -> None:
    job_id = await api.job(await api.agent(agent.url))
    spans.clear()
    query = "subscription Follow($id: ID!) { jobLogAppended(jobId: $id) { cursor } }"
    async with Socket(api.app, headers=api.bearer() | {"host": "signoff.test"}) as socket, asyncio.timeout(30):
        await socket.init()
        for number, followed in enumerate((job_id, "job_00000000000000000000000000")):
            payload = {"query": query, "variables": {"id": followed}}
            await socket.send({"id": str(number), "type": "subscribe", "payload": payload})
            while len(spans.get_finished_spans()) <= number:  # noqa: ASYNC110 - they ring no bell
                await asyncio.sleep(0.01)

    follow, refused = spans.get_finished_spans()
    assert follow.name == refused.name == "GraphQL subscription"
    assert follow.attributes == {"graphql.operation.name": "Follow"}
    assert (follow.parent, refused.parent) == (None, None)
    assert trace_of(follow) != trace_of(refused)


async def test_what_is_answered_as_events_has_its_spans_too(api: Api, spans: InMemorySpanExporter) -> None:
    answer = await api.http.post(
        "/graphql", json={"query": "{ viewer { id } }"}, headers=api.bearer() | {"accept": "text/event-stream"}
    )
    assert '"id":"ines"' in answer.text

    operation, request = spans.get_finished_spans()
    assert (operation.name, request.name) == ("GraphQL query", "HTTP POST")
    assert parent_of(operation) == id_of(request)


async def test_without_spans_the_agent_still_gets_the_trace(api: Api, agent: ScriptedAgent) -> None:
    job_id = await api.job(await api.agent(agent.url))
    await api.execute(job_id, headers={"traceparent": f"00-{'b' * 32}-{'c' * 16}-01"})

    assert agent.requests[0].headers["traceparent"].startswith(f"00-{'b' * 32}-")


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
)
def test_traces_are_made_where_the_standard_variables_say_so(environment: dict[str, str], *, wanted: bool) -> None:
    assert wants_traces(environment) is wanted


def test_an_unknown_exporter_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")

    with pytest.raises(BadSettingError, match="OTEL_TRACES_EXPORTER: 'pigeon'"):
        trace_as_told()
