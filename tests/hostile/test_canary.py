"""A secret is put everywhere a secret can go, and is then looked for in every byte that the service leaves or says.

One real server on SQLite, one life: agents and a validator that echo what they were sent in every place that an answer
has, an admin who puts secrets where none belong, callers with broken tokens. Then the database's files, the write-ahead
log, everything logged, every response and the output of the commands are searched.
"""

import asyncio
import base64
import json
import signal
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from app.auth import Tokens
from db.records import Role
from tests.agents import Response, ScriptedAgent
from tests.app.test_commands import environment, signoff

# Each is found by itself, so that a leak says which way it took. Marks that JSON and URLs escape are part of some.
CANARIES = {
    "the agent's secret": 'canary-agent-7f3a"9/x+y',
    "the agent's secret of before": "canary-before-51c2e8",
    "the validator's secret": "canary-validator-90dd41",
    "the validator's secret of before": "canary-validator-before-13",
    "the OpenAI key": "sk-canary-openai-66ab20",
    "the secret key": "canary-secret-key-0123456789-abcdefghijkl",
    "the secret key of before": "canary-old-secret-key-0123456789-abcdefgh",
    "the token of /metrics": "canary-metrics-token-8842",
    "a password in a URL": "canary-userinfo-password-31",
    "a caller's broken token": "canary-broken-token-77",
    "a caller's password": "canary-basic-password-19",
}
AGENT, BEFORE = CANARIES["the agent's secret"], CANARIES["the agent's secret of before"]
VALIDATOR = CANARIES["the validator's secret"]
# What is no secret and must be found, lest the search be blind.
WITNESS = "witness-no-secret-4711"

ECHO = {"ok": True, "witness": WITNESS, "you_sent": f"Bearer {AGENT}", "before": [BEFORE], AGENT: {"nested": AGENT}}
HEADERS = {"x-echo": AGENT, "set-cookie": f"s={AGENT}", "location": f"http://x/{AGENT}", "retry-after": AGENT}

# An agent's answer, by which check the job's only criterion is decided (None: by a validator), and by which validator.
EXECUTIONS: Mapping[str, tuple[Response, str | None, str | None]] = {
    "accepted": (Response(ECHO, headers=HEADERS), "answer.ok", None),
    "rejected, its values shown": (Response(ECHO), "answer.you_sent == answer.before[0]", None),
    "refused by its output schema": (Response([ECHO, AGENT]), "true", None),
    "no JSON": (Response(f"<b>{AGENT}</b> {BEFORE} {WITNESS}".encode()), "true", None),
    "a key twice": (Response(f"{{{json.dumps(AGENT)}: 1, {json.dumps(AGENT)}: 2}}".encode()), "true", None),
    "an error": (Response({**ECHO, "nested": json.dumps(ECHO)}, status=500, headers=HEADERS), "true", None),
    "a redirect": (Response(ECHO, status=302, headers=HEADERS), "true", None),
    "a page that quotes it": (Response(f"/?key={quote(AGENT, safe='')}".encode(), status=404), "true", None),
    "in Base64": (Response(base64.b64encode(AGENT.encode()), status=400), "true", None),
    "a broken head": (Response(raw=f"HTTP/1.1 200 OK\r\n{AGENT}\0\r\n\r\n".encode()), "true", None),
    "too much": (Response(b"x" * 2_097_152 + AGENT.encode()), "true", None),
    "judged": (Response(ECHO), None, None),
    "judged by a model": (Response(ECHO), None, "openai"),
}

LOG = """query($id: ID!) { job(id: $id) {
  id title status result notice { code message failedCriteria { rationale evidence } }
  executions(first: 20) { nodes { state outcome answer agent { name endpointUrl hasSecret }
    validation { feedback criteria { rationale evidence decidedBy } } comparison { now { rationale } } } }
  logs(first: 100) { nodes { type message payload errorCode } } } }"""
PREVIEW = "query($id: ID!) { executionPreview(jobId: $id) { request inputErrors } }"


def spellings(canary: str) -> Iterable[bytes]:
    """How a canary may be written."""
    texts = {canary, json.dumps(canary)[1:-1], quote(canary, safe=""), canary.removeprefix("sk-")}
    return {text.encode() for text in texts} | {base64.b64encode(canary.encode()).rstrip(b"=")}


