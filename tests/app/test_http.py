"""What holds for every route: names, origins, sizes, traces, headers, health."""

from collections.abc import AsyncGenerator

import httpx
import pytest
from starlette.responses import PlainTextResponse

from app.asgi import create_app, rules_of
from app.auth import SESSION_COOKIE, Authentication, Tokens
from app.middleware import SECURITY_HEADERS, Door, is_same_host
from app.secrets import secret_keys
from app.settings import Settings
from db.records import Role
from tests.app.conftest import Api, OpenApi

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_alive_and_ready(api: Api) -> None:
    alive, ready = await api.http.get("/healthz"), await api.http.get("/readyz")

    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert ready.status_code == 200
    checks = {"database": "ok", "revision": "ok", "draining": "ok", "validator": "ok"}
    assert ready.json() == {"status": "ready", "checks": checks}


async def test_what_an_operator_must_mend_for_the_validator_is_told_and_takes_nobody_out_of_service(api: Api) -> None:
    api.app.state.container.validator_health.problem = "OPENAI_API_KEY is refused."

    ready = await api.http.get("/readyz")

    assert ready.status_code == 200
    assert ready.json()["checks"]["validator"] == "OPENAI_API_KEY is refused."


async def test_what_became_of_the_canary_is_told_and_takes_nobody_out_of_service(open_api: OpenApi) -> None:
    async with open_api(judge_canary=True) as api:
        ready = await api.http.get("/readyz")

    assert ready.status_code == 200
    assert ready.json()["checks"]["canary"] != "ok"


async def test_not_ready_while_draining(api: Api) -> None:
    api.app.state.drain.begin()

    ready = await api.http.get("/readyz")

    assert (ready.status_code, ready.json()["checks"]) == (503, {"draining": "yes", "validator": "ok"})
    assert (await api.http.get("/healthz")).status_code == 200


async def test_not_ready_without_a_database(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"database_url": "postgresql+asyncpg://127.0.0.1:1/signoff"}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        ready = await http.get("/readyz")

    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "not reachable")


