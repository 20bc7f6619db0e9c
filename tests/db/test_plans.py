"""What PostgreSQL makes of statements: planned once, and short ways whatever it knows of the tables."""

# A package here would hide the real db from the type checker.
# ruff: noqa: INP001

from typing import Any, cast

import pytest

from db import executions, jobs, logs, paging
from db.records import (
    EVERYTHING,
    WHOLE_ENTRY,
    JobFilter,
    JobLog,
    JobLogFilter,
    JobOrderField,
    JobStatus,
    OrderDirection,
    Page,
    Parts,
    parts_of,
)
from db.session import Database
from tests.db.making import make_job, make_queued, scalar
from tests.db.test_paging import fill

_PLANNED = """
SELECT sum(custom_plans), sum(generic_plans) FROM pg_prepared_statements
WHERE statement LIKE '%FROM jobs%' AND statement NOT LIKE '%custom_plans%'
"""


async def test_a_read_is_planned_once_whatever_it_is_given(postgresql_url: str) -> None:
    database = Database.open(postgresql_url)
    ids: list[str] = []
    for _ in range(12):
        async with database.begin() as tx:
            ids.append((await make_job(tx)).id)
        async with database.read() as tx:
            found = await jobs.get_many(tx, EVERYTHING, ids)
        assert [job and job.id for job in found] == ids
        async with database.read() as tx:
            page = Page(5)
            await jobs.page(tx, EVERYTHING, JobFilter(), JobOrderField.CREATED_AT, OrderDirection.ASC, page)
    (line,) = cast("Any", database)._lines._free  # noqa: SLF001
    anew, kept = await line.fetchrow(_PLANNED)
    await database.close()

    assert (anew, kept) == (0, 24)


async def test_a_pooler_in_between_is_asked_for_nothing_that_it_does_not_know(postgresql_url: str) -> None:
    """PgBouncer, say, refuses a connection that begins with settings which it does not follow."""
    database = Database.open(postgresql_url)
    async with database.read() as tx:
        await jobs.get_many(tx, EVERYTHING, ["job_1"])
    (line,) = cast("Any", database)._lines._free  # noqa: SLF001
    wanted = "SELECT setting, source FROM pg_settings WHERE name IN ('plan_cache_mode', 'random_page_cost')"
    found = await line.fetch(f"{wanted} ORDER BY name")
    await database.close()

    assert [tuple(row) for row in found] == [("force_generic_plan", "session"), ("1.1", "session")]


async def test_the_first_page_of_a_log_is_read_without_the_rest_of_it(postgresql_url: str) -> None:
    database = Database.open(postgresql_url)
    async with database.begin() as tx:
        await fill(tx)
        await tx.connection.exec_driver_sql("ANALYZE job_logs")
    async with database.read() as tx:
        for ids in (["job_1"], ["job_1", "job_2"]):
            await logs.of_jobs(tx, EVERYTHING, ids, JobLogFilter(), Page(20), WHOLE_ENTRY)
    (line,) = cast("Any", database)._lines._free  # noqa: SLF001
    texts = [row[0] for row in await line.fetch("SELECT statement FROM pg_prepared_statements")]
    plans: list[str] = []
    for number, statement in enumerate(text for text in texts if "FROM job_logs" in text):
        await line.execute(f"PREPARE known_{number} AS {statement}")
        plans += ["\n".join(row[0] for row in await line.fetch(f"EXPLAIN EXECUTE known_{number} (NULL)"))]
    await database.close()

    assert len(plans) == 2
    for plan in plans:
        assert "Index Scan using ix_job_logs_job" in plan, plan
        assert "Sort" not in plan, plan


async def plan_of(database: Database, shape: str, parameters: int) -> str:
    """How PostgreSQL goes about the statement of a shape where it is not told what it is given."""
    kept = cast("Any", paging)._kept.items()  # noqa: SLF001
    # The last is what was just asked for, whatever other tests have asked for before.
    *_, statement = (found.compiled.text for (postgresql, key), found in kept if postgresql and shape in repr(key))
    nothing = ", ".join(["NULL"] * parameters)
    async with database.begin() as tx:
        driver = cast("Any", tx)._driver  # noqa: SLF001
        await driver.execute("SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off")
        await driver.execute(f"PREPARE known AS {statement}")
        lines = await driver.fetch(f"EXPLAIN (COSTS off) EXECUTE known ({nothing})")
        await driver.execute("DEALLOCATE known")
    return "\n".join(line[0] for line in lines)


