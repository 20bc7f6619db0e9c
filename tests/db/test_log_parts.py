"""Of log entries is read what is asked for; what was not cannot be mistaken for what is not there."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

from collections.abc import Sequence
from dataclasses import fields

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db import logs, rows
from db.records import (
    EVERYTHING,
    WHOLE_ENTRY,
    JobLog,
    JobLogFilter,
    JobLogStatus,
    JobLogType,
    JobStatus,
    Page,
    PageOf,
    Parts,
    PayloadState,
    StoredJson,
    parts_of,
)
from db.session import Database
from tests.db.making import OWNER, make_agent, make_execution, make_job, make_log

ANY_PARTS = st.frozensets(st.sampled_from(parts_of(JobLog)))
NO_FILTER = JobLogFilter()


@pytest.fixture
async def filled(database: Database) -> Database:
    """Two jobs whose entries have something, and nothing, in each place that may be empty."""
    async with database.begin() as tx:
        agent = await make_agent(tx)
        for _ in range(2):
            job = await make_job(tx, agent)
            run = await make_execution(tx, job, agent)
            request = await make_log(
                tx, job, JobLogType.AGENT_REQUEST, execution_id=run.execution.id, attempt=1, payload={"a": ["é", None]}
            )
            await make_log(
                tx,
                job,
                JobLogType.AGENT_RESPONSE,
                execution_id=run.execution.id,
                attempt=1,
                actor=OWNER,
                status=JobLogStatus.ERROR,
                payload="text",
                payload_state=PayloadState.TRUNCATED,
                payload_bytes=700,
                http_status=500,
                duration_ms=12,
                error_code="broken",
                trace_id="7" * 32,
                answers=request,
            )
            change = {"from_status": JobStatus.PENDING, "to_status": JobStatus.ASSIGNED}
            await make_log(tx, job, JobLogType.STATUS_CHANGE, **change)
    return database


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=ANY_PARTS)
async def test_parts_are_what_they_are_in_whole_entries(filled: Database, parts: Parts) -> None:
    async with filled.read() as tx:
        (listed,) = (await logs.page(tx, EVERYTHING, NO_FILTER, Page(100), WHOLE_ENTRY),)
        jobs = list(dict.fromkeys(entry.job_id for entry in listed.rows))
        runs = list(dict.fromkeys(entry.execution_id for entry in listed.rows if entry.execution_id))
        whole = {entry.id: entry for entry in listed.rows}

        async def read(wanted: Parts) -> Sequence[tuple[str, Sequence[JobLog | None]]]:
            filtered = JobLogFilter(statuses=tuple(JobLogStatus))
            pages: list[tuple[str, PageOf[JobLog]]] = [
                ("", await logs.page(tx, EVERYTHING, NO_FILTER, Page(100), wanted)),
                ("", await logs.page(tx, EVERYTHING, filtered, Page(4, backward=True), wanted)),
                *(("job_id", page) for page in await logs.of_jobs(tx, EVERYTHING, jobs, NO_FILTER, Page(2), wanted)),
                *(
                    ("execution_id", page)
                    for page in await logs.of_executions(tx, EVERYTHING, runs, filtered, Page(9), wanted)
                ),
            ]
            found: list[tuple[str, Sequence[JobLog | None]]] = [(parent, page.rows) for parent, page in pages]
            return [*found, ("id", await logs.get_many(tx, EVERYTHING, [*whole, "log_unknown"], wanted))]

        for (parent, entries), (_, all_of_them) in zip(await read(parts), await read(WHOLE_ENTRY), strict=True):
            assert entries
            for entry, full in zip(entries, all_of_them, strict=True):
                if entry is None or full is None:
                    assert entry is full is None
                    continue
                read_parts = entry.read_parts()
                assert read_parts == {part: getattr(full, part) for part in read_parts}
                # By the others it was found and put in its place.
                assert parts <= read_parts.keys() <= parts | {"id", "seq", parent}


def test_entries_know_what_they_have_not_been_read_with() -> None:
    entry = rows.reader(JobLog, Parts({"id", "seq", "kept_payload"}))(("log_1", 7, '{"a":1}'))

    assert (entry.id, entry.seq, entry.payload, entry.kept_payload.__class__) == ("log_1", 7, {"a": 1}, StoredJson)
    assert repr(entry) == "JobLog(id='log_1', seq=7, kept_payload='{\"a\":1}')"
    with pytest.raises(AttributeError, match="message"):
        _ = entry.message
    assert entry == rows.reader(JobLog, Parts({"id", "seq", "kept_payload"}))(("log_1", 7, '{"a":1}'))
    assert entry != rows.reader(JobLog, Parts({"id", "seq"}))(("log_1", 7))
    assert entry != rows.reader(JobLog, Parts({"id", "seq", "message"}))(("log_1", 7, '{"a":1}'))


def test_a_whole_entry_has_every_field() -> None:
    assert {field.name for field in fields(JobLog)} == WHOLE_ENTRY
