"""The worked examples of docs/plugins.md, installed as anybody would, in an environment of their own."""

import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.conftest import CREATE_AGENT, CREATE_JOB
from tests.app.test_commands import ROOT, environment

EXAMPLES = ROOT / "docs" / "examples"
UV = Path(sys.executable).with_name("uv")

# A long first answer, and a shorter one for whoever is told why.
PROGRAM = f"""#!{sys.executable}
import json, os, sys
assert not any(name.startswith(("SIGNOFF_", "OPENAI_")) for name in os.environ), "told what is the service's own"
job = json.load(sys.stdin)
long = "This is one sentence that goes on and on and says very little about " + job["topic"] + "."
print(json.dumps({{"text": "Short is good." if "longest sentence" in job.get("feedback", "") else long}}))
"""


EXECUTE = """
mutation($input: ExecuteJobInput!) {
  executeJob(input: $input) {
    job { status result }
    execution {
      validation { validator criteria { rationale evidence decidedBy } }
      comparison { change }
    }
  }
}
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with both examples, that sees this project and what it needs."""
    directory = tmp_path_factory.mktemp("plug-ins") / "env"
    quiet = ["--quiet", "--offline"]
    subprocess.run([UV, "venv", *quiet, "--python", sys.executable, directory], check=True)
    (packages,) = directory.glob("lib/python*/site-packages")
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "signoff.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    made = directory / "bin" / "python"
    examples = [EXAMPLES / "executor-command", EXAMPLES / "validator-readability"]
    subprocess.run(
        [UV, "pip", "install", *quiet, "--no-deps", "--no-build-isolation", "--python", made, *examples], check=True
    )
    return made


@contextmanager
def served(python: Path, cwd: Path, **more: str) -> Generator[str]:
    command = [str(python), "-m", "app", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=cwd, env=environment(**more), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said: list[str] = []
            while "Signoff serves at" not in (line := process.stderr.readline()):
                said.append(line)
                assert line, "".join(said)
            yield line.split("serves at ")[1].split("/graphql")[0]
        finally:
            process.terminate()
            process.wait(20)


def token(python: Path, cwd: Path, role: str) -> str:
    command = [str(python), "-m", "app", "token", "--subject", "ada", "--role", role]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=True)
    return str(done.stdout.splitlines()[-1])


def test_the_examples_execute_and_judge_a_job_until_it_is_right(python: Path, tmp_path: Path) -> None:
    commands = tmp_path / "commands"
    commands.mkdir()
    program = commands / "summarise"
    program.write_text(PROGRAM)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    settings = {
        "SIGNOFF_VALIDATOR": "readability",
        "SIGNOFF_COMMAND_DIRECTORY": str(commands),
        "SIGNOFF_ALLOWED_AGENT_NETWORKS": "127.0.0.0/8",
    }
    with served(python, tmp_path, **settings) as url:
        headers = {"authorization": f"Bearer {token(python, tmp_path, 'admin')}"}
        with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as http:

            def ask(query: str, **variables: object) -> Any:
                answer = http.post("/graphql", json={"query": query, "variables": variables}).json()
                assert "errors" not in answer, answer
                return answer["data"]

            assert ask("{ executors validators }") == {
                "executors": ["command", "http_json"],
                "validators": ["openai", "readability"],
            }
            agent = {"name": "Summaries", "executor": "command", "endpointUrl": "http://127.0.0.1/summarise"}
            job = {
                "title": "Summarise it",
                "input": {"topic": "whales"},
                "acceptanceCriteria": [{"text": "No sentence has more than 5 words."}],
                "agentId": ask(CREATE_AGENT, input=agent)["createAgent"]["agent"]["id"],
            }
            job_id = ask(CREATE_JOB, input=job)["createJob"]["job"]["id"]
            attempts = [ask(EXECUTE, input={"jobId": job_id})["executeJob"] for _ in range(2)]

    assert [attempt["job"]["status"] for attempt in attempts] == ["RESUBMISSION_REQUIRED", "COMPLETED"]
    first, second = (attempt["execution"]["validation"] for attempt in attempts)
    assert first["criteria"][0]["rationale"] == "The longest sentence has 15 words."
    assert second == {
        "validator": "readability",
        "criteria": [
            {
                "rationale": "The longest sentence has 3 words.",
                "evidence": ["Short is good."],
                "decidedBy": "readability",
            }
        ],
    }
    assert attempts[1]["execution"]["comparison"] == [{"change": "FIXED"}]
    assert attempts[1]["job"]["result"] == {"text": "Short is good."}


def test_a_validator_that_is_not_installed_is_said_at_the_start(python: Path, tmp_path: Path) -> None:
    command = [str(python), "-m", "app", "serve", "--port", "0"]
    variables = environment(SIGNOFF_VALIDATOR="readabilty")
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "signoff: SIGNOFF_VALIDATOR: there is no validator 'readabilty' here; installed: http, openai, readability."
    ]
