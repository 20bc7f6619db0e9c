"""Each attempt against the one before it, criterion by criterion."""

from typing import Any

from services.ports import Verdict
from tests.schema.conftest import Api
from tests.schema.test_jobs_api import EXECUTE, new_agent, new_job
from tests.schema.test_reads import statements
from tests.services.conftest import STRANGER

COMPARISON = """
query Q($id: ID!) {
  job(id: $id) { executions(first: 10) { nodes {
    id comparison { criterion { text } change now { verdict } before { verdict } }
  } } }
}
"""
POLITE, SHORT, DUTCH = ({"text": text, "required": text != "Is short."} for text in ("Is polite.", "Is short.", "Nl."))


async def shown(api: Api, job_id: str) -> list[Any]:
    """Each attempt as a list of (text, change, now, before)."""
    nodes = (await api.data(COMPARISON, id=job_id))["job"]["executions"]["nodes"]
    return [
        [
            (item["criterion"]["text"], item["change"], item["now"]["verdict"], (item["before"] or {}).get("verdict"))
            for item in node["comparison"]
        ]
        for node in nodes
    ]


async def execute(api: Api, job_id: str, **verdicts: Verdict) -> None:
    api.validator.outcomes[0] = {f"{text.capitalize()}.": verdict for text, verdict in verdicts.items()} | {
        "Is polite.": verdicts["polite"],
        "Is short.": verdicts["short"],
    }
    await api.data(EXECUTE, input={"jobId": job_id})


async def test_attempts_are_compared_with_the_latest_judged_one_before(api: Api) -> None:
    job_id = await new_job(api, await new_agent(api), acceptanceCriteria=[POLITE, SHORT])
    await execute(api, job_id, polite=Verdict.FAIL, short=Verdict.PASS)
    # Not judged, so there is nothing to compare, and nothing to compare with.
    api.executor.outcomes[0] = None
    await api.data(EXECUTE, input={"jobId": job_id})
    api.executor.outcomes[0] = {"ok": True}
    await execute(api, job_id, polite=Verdict.UNSURE, short=Verdict.FAIL)
    await execute(api, job_id, polite=Verdict.PASS, short=Verdict.FAIL)

    with statements() as seen:
        attempts = await shown(api, job_id)

    assert attempts == [
        [("Is polite.", "NEW", "FAIL", None), ("Is short.", "NEW", "PASS", None)],
        [],
        [("Is polite.", "UNCHANGED", "UNSURE", "FAIL"), ("Is short.", "REGRESSED", "FAIL", "PASS")],
        [("Is polite.", "FIXED", "PASS", "UNSURE"), ("Is short.", "UNCHANGED", "FAIL", "FAIL")],
    ]
    # The job, its executions, and all comparisons at once.
    assert len(seen) == 3, seen


async def test_a_criterion_that_demands_something_else_is_new(api: Api) -> None:
    job_id = await new_job(api, await new_agent(api), acceptanceCriteria=[POLITE, SHORT])
    await execute(api, job_id, polite=Verdict.FAIL, short=Verdict.FAIL)
    job = (await api.data("query Q($id: ID!) { job(id: $id) { revision acceptanceCriteria { id } } }", id=job_id))[
        "job"
    ]
    first, second = (criterion["id"] for criterion in job["acceptanceCriteria"])
    edit = {
        "jobId": job_id,
        "expectedRevision": job["revision"],
        "acceptanceCriteria": [{**POLITE, "id": first}, {**DUTCH, "id": second}, SHORT],
    }
    update = "mutation M($input: UpdateJobInput!) { updateJob(input: $input) { userErrors { message } } }"
    assert (await api.data(update, input=edit))["updateJob"]["userErrors"] == []
    await execute(api, job_id, polite=Verdict.PASS, short=Verdict.PASS, nl=Verdict.FAIL)

    assert (await shown(api, job_id))[1] == [
        ("Is polite.", "FIXED", "PASS", "FAIL"),
        ("Nl.", "NEW", "FAIL", None),
        ("Is short.", "NEW", "PASS", None),
    ]


async def test_nobody_elses_attempts_are_compared(api: Api) -> None:
    job_id = await new_job(api, await new_agent(api), acceptanceCriteria=[POLITE, SHORT])
    await execute(api, job_id, polite=Verdict.FAIL, short=Verdict.FAIL)
    (node,) = (await api.data(COMPARISON, id=job_id))["job"]["executions"]["nodes"]

    query = "query Q($id: ID!) { execution(id: $id) { comparison { change } } }"

    assert len((await api.data(query, id=node["id"]))["execution"]["comparison"]) == 2
    assert (await api.by(STRANGER).data(query, id=node["id"]))["execution"] is None