async def test_not_ready_before_the_migration(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty") / "signoff.db"
    app = create_app(settings.model_copy(update={"database_url": f"sqlite+aiosqlite:///{empty}"}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        ready = await http.get("/readyz")

    assert ready.json()["checks"] == {
        "database": "ok",
        "revision": "not the newest: signoff migrate",
        "draining": "ok",
        "validator": "ok",
    }
    assert ready.status_code == 503


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", True),
        (f"cc-{TRACE}-b7ad6b7169203331-01-more", True),
        (f"ff-{TRACE}-b7ad6b7169203331-01", False),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-b7ad6b7169203331-01", False),
        ("nonsense", False),
    ],
)
async def test_a_trace_is_carried_on_where_it_is_one(api: Api, sent: str, kept: bool) -> None:
    trace_id = (await api.http.get("/healthz", headers={"traceparent": sent})).headers["x-trace-id"]

    assert (trace_id == TRACE) is kept
    assert len(trace_id) == 32


async def test_a_trace_reaches_the_log_of_a_job(api: Api) -> None:
    draft = {"title": "A job", "acceptanceCriteria": [{"text": "x", "check": {"expression": "true"}}]}
    agent_id = await api.agent("http://127.0.0.1:9/")
    query = "mutation($input: CreateJobInput!) { createJob(input: $input) { job { logs { nodes { traceId } } } } }"
    answer = await api.http.post(
        "/graphql",
        json={"query": query, "variables": {"input": {**draft, "agentId": agent_id}}},
        headers={**api.bearer(), "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
    )

    assert TRACE in {log["traceId"] for log in answer.json()["data"]["createJob"]["job"]["logs"]["nodes"]}


async def test_every_answer_has_the_security_headers(api: Api) -> None:
    for path in ("/healthz", "/graphql", "/api/jobs/job_1", "/nowhere"):
        answer = await api.http.get(path)
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_what_is_not_there_is_said_in_json(api: Api) -> None:
    missing, wrong = await api.http.get("/nowhere"), await api.http.get("/api/jobs/job_1/execute", headers=api.bearer())

    assert (missing.status_code, missing.json()["errors"][0]["extensions"]) == (404, {"code": "NOT_FOUND"})
    assert (wrong.status_code, wrong.json()["errors"][0]["extensions"]) == (405, {"code": "METHOD_NOT_ALLOWED"})


async def chunks(size: int) -> AsyncGenerator[bytes]:
    for _ in range(size // 65_536 + 1):
        yield b" " * 65_536


@pytest.mark.parametrize("path", ["/graphql", "/api/jobs/job_1/execute"])
@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large_is_413(api: Api, path: str, declared: bool) -> None:
    content = b" " * (1024 * 1024 + 1) if declared else chunks(1024 * 1024 + 1)
    answer = await api.http.post(path, content=content, headers={**api.bearer(), "content-type": "application/json"})

    assert answer.status_code == 413
    assert answer.json()["errors"][0]["extensions"] == {"code": "REQUEST_TOO_LARGE"}


async def test_a_foreign_page_cannot_use_a_persons_cookie(api: Api) -> None:
    token = api.bearer()["authorization"].removeprefix("Bearer ")
    cookie = {"cookie": f"{SESSION_COOKIE}={token}"}

    async def post(**headers: str) -> int:
        return (await api.http.post("/graphql", json={"query": "{ viewer { id } }"}, headers=headers)).status_code

    assert await post(**cookie) == 200
    assert await post(**cookie, origin="http://signoff.test") == 200
    assert await post(**cookie, origin="https://evil.test") == 403
    assert await post(**cookie, origin="null") == 403
    assert await post(**api.bearer(), origin="https://evil.test") == 200


async def test_an_allowed_origin_may_call(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"allowed_origins": ("https://pages.test",)}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        allowed = await http.options("/graphql", headers={"origin": "https://pages.test", **asks})
        foreign = await http.options("/graphql", headers={"origin": "https://evil.test", **asks})

    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://pages.test")
    assert foreign.status_code == 400
    assert "access-control-allow-origin" not in foreign.headers


async def test_what_an_allowed_origin_is_answered_may_be_read_there(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"allowed_origins": ("https://pages.test",)}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        allowed = await http.get("/nowhere", headers={"origin": "https://pages.test"})
        foreign = await http.get("/nowhere", headers={"origin": "https://evil.test"})
        none = await http.get("/nowhere")

    assert allowed.headers["access-control-allow-origin"] == "https://pages.test"
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert allowed.headers["access-control-expose-headers"] == "x-trace-id"
    assert "access-control-allow-origin" not in foreign.headers
    assert {answer.headers["vary"] for answer in (allowed, foreign, none)} == {"Origin"}


@pytest.mark.parametrize("origin", ["https://pages.test", None])
async def test_what_an_answer_says_several_times_stays(settings: Settings, origin: str | None) -> None:
    own = settings.model_copy(update={"allowed_origins": ("https://pages.test",)})
    answer = PlainTextResponse("ok", headers={"vary": "Cookie", "x-frame-options": "SAMEORIGIN"})
    answer.raw_headers += [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"vary", b"Accept")]
    door = Door(answer, rules_of(own, Authentication(Tokens.of(secret_keys(own)))))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://x") as http:
        got = await http.get("/nowhere", headers={"origin": origin} if origin else {})

    assert got.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert got.headers.get_list("vary") == ["Cookie, Accept, Origin"]
    assert {name: got.headers.get(name) for name in SECURITY_HEADERS} == {
        **SECURITY_HEADERS,
        "x-frame-options": "SAMEORIGIN",
    }
    assert got.headers.get("access-control-allow-origin") == origin
    assert len(got.headers["x-trace-id"]) == 32


@pytest.mark.parametrize("path", ["/graphql?query={viewer{id}}", "/api/jobs/job_1"])
async def test_a_bug_is_told_as_no_more_than_that(settings: Settings, path: str) -> None:
    app = create_app(settings)  # it never starts, so there are no services
    bearer = f"Bearer {Tokens.of(secret_keys(settings)).issue('ada', Role.CLIENT)}"
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        answer = await http.get(path, headers={"authorization": bearer})

    assert answer.status_code == 500
    assert answer.json() == {"errors": [{"message": "Internal error", "extensions": {"code": "INTERNAL"}}]}
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert len(answer.headers["x-trace-id"]) == 32


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("signoff.test", True),
        ("SIGNOFF.test:8000", True),
        ("a.pages.test", True),
        ("[::1]:8000", True),
        ("pages.test", False),
        ("evil.test", False),
        ("evil.test/signoff.test", False),
        ("signoff.test@evil.test", False),
        ("signoff.test:port", False),
        ("", False),
        ("x" * 1000, False),
    ],
)
async def test_only_names_that_are_trusted_are_answered_to(settings: Settings, host: str, named: bool) -> None:
    app = create_app(settings.model_copy(update={"trusted_hosts": ("signoff.test", "*.pages.test", "::1")}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        assert (await http.get("/nowhere", headers={"host": host})).status_code == (404 if named else 400)


async def test_a_foreign_name_is_refused_but_to_probes(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"trusted_hosts": ("signoff.test",)}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://evil.test") as http:
        assert (await http.get("/nowhere")).status_code == 400
        assert (await http.get("/nowhere", headers={"host": "signoff.test:8000"})).status_code == 404
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://a.test", "a.test", True),
        ("https://A.test", "a.test:443", True),
        ("http://a.test:8000", "a.test:8000", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://a.test:8000", "a.test", False),
        ("http://a.test.evil.test", "a.test", False),
        ("http://a.test:nonsense", "a.test", False),
        ("null", "a.test", False),
        ("null", "", False),
        ("", "", False),
    ],
)
def test_same_host_is_told_from_foreign(origin: str, host: str, same: bool) -> None:
    assert is_same_host(origin, host) is same
