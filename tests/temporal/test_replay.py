"""The workflow can go on from wherever one of an earlier version stands."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from services.runners.temporal_workflow import ExecutionWorkflow

RECORDED = {file.stem: file.read_text() for file in sorted(Path(__file__).with_name("histories").glob("*.json"))}


@pytest.mark.parametrize("name", RECORDED)
async def test_a_recorded_execution_is_replayed(name: str) -> None:
    history = WorkflowHistory.from_json("exe_recorded", RECORDED[name])

    await Replayer(workflows=[ExecutionWorkflow]).replay_workflow(history)


async def test_a_workflow_that_decides_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    history = WorkflowHistory.from_json("exe_recorded", RECORDED["waited"].replace("signoff-validate", "another"))

    with pytest.raises(Exception, match="Nondeterminism"):
        await Replayer(workflows=[ExecutionWorkflow]).replay_workflow(history)


def test_what_is_recorded_covers_the_workflow() -> None:
    assert set(RECORDED) >= {"accepted", "waited", "cancelled"}
    assert "EVENT_TYPE_TIMER_FIRED" in RECORDED["waited"]
    assert "EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED" in RECORDED["cancelled"]