@dataclass
class Life:
    """A server process and all that it says."""

    url: str
    directory: Path
    http: httpx.AsyncClient
    said: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def heard(self, where: str, what: bytes) -> None:
        self.said[f"{len(self.said)}: {where}"] = what

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = await self.http.request(method, f"{self.url}{path}", **more)
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.heard(f"{method} {path}", head.encode() + answer.content)
        return answer

    async def ask(self, query: str, role: Role = Role.ADMIN, **variables: Any) -> dict[str, Any]:
        token = Tokens.of([SecretStr(CANARIES["the secret key"])]).issue("ada", role)
        headers = {"authorization": f"Bearer {token}"}
        answer = await self.send("POST", "/graphql", json={"query": query, "variables": variables}, headers=headers)
        body: dict[str, Any] = answer.json()
        return body

    async def mutate(self, mutation: str, made: str, /, **fields: Any) -> Any:
        kind = f"{mutation[0].upper()}{mutation[1:]}Input"
        query = f"mutation($i: {kind}!) {{ {mutation}(input: $i) {{ {made} {{ id }} userErrors {{ message }} }} }}"
        return (await self.ask(query, i=fields))["data"][mutation]


def settings(validator_url: str, openai_url: str) -> dict[str, str]:
    return {
        "SIGNOFF_ALLOWED_AGENT_NETWORKS": "127.0.0.0/8",
        "SIGNOFF_SECRET_KEY": CANARIES["the secret key"],
        "SIGNOFF_OLD_SECRET_KEYS": CANARIES["the secret key of before"],
        "SIGNOFF_METRICS_TOKEN": CANARIES["the token of /metrics"],
        "SIGNOFF_VALIDATOR": "http",
        "SIGNOFF_VALIDATOR_URL": validator_url,
        "SIGNOFF_VALIDATOR_SECRET": VALIDATOR,
        "SIGNOFF_VALIDATOR_OLD_SECRET": CANARIES["the validator's secret of before"],
        "SIGNOFF_ALLOWED_VALIDATOR_NETWORKS": "127.0.0.1/32",
        "OPENAI_API_KEY": CANARIES["the OpenAI key"],
        "OPENAI_BASE_URL": openai_url,
        "SIGNOFF_DRAIN_NOTICE_SECONDS": "0",
    }


@asynccontextmanager
async def life(directory: Path, variables: Mapping[str, str]) -> AsyncGenerator[Life]:
    """Serve; what was logged is heard when it ends."""
    log = directory / "stderr"
    command = (sys.executable, "-m", "app", "serve", "--port", "0")
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=directory, env=environment(**variables), stdout=stderr, stderr=stderr
        )
    try:
        async with asyncio.timeout(60):
            while b"/graphql (Ctrl-C ends)" not in log.read_bytes():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        url = log.read_text().split("serves at ")[1].split("/graphql")[0]
        async with httpx.AsyncClient(timeout=60) as http:
            one = Life(url, directory, http)
            yield one
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        one.heard("log", log.read_bytes())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def waits(one: Life, job_id: str) -> None:
    """Wait until an execution waits for its validator."""
    async with asyncio.timeout(30):
        while True:
            body = await one.ask(LOG, id=job_id)
            if "WAITING_RETRY" in str(body):
                return
            await asyncio.sleep(0.05)


async def executed(one: Life, agent: ScriptedAgent, expression: str | None, judge: str | None) -> str:
    """Register the agent (its secret is replaced once), have it do a job, and read all there is of that."""
    made = await one.mutate(
        "createAgent",
        "agent",
        name="An agent",
        endpointUrl=agent.url,
        secret=BEFORE,
        outputSchema={"type": ["object", "array"], "maxItems": 0},
        validator=judge,
    )
    agent_id = made["agent"]["id"]
    await one.mutate("updateAgent", "agent", agentId=agent_id, secret=AGENT)
    criterion: dict[str, Any] = {"text": "It is right."}
    if expression is not None:
        criterion["check"] = {"expression": expression}
    made = await one.mutate("createJob", "job", title="A job", acceptanceCriteria=[criterion], agentId=agent_id)
    job_id: str = made["job"]["id"]
    await one.mutate("executeJob", "job", jobId=job_id, waitSeconds=0 if judge else 30)
    if judge:
        await waits(one, job_id)
    for query in (LOG, PREVIEW):
        body = await one.ask(query, id=job_id)
        assert "errors" not in body, body
    token = Tokens.of([SecretStr(CANARIES["the secret key"])]).issue("ada", Role.ADMIN)
    for path in (f"/api/jobs/{job_id}", f"/api/jobs/{job_id}/logs"):
        await one.send("GET", path, headers={"authorization": f"Bearer {token}"})
    return job_id