@pytest.mark.parametrize("slots", [3, 1000])
async def test_a_slot_is_found_without_looking_at_the_others(postgresql_url: str, slots: int) -> None:
    """PostgreSQL knows nothing of the new agent's slots, neither that there are many nor that there are few."""
    database = Database.open(postgresql_url)
    agent, (waiting,) = await make_queued(database, 1, max_concurrent_executions=slots)
    async with database.begin() as tx:
        assert await executions.take_slot(tx, agent.id, waiting)
    plan = await plan_of(database, "take a slot", 3)
    await database.close()

    assert "using ix_agent_slots_free" in plan, plan
    assert "Sort" not in plan, plan


async def test_a_step_finds_its_execution_by_its_id(postgresql_url: str) -> None:
    """Not by looking through all that are live, of which there seem to be few."""
    database = Database.open(postgresql_url)
    _, (waiting,) = await make_queued(database, 1)
    async with database.begin() as tx:
        assert not await executions.not_answered(tx, waiting, 7, responded=False)
        await tx.connection.exec_driver_sql("ANALYZE executions")
    plan = await plan_of(database, "'agent_responded', 'by', 'giving'", 4)
    await database.close()

    assert "using pk_executions" in plan, plan


_MANY_JOBS = """
INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object(
    'id', 'job_' || n, 'updated_at', now() - n * interval '1 s', 'status', (ARRAY['pending', 'assigned'])[1 + n % 2]
))).* FROM jobs j, generate_series(1, 20000) n
"""
_FILTERED = """
SELECT sum(generic_plans) FROM pg_prepared_statements
WHERE statement LIKE '%jobs.status IN%' AND statement NOT LIKE '%generic_plans%'
"""


async def test_a_list_that_is_filtered_is_planned_for_its_filter(postgresql_url: str) -> None:
    """What most jobs are is found among the last changed; what none is, is not looked for among all of them."""
    database = Database.open(postgresql_url, pool_size=1)
    async with database.begin() as tx:
        await make_job(tx)
        await tx.connection.exec_driver_sql(_MANY_JOBS)
        await tx.connection.exec_driver_sql("ANALYZE jobs")
    found: set[int] = set()
    for status in [JobStatus.PENDING, JobStatus.RESUBMISSION_REQUIRED] * 8:
        wanted, order = JobFilter(statuses=(status,)), OrderDirection.DESC
        async with database.read() as tx:
            listed = await jobs.page(tx, EVERYTHING, wanted, JobOrderField.UPDATED_AT, order, Page(5))
        found.add(len(listed.rows))
    async with database.begin() as tx:
        planned_for_all: int = await scalar(tx, _FILTERED)
    await database.close()

    assert found == {0, 5}
    assert planned_for_all == 0


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """The statements that are kept: none yet, and ten at most."""
    none: dict[Any, Any] = {}
    monkeypatch.setattr(paging, "_kept", none)
    monkeypatch.setattr(paging, "_LARGEST_KEPT", 10)
    return none


async def test_the_sizes_of_pages_that_clients_choose_fill_no_memory(database: Database, kept: dict[Any, Any]) -> None:
    async with database.begin() as tx:
        made = [(await make_job(tx)).id for _ in range(3)]
    for size in range(1, 30):
        async with database.read() as tx:
            page = await jobs.page(
                tx, EVERYTHING, JobFilter(), JobOrderField.CREATED_AT, OrderDirection.ASC, Page(size)
            )
        assert [job.id for job in page.rows] == made[:size]
        assert page.has_next == (size < len(made))
        assert len(kept) <= 10


async def test_what_is_read_most_stays_built_whatever_else_clients_choose(
    database: Database, kept: dict[Any, Any]
) -> None:
    first: Any = None
    async with database.read() as tx:
        for number in range(100):
            await logs.get_many(tx, EVERYTHING, [], WHOLE_ENTRY)
            first = first or next(iter(kept.values()))
            await logs.get_many(
                tx, EVERYTHING, [], Parts(part for bit, part in enumerate(parts_of(JobLog)) if number >> bit & 1)
            )
            assert first in kept.values()

    assert len(kept) == 10
