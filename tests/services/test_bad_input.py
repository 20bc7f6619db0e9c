"""What people write wrong is refused with the right code at the right place, and leaves nothing half-written."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import pytest
from sqlalchemy import text

from db.models import metadata
from db.records import Agent, Execution, Job, JobFilter, JobOrderField, OrderDirection, Page, Validation, parts_of
from db.session import Database
from services.agents import AgentDraft
from services.agents import cursor_of as agent_cursor
from services.agents import position as agent_position
from services.cursors import encode, log_cursor, log_position, page
from services.executions.requests import Execute, validation_cursor_of, validation_position
from services.executions.requests import cursor_of as execution_cursor
from services.executions.requests import position as execution_position
from services.ids import AGENT, JOB, new_id
from services.inputs import CriterionDraft
from services.jobs import JobDraft, JobEdit
from services.jobs import cursor_of as job_cursor
from services.jobs import position as job_position
from services.refusals import BadRequestError, ErrorCode, Refusal
from tests.agents import ScriptedAgent
from tests.services.conftest import ADMIN, CLIENT, IS_OK, STRANGER, House, OpenHouse

Subtests: TypeAlias = pytest.Subtests
INVALID, NOT_FOUND, FORBIDDEN = ErrorCode.INVALID_INPUT, ErrorCode.NOT_FOUND, ErrorCode.FORBIDDEN
URL = "http://127.0.0.1:9/run"
SURROGATE, NUL = "a \ud800 b", "a \0 b"
UNKNOWN_JOB, UNKNOWN_AGENT = new_id(JOB), new_id(AGENT)
MALFORMED_IDS = ("", "1", "job_", "job_1", "job_" + "z" * 26, SURROGATE, NUL, "'; --", '"]', "j" * 10_000, "é")


def nested(levels: int) -> list[Any]:
    return [nested(levels - 1)] if levels else []


BAD_JSON: dict[str, Any] = {
    "a lone surrogate": {"a": [SURROGATE]},
    "a key with a lone surrogate": {SURROGATE: 1},
    "U+0000": {"a": NUL},
    "NaN": {"a": float("nan")},
    "Infinity": [float("-inf")],
    "too deep": nested(70),
    "an integer beyond 64 bits": 2**64,
    "a key that is no string": {1: 2},
    "what JSON does not have": {"a": {1, 2}},
    "257 KiB": "x" * (257 * 1024),
}
BAD_TEXTS = {"blank": " \n\t", "empty": "", "a lone surrogate": SURROGATE, "U+0000": NUL}


# What triggers make of the jobs, and what is folded meanwhile, whatever is asked.
COUNTS = {"job_counts", "job_count_changes"}


async def tables(database: Database) -> dict[str, list[Any]]:
    """Everything that is stored and said nowhere else."""
    async with database.read() as tx:
        return {
            table.name: sorted(map(repr, (await tx.connection.execute(text(f"SELECT * FROM {table.name}"))).all()))  # noqa: S608
            for table in metadata.sorted_tables
            if table.name not in COUNTS
        }


@asynccontextmanager
async def nothing_written(house: House) -> AsyncGenerator[None]:
    before = await tables(house.container.database)
    yield
    assert await tables(house.container.database) == before


Act: TypeAlias = Callable[[], Awaitable[Any]]


async def refused(house: House, subtests: Subtests, what: str, act: Act, code: ErrorCode, *path: str) -> None:
    """The act is refused with one refusal of that code, that names that place, and writes nothing."""
    async with nothing_written(house):
        await told(subtests, what, act, code, *path)


async def told(subtests: Subtests, what: str, act: Act, code: ErrorCode, *path: str) -> None:
    """The act is refused with one refusal of that code, that names that place."""
    with subtests.test(what):
        (refusal,) = (await act()).user_errors
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.path) == (code, path or None)
        assert refusal.message
        refusal.message.encode()


@pytest.fixture
async def agent(house: House) -> Agent:
    return await house.agent(URL)


@pytest.fixture
async def job(house: House, agent: Agent) -> Job:
    return await house.job(agent)


# ------------------------------------------------------------------------------------------------------------ criteria

CRITERIA: dict[str, tuple[Sequence[CriterionDraft], tuple[str, ...]]] = {
    "none": ([], ()),
    "51": ([IS_OK] * 51, ()),
    "none required": ([replace(IS_OK, required=False)], ()),
    "a blank text": ([IS_OK, CriterionDraft("  ")], ("1", "text")),
    "a text too long": ([CriterionDraft("x" * 2_001)], ("0", "text")),
    "a text with a lone surrogate": ([CriterionDraft(SURROGATE)], ("0", "text")),
    "a text with U+0000": ([CriterionDraft(NUL)], ("0", "text")),
    "an expression that is none": ([CriterionDraft("c", expression="answer.ok ==")], ("0", "check", "expression")),
    "an empty expression": ([CriterionDraft("c", expression="")], ("0", "check", "expression")),
    "an expression over what is not there": (
        [CriterionDraft("c", expression="previous.answer == 1")],
        ("0", "check", "expression"),
    ),
    "an expression too long": (
        [CriterionDraft("c", expression="answer == '" + "x" * 1_000 + "'")],
        ("0", "check", "expression"),
    ),
    "an expression with U+0000": ([CriterionDraft("c", expression="answer == '\0'")], ("0", "check", "expression")),
    "an expression with a lone surrogate": (
        [CriterionDraft("c", expression="answer == '\ud800'")],
        ("0", "check", "expression"),
    ),
    "macros in macros": (
        [CriterionDraft("c", expression="answer.all(a, a.all(b, b.all(c, c.all(d, d.all(e, e > 0)))))")],
        ("0", "check", "expression"),
    ),
    "a schema that is none": ([CriterionDraft("c", json_schema={"type": "nonsense"})], ("0", "check", "jsonSchema")),
    "a schema that is a number": ([CriterionDraft("c", json_schema=5)], ("0", "check", "jsonSchema")),
    "a schema elsewhere": (
        [CriterionDraft("c", json_schema={"$ref": "http://127.0.0.1:9/schema"})],
        ("0", "check", "jsonSchema"),
    ),
    "a schema with NaN": ([CriterionDraft("c", json_schema={"const": float("nan")})], ("0", "check", "jsonSchema")),
    "both an expression and a schema": (
        [CriterionDraft("c", expression="true", json_schema={"const": float("nan")})],
        ("0", "check"),
    ),
    "an id that this job does not have": ([replace(IS_OK, id="cri_1")], ("0", "id")),
    "an id that is no text": ([replace(IS_OK, id=SURROGATE)], ("0", "id")),
}


async def test_criteria_that_cannot_be(house: House, job: Job, subtests: Subtests) -> None:
    jobs = house.container.jobs
    for what, (criteria, path) in CRITERIA.items():
        where = ("acceptanceCriteria", *path)
        draft = JobDraft("A", criteria, idempotency_key="key")
        edit = JobEdit(1, acceptance_criteria=criteria)
        async with nothing_written(house):
            await told(subtests, f"create: {what}", partial(jobs.create, CLIENT, draft), INVALID, *where)
            await told(subtests, f"update: {what}", partial(jobs.update, CLIENT, job.id, edit), INVALID, *where)


async def test_a_criterion_of_another_job_or_named_twice(
    house: House, agent: Agent, job: Job, subtests: Subtests
) -> None:
    mine, others = job.acceptance_criteria[0], (await house.job(agent)).acceptance_criteria[0]
    for what, named, index in (("another job's", [others.id], "0"), ("twice", [mine.id, mine.id], "1")):
        edit = JobEdit(1, acceptance_criteria=[replace(IS_OK, id=id_) for id_ in named])
        await refused(
            house,
            subtests,
            what,
            partial(house.container.jobs.update, CLIENT, job.id, edit),
            INVALID,
            *("acceptanceCriteria", index, "id"),
        )


async def test_fifty_criteria_and_the_longest_texts_are_taken(house: House) -> None:
    longest = JobDraft("t" * 200, [CriterionDraft("c" * 2_000)] * 50, "d" * 20_000, "x" * (256 * 1024 - 2))
    assert (await house.container.jobs.create(CLIENT, longest)).job is not None


# ---------------------------------------------------------------------------------------------------------------- jobs


async def test_texts_and_json_that_cannot_be_kept(house: House, job: Job, subtests: Subtests) -> None:
    jobs = house.container.jobs
    cases: list[tuple[str, dict[str, Any], str]] = []
    cases += [(f"title: {what}", {"title": value}, "title") for what, value in BAD_TEXTS.items()]
    cases += [("title: too long", {"title": "x" * 201}, "title")]
    cases += [(f"description: {what}", {"description": value}, "description")
              for what, value in {"long": "x" * 20_001, "surrogate": SURROGATE, "U+0000": NUL}.items()]  # fmt: skip
    cases += [(f"input: {what}", {"input": value}, "input") for what, value in BAD_JSON.items()]
    for what, fields, path in cases:
        draft = replace(JobDraft("A job", [IS_OK]), **fields)
        edit = replace(JobEdit(1), **fields)
        async with nothing_written(house):
            await told(subtests, f"create: {what}", partial(jobs.create, CLIENT, draft), INVALID, path)
            await told(subtests, f"update: {what}", partial(jobs.update, CLIENT, job.id, edit), INVALID, path)
    for what, value in {**BAD_TEXTS, "too long": "k" * 201}.items():
        draft = JobDraft("A job", [IS_OK], idempotency_key=value)
        await refused(house, subtests, f"key: {what}", partial(jobs.create, CLIENT, draft), INVALID, "idempotencyKey")
        owned = JobDraft("A job", [IS_OK], owner_id=value)
        await refused(house, subtests, f"owner: {what}", partial(jobs.create, ADMIN, owned), INVALID, "ownerId")


async def test_ids_of_nothing_and_of_others(house: House, agent: Agent, job: Job, subtests: Subtests) -> None:
    jobs, executions = house.container.jobs, house.container.executions
    edit = JobEdit(1, title="Changed")
    asked = [(CLIENT, UNKNOWN_JOB), (ADMIN, UNKNOWN_JOB), (STRANGER, job.id), (ADMIN, agent.id)]
    asked += [(viewer, id_) for viewer in (CLIENT, ADMIN) for id_ in MALFORMED_IDS]
    for viewer, id_ in asked:
        acts: dict[str, Act] = {
            "update": partial(jobs.update, viewer, id_, edit),
            "assign": partial(jobs.assign, viewer, id_, agent.id),
            "execute": partial(executions.execute, viewer, Execute(id_, wait_seconds=0)),
            "execute with a key": partial(executions.execute, viewer, Execute(id_, 0, idempotency_key="k")),
            "retry": partial(executions.retry_validation, viewer, id_, 0),
            "cancel": partial(executions.cancel, viewer, id_, None, None),
        }
        if viewer is ADMIN:
            acts |= {
                "force": partial(executions.execute, ADMIN, Execute(id_, 0, force=True, reason="r")),
                "force_assign": partial(jobs.force_assign, ADMIN, id_, agent.id, "r"),
                "force_complete": partial(jobs.force_complete, ADMIN, id_, 1, "r"),
                "force_resubmission": partial(jobs.force_resubmission, ADMIN, id_, "r"),
            }
        async with nothing_written(house):
            for what, act in acts.items():
                await told(subtests, f"{what} {viewer.name} {id_[:30]!r}", act, NOT_FOUND, "jobId")
        assert await jobs.get(viewer, id_) is None
        assert await jobs.get_many(viewer, [id_]) == [None]
        assert await executions.get_many(viewer, [id_]) == [None]


async def test_agents_that_nobody_can_assign(house: House, agent: Agent, job: Job, subtests: Subtests) -> None:
    disabled = await house.agent(URL, enabled=False)
    jobs = house.container.jobs
    for id_ in (UNKNOWN_AGENT, disabled.id, job.id, *MALFORMED_IDS):
        draft = JobDraft("A job", [IS_OK], agent_id=id_)
        acts: dict[str, Act] = {
            "create": partial(jobs.create, CLIENT, draft),
            "assign": partial(jobs.assign, CLIENT, job.id, id_),
            "force_assign": partial(jobs.force_assign, ADMIN, job.id, id_, "r"),
        }
        async with nothing_written(house):
            for what, act in acts.items():
                await told(subtests, f"{what} {id_[:30]!r}", act, NOT_FOUND, "agentId")


async def test_a_revision_that_was_seen_before_an_edit(
    house: House, agent: Agent, job: Job, subtests: Subtests
) -> None:
    jobs, stale = house.container.jobs, ErrorCode.STALE_REVISION
    await jobs.update(CLIENT, job.id, JobEdit(1, title="Changed"))
    for seen in (1, 3, 0, -1, 2**70):
        edit = JobEdit(seen, title="Again")
        acts: dict[str, Act] = {
            "update": partial(jobs.update, CLIENT, job.id, edit),
            "assign": partial(jobs.assign, CLIENT, job.id, agent.id, seen),
            "execute": partial(
                house.container.executions.execute,
                CLIENT,
                Execute(job.id, 0, expected_revision=seen, idempotency_key="key"),
            ),
        }
        async with nothing_written(house):
            for what, act in acts.items():
                await told(subtests, f"{what} at {seen}", act, stale, "expectedRevision")


async def test_overrides_without_a_reason(house: House, agent: Agent, job: Job, subtests: Subtests) -> None:
    jobs, executions = house.container.jobs, house.container.executions
    for what, reason in {**BAD_TEXTS, "too long": "r" * 2_001}.items():
        acts: dict[str, Act] = {
            "force": partial(executions.execute, ADMIN, Execute(job.id, 0, force=True, reason=reason)),
            "force_assign": partial(jobs.force_assign, ADMIN, job.id, agent.id, reason),
            "force_complete": partial(jobs.force_complete, ADMIN, job.id, 1, reason),
            "force_resubmission": partial(jobs.force_resubmission, ADMIN, job.id, reason),
            "cancel": partial(executions.cancel, CLIENT, job.id, None, reason),
        }
        async with nothing_written(house):
            for name, act in acts.items():
                await told(subtests, f"{name}: {what}", act, INVALID, "reason")
    without = Execute(job.id, 0, force=True)
    await refused(house, subtests, "none", partial(executions.execute, ADMIN, without), INVALID, "reason")
    unforced = Execute(job.id, 0, reason=SURROGATE)
    await refused(house, subtests, "unforced", partial(executions.execute, CLIENT, unforced), INVALID, "reason")


async def test_a_result_that_cannot_be_kept(house: House, job: Job, subtests: Subtests) -> None:
    bad = {what: value for what, value in BAD_JSON.items() if "KiB" not in what}
    for what, value in {**bad, "2 MiB and a byte": "x" * (2 * 1024 * 1024 - 1)}.items():
        await refused(
            house,
            subtests,
            what,
            partial(house.container.jobs.force_complete, ADMIN, job.id, value, "r"),
            INVALID,
            "result",
        )


async def test_waits_that_are_none(house: House, job: Job, subtests: Subtests) -> None:
    executions = house.container.executions
    for seconds in (-1.0, -0.001, 300.001, 301.0, float("nan"), float("inf"), float("-inf")):
        acts: dict[str, Act] = {
            "execute": partial(executions.execute, CLIENT, Execute(job.id, seconds, idempotency_key="key")),
            "retry": partial(executions.retry_validation, CLIENT, job.id, seconds),
        }
        async with nothing_written(house):
            for what, act in acts.items():
                await told(subtests, f"{what} {seconds}", act, INVALID, "waitSeconds")
    for what, key in {**BAD_TEXTS, "too long": "k" * 201}.items():
        command = Execute(job.id, 0, idempotency_key=key)
        await refused(
            house, subtests, f"key: {what}", partial(executions.execute, CLIENT, command), INVALID, "idempotencyKey"
        )


async def test_what_admins_alone_may_is_forbidden_before_anything_is_looked_up(
    house: House, agent: Agent, job: Job, subtests: Subtests
) -> None:
    jobs, executions, agents = house.container.jobs, house.container.executions, house.container.agents
    for id_ in (job.id, UNKNOWN_JOB, "nonsense"):
        acts: dict[str, Act] = {
            "force": partial(executions.execute, CLIENT, Execute(id_, 999, force=True)),
            "force_assign": partial(jobs.force_assign, CLIENT, id_, agent.id, ""),
            "force_complete": partial(jobs.force_complete, CLIENT, id_, float("nan"), ""),
            "force_resubmission": partial(jobs.force_resubmission, CLIENT, id_, ""),
            "create an agent": partial(agents.create, CLIENT, AgentDraft("", "")),
            "edit an agent": partial(agents.update, CLIENT, id_, {"name": ""}),
        }
        async with nothing_written(house):
            for what, act in acts.items():
                await told(subtests, f"{what} {id_}", act, FORBIDDEN)


# -------------------------------------------------------------------------------------------------------------- agents

BAD_AGENTS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    **{f"name: {what}": ("name", value, ("name",)) for what, value in {**BAD_TEXTS, "long": "x" * 201}.items()},
    **{f"secret: {what}": ("secret", value, ("secret",)) for what, value in {**BAD_TEXTS, "long": "x" * 4001}.items()},
    **{
        f"endpoint_url: {value[:40]!r}": ("endpoint_url", value, ("endpointUrl",))
        for value in (
            *BAD_TEXTS.values(),
            "nonsense",
            "ftp://127.0.0.1/",
            "http://",
            "http://user:pass@127.0.0.1/",
            "http://127.0.0.1/#part",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:99999/",
            "http://10.0.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://[fe80::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://0/",
            "http://0x0a000001/",
            "http://127.0.0.1/" + "x" * 2_000,
        )
    },
    **{
        f"timeout_seconds: {value}": ("timeout_seconds", value, ("timeoutSeconds",))
        for value in (0, -1, 900.5, 901, float("nan"), float("inf"))
    },
    **{
        f"max_concurrent_executions: {value}": ("max_concurrent_executions", value, ("maxConcurrentExecutions",))
        for value in (0, -1, 1_001, 2**40)
    },
    "executor": ("executor", "carrier pigeon", ("executor",)),
    **{
        f"{name}: {what}": (name, value, (path,))
        for name, path in (("input_schema", "inputSchema"), ("output_schema", "outputSchema"))
        for what, value in {
            "no schema": {"type": "nonsense"},
            "a number": 7,
            "elsewhere": {"$ref": "https://example.com/schema"},
            "a pattern that is none": {"pattern": "("},
            **BAD_JSON,
        }.items()
    },
    **{
        f"input_mapping: {what}": ("input_mapping", value, ("inputMapping", *path))
        for what, (value, path) in {
            "no object": (["job.title"], ()),
            "a text": ("job.title", ()),
            "values that are no expressions": ({"a": 1}, ()),
            "a syntax error": ({"a": "job.title +"}, ("a",)),
            "an unknown variable": ({"a": "answer"}, ("a",)),
            "an expression too long": ({"a": "job.title == '" + "x" * 1_000 + "'"}, ("a",)),
            "101 properties": ({f"p{n}": "job.title" for n in range(101)}, ()),
            "a key with U+0000": ({NUL: "job.title"}, ()),
            "a lone surrogate": ({"a": f"'{SURROGATE}'"}, ()),
        }.items()
    },
}


async def test_agents_that_cannot_be(house: House, agent: Agent, subtests: Subtests) -> None:
    agents = house.container.agents
    for what, (name, value, path) in BAD_AGENTS.items():
        draft = replace(AgentDraft("An agent", URL), **{name: value})
        update = partial(agents.update, ADMIN, agent.id, {name: value})
        async with nothing_written(house):
            await told(subtests, f"create: {what}", partial(agents.create, ADMIN, draft), INVALID, *path)
            await told(subtests, f"update: {what}", update, INVALID, *path)


async def test_null_for_what_cannot_be_null(house: House, agent: Agent, subtests: Subtests) -> None:
    agents = house.container.agents
    names = {
        "name": "name",
        "executor": "executor",
        "endpoint_url": "endpointUrl",
        "timeout_seconds": "timeoutSeconds",
        "max_concurrent_executions": "maxConcurrentExecutions",
        "idempotent": "idempotent",
        "enabled": "enabled",
    }
    for name, path in names.items():
        await refused(
            house, subtests, name, partial(agents.update, ADMIN, agent.id, {"name": "N", name: None}), INVALID, path
        )
    for name in ("input_schema", "output_schema", "input_mapping", "secret"):
        result = await agents.update(ADMIN, agent.id, {name: None})
        assert (result.user_errors, getattr(result.agent, name)) == ((), None)


async def test_agents_that_are_not_there(house: House, subtests: Subtests) -> None:
    for id_ in (UNKNOWN_AGENT, UNKNOWN_JOB, *MALFORMED_IDS):
        await refused(
            house,
            subtests,
            f"{id_[:30]!r}",
            partial(house.container.agents.update, ADMIN, id_, {"name": "New"}),
            NOT_FOUND,
            "agentId",
        )
        assert await house.container.agents.get(ADMIN, id_) is None


async def test_an_agent_whose_executor_is_gone_can_still_be_disabled(open_house: OpenHouse) -> None:
    async with ScriptedAgent() as scripted:
        async with open_house(extra_executors=[("fake", object())]) as house:
            agent = await house.agent(scripted.url, executor="fake")
        async with open_house() as house:
            result = await house.container.agents.update(ADMIN, agent.id, {"enabled": False})
    assert result.user_errors == ()
    assert result.agent is not None
    assert not result.agent.enabled


# -------------------------------------------------------------------------------------------------------------- cursors

BAD_CURSORS = (
    "",
    "nonsense",
    "é",
    SURROGATE,
    NUL,
    "a" * 201,
    encode("x", 1),
    encode("l"),
    encode("l", "text"),
    encode("l", 1, 1),
    encode("l", 2**63),
    encode("a", 2**62, "agt_1"),
    encode("a", 1, "é"),
    encode("a", 1, "\0"),
    "W10",  # []
    "MQ",  # 1
    "W1tbW1tbW1tbW1tbW1tb",
    "WyJsIixOYU5d",  # ["l",NaN]
    "WyJsIix0cnVlXQ",  # ["l",true]
    "WyJsIiwxLjVd",  # ["l",1.5]
)
LISTS: dict[str, Callable[[str], object]] = {
    "agents": agent_position,
    "executions": execution_position,
    "validations": validation_position,
    "logs": log_position,
    **{f"jobs by {field.value}": partial(job_position, field=field) for field in JobOrderField},
}


@pytest.mark.parametrize("read", LISTS.values(), ids=LISTS.keys())
@pytest.mark.parametrize("cursor", BAD_CURSORS, ids=lambda it: repr(it)[:40])
def test_a_cursor_that_no_list_made(read: Callable[[str], object], cursor: str) -> None:
    with pytest.raises(BadRequestError, match="is not a cursor of this list"):
        read(cursor)


async def test_a_cursor_is_good_for_its_own_list_alone(house: House, job: Job, agent: Agent) -> None:
    execution = Execution(**dict.fromkeys(parts_of(Execution), None) | {"number": 3})  # type: ignore[arg-type]
    validation = Validation(**dict.fromkeys(Validation.__dataclass_fields__, None) | {"number": 4})  # type: ignore[arg-type]
    made = {
        "agents": agent_cursor(agent),
        "executions": execution_cursor(execution),
        "validations": validation_cursor_of(validation),
        "logs": log_cursor(5),
        **{f"jobs by {field.value}": job_cursor(job, field) for field in JobOrderField},
    }
    wanted: dict[str, Any] = {
        "agents": (agent.created_at, agent.id),
        "executions": (3,),
        "validations": (4,),
        "logs": (5,),
        "jobs by created_at": (job.created_at, job.id),
        "jobs by updated_at": (job.updated_at, job.id),
    }
    for name, cursor in made.items():
        for other, read in LISTS.items():
            if name == other:
                assert read(cursor) == wanted[name]
            else:
                with pytest.raises(BadRequestError):
                    read(cursor)


@pytest.mark.parametrize(
    ("first", "last"), [(0, None), (101, None), (-1, None), (None, 0), (None, 101), (1, 1), (2**40, None), (0, 0)]
)
def test_a_page_that_is_none(first: int | None, last: int | None) -> None:
    with pytest.raises(BadRequestError, match=r"first|last"):
        page(log_position, first, None, last, None)


def test_a_page_is_twenty_rows_unless_it_is_said() -> None:
    assert page(log_position, None, None, None, None) == Page(20)
    assert page(log_position, 100, None, None, None) == Page(100)
    cursor = log_cursor(7)
    assert page(log_position, None, cursor, 3, cursor) == Page(3, backward=True, after=(7,), before=(7,))


async def test_positions_at_the_ends_of_time_are_read(house: House, job: Job) -> None:
    for microseconds, id_ in ((-62_135_596_800_000_000, ""), (253_402_300_799_999_999, "z" * 100)):
        position = job_position(encode("created_at", microseconds, id_), JobOrderField.CREATED_AT)
        for direction in OrderDirection:
            found = await house.container.jobs.page(
                CLIENT, JobFilter(), JobOrderField.CREATED_AT, direction, Page(5, after=position)
            )
            assert found.rows in ((), (job,))


async def test_a_feed_after_a_malformed_cursor(house: House, job: Job) -> None:
    follow = house.container.feed.follow
    for job_id in (job.id, None):
        with pytest.raises(BadRequestError):
            await anext(follow(CLIENT, job_id, "nonsense"))
    for job_id in MALFORMED_IDS:
        with pytest.raises(StopAsyncIteration):
            await anext(follow(CLIENT, job_id, None))