async def put_where_none_belongs(one: Life) -> None:
    """Secrets in URLs, headers and values of a wrong type."""
    password = CANARIES["a password in a URL"]
    for url in (f"http://ada:{password}@127.0.0.1/", f"http://127.0.0.1/#{password}", f"x://{password}"):
        made = await one.mutate("createAgent", "agent", name="An agent", endpointUrl=url)
        assert made["agent"] is None
    broken, basic = CANARIES["a caller's broken token"], CANARIES["a caller's password"]
    for path in ("/graphql", "/api/jobs/job_x", "/metrics", "/readyz", "/"):
        for authorization in (f"Bearer {broken}", f"Bearer a.{broken}.c", f"Basic {basic}", broken):
            await one.send("GET", path, headers={"authorization": authorization})
        await one.send("GET", path, headers={"cookie": f"signoff_session={broken}"})
    await one.send("POST", "/login", json={"token": broken})
    metrics = {"authorization": f"Bearer {CANARIES['the token of /metrics']}"}
    await one.send("GET", "/metrics", headers=metrics)
    await one.send("GET", "/readyz")


def found_in(canary: str, places: Mapping[str, bytes]) -> list[str]:
    return [where for where, what in places.items() if any(spelling in what for spelling in spellings(canary))]


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(file.name): file.read_bytes() for file in directory.iterdir() if file.is_file()}


async def test_no_secret_is_found_anywhere_afterwards(tmp_path: Path) -> None:
    echo = {"id": "crt", "verdict": "fail", "rationale": f"You sent {VALIDATOR}.", "evidence": []}
    async with AsyncExitStack() as stack:
        validator = await stack.enter_async_context(ScriptedAgent())
        wrong_key = {"error": {"message": f"Incorrect API key provided: {CANARIES['the OpenAI key']}."}}
        openai = await stack.enter_async_context(ScriptedAgent(Response(wrong_key, status=401)))
        agents = {
            how: await stack.enter_async_context(ScriptedAgent(response))
            for how, (response, _, _) in EXECUTIONS.items()
        }
        variables = settings(validator.url, openai.url)
        async with life(tmp_path, variables) as one:
            # The validator says three times what is no verdict (it cannot know the criterion's id), echoing its secret.
            validator.responses = [
                Response({"results": [echo]}),
                Response(f"<i>{VALIDATOR}</i>".encode()),
                Response({"error": VALIDATOR, "results": []}, headers={"x-echo": VALIDATOR}),
            ]
            await put_where_none_belongs(one)
            await asyncio.gather(
                *(executed(one, agents[how], check, judge) for how, (_, check, judge) in EXECUTIONS.items())
            )
            running = files_of(tmp_path)
            assert "signoff.db-wal" in running
        said = dict(one.said)
        newer = {**variables, "SIGNOFF_SECRET_KEY": "k" * 40}
        newer["SIGNOFF_OLD_SECRET_KEYS"] = f"{CANARIES['the secret key']},{CANARIES['the secret key of before']}"
        for keys in (newer, {**newer, "SIGNOFF_SECRET_KEY": "n" * 40, "SIGNOFF_OLD_SECRET_KEYS": ""}):
            done = await asyncio.to_thread(signoff, "rotate-keys", cwd=tmp_path, **keys)
            said[f"rotate-keys {done.returncode}"] = (done.stdout + done.stderr).encode()

    # Everybody was sent what they echo, and the search finds what is no secret.
    for how, agent in agents.items():
        assert agent.requests[0].headers["authorization"] == f"Bearer {AGENT}", how
    assert len(validator.requests) == 3
    assert openai.requests[0].headers["authorization"] == f"Bearer {CANARIES['the OpenAI key']}"
    assert {request.headers["authorization"] for request in validator.requests} == {f"Bearer {VALIDATOR}"}
    secrets = 2 * len(EXECUTIONS)  # the present one and the one before
    assert found_in(WITNESS, running)
    assert found_in(WITNESS, said)
    assert b"re-encrypted: %d" % secrets in said["rotate-keys 0"]
    assert b"no known key reads %d stored secrets" % secrets in said["rotate-keys 1"]

    places = {**running, **{f"after: {name}": what for name, what in files_of(tmp_path).items()}, **said}
    assert {name: where for name, canary in CANARIES.items() if (where := found_in(canary, places))} == {}
    assert sum(b"[redacted]" in what for what in said.values()) > len(EXECUTIONS)
