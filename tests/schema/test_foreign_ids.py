"""Nobody sees another's rows by any path: what is foreign is answered exactly as what is unknown.

The paths are generated: every root field and every input of the schema that takes an id, so that a new one is tested
by being there.
"""

from typing import Any

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_required_input_field,
)

from schema.build import build_schema
from services.ids import EXECUTION, JOB, LOG, VALIDATION, new_id
from tests.schema.conftest import Api
from tests.schema.sockets import Socket
from tests.schema.test_jobs_api import EXECUTE, new_agent, new_job
from tests.services.conftest import ADMIN, CLIENT, STRANGER

SCHEMA: GraphQLSchema = build_schema()._schema  # noqa: SLF001 - Strawberry shows it to nobody

# Values for what an input demands besides ids.
REQUIRED: dict[str, Any] = {
    "expectedRevision": 1,
    "reason": "Because.",
    "title": "A title",
    "acceptanceCriteria": [{"text": "It is.", "required": True}],
}


def leaves(field: GraphQLField) -> str:
    """A selection of what a field answers: its leaves, and the ids of what lies below."""
    answered = get_named_type(field.type)
    if is_leaf_type(answered):
        return ""
    parts = ["__typename"]
    if isinstance(answered, GraphQLObjectType):
        for name, inner in answered.fields.items():
            inner_type = get_named_type(inner.type)
            if is_leaf_type(inner_type):
                parts.append(name)
            elif isinstance(inner_type, GraphQLObjectType) and "id" in inner_type.fields and not inner.args:
                parts.append(f"{name} {{ id }}")
            elif name in {"userErrors", "edges"}:
                parts.append(f"{name} {{ {'code message path' if name == 'userErrors' else 'cursor'} }}")
    else:
        parts.append("... on Node { id }")
    return "{ " + " ".join(parts) + " }"


def takes_id(item: GraphQLArgument | GraphQLInputField) -> bool:
    return get_named_type(item.type).name == "ID"


def root_fields_by_id() -> list[tuple[str, str, str]]:
    """(operation, field, argument) for every root field that takes an id as an argument."""
    found: list[tuple[str, str, str]] = []
    for operation, root in (("query", SCHEMA.query_type), ("subscription", SCHEMA.subscription_type)):
        assert root is not None
        for name, field in root.fields.items():
            found += [(operation, name, argument) for argument, item in field.args.items() if takes_id(item)]
    return found


def mutations_by_id() -> list[tuple[str, str]]:
    """(mutation, member of its input) for every mutation that takes an id."""
    assert SCHEMA.mutation_type is not None
    found: list[tuple[str, str]] = []
    for name, field in SCHEMA.mutation_type.fields.items():
        input_type = get_named_type(field.args["input"].type)
        assert isinstance(input_type, GraphQLInputObjectType)
        found += [(name, member) for member, item in input_type.fields.items() if takes_id(item)]
    return found


def filters_by_id() -> list[tuple[str, str]]:
    """(input type, member) for every filter that takes ids."""
    return [
        (type_.name, member)
        for type_ in SCHEMA.type_map.values()
        if isinstance(type_, GraphQLInputObjectType) and type_.name.endswith("Filter")
        for member, item in type_.fields.items()
        if takes_id(item)
    ]


class Foreign:
    """A job of somebody else's with an execution, a log and a validation."""

    def __init__(self, api: Api, known: dict[str, str]) -> None:
        self.api = api
        self.known = known

    def pairs(self) -> list[tuple[str, str]]:
        """Each foreign id, and an unknown one of the same kind."""
        return [(known, new_id(prefix)) for prefix, known in self.known.items()]

    async def same(self, query: str, **variables: Any) -> None:
        """Ask as a stranger with each foreign id and with an unknown one; `ID` in the variables stands for it."""
        for known, unknown in self.pairs():
            answers: list[str] = []
            for id_ in (known, unknown):
                answer = await self.api.post({"query": query, "variables": _with(variables, id_)})
                assert "GRAPHQL_VALIDATION_FAILED" not in answer.text, (query, answer.text)
                answers.append(answer.text.replace(id_, "ID"))
            assert answers[0] == answers[1], (query, known)


def _with(value: Any, id_: str) -> Any:
    if isinstance(value, dict):
        return {name: _with(item, id_) for name, item in value.items()}
    if isinstance(value, list):
        return [_with(item, id_) for item in value]
    return id_ if value == "ID" else value


@pytest.fixture
async def foreign(api: Api) -> Foreign:
    """Carl's; the stranger is who asks."""
    job_id = await new_job(api, await new_agent(api))
    await api.data(EXECUTE, input={"jobId": job_id})
    query = "query Q($id: ID!) { job(id: $id) { latestExecution { id validation { id } } logs { nodes { id } } } }"
    job = (await api.by(CLIENT).data(query, id=job_id))["job"]
    execution = job["latestExecution"]
    known = {
        JOB: job_id,
        EXECUTION: execution["id"],
        VALIDATION: execution["validation"]["id"],
        LOG: job["logs"]["nodes"][0]["id"],
    }
    return Foreign(api.by(STRANGER), known)


async def test_the_ids_are_really_there_for_an_admin(foreign: Foreign) -> None:
    for known, unknown in foreign.pairs():
        answer = await foreign.api.by(ADMIN).data("query Q($id: ID!) { node(id: $id) { id } }", id=known)
        assert answer == {"node": {"id": known}}
        answer = await foreign.api.by(STRANGER).data("query Q($id: ID!) { node(id: $id) { id } }", id=unknown)
        assert answer == {"node": None}


async def test_every_query_answers_a_foreign_id_as_an_unknown_one(foreign: Foreign) -> None:
    queries = [(name, argument) for operation, name, argument in root_fields_by_id() if operation == "query"]
    assert len(queries) >= 5
    assert SCHEMA.query_type is not None
    for name, argument in queries:
        field = SCHEMA.query_type.fields[name]
        await foreign.same(f"query Q($id: ID!) {{ {name}({argument}: $id) {leaves(field)} }}", id="ID")


async def test_every_mutation_answers_a_foreign_id_as_an_unknown_one(foreign: Foreign) -> None:
    mutations = mutations_by_id()
    assert len(mutations) >= 12
    assert SCHEMA.mutation_type is not None
    for name, member in mutations:
        field = SCHEMA.mutation_type.fields[name]
        input_type = get_named_type(field.args["input"].type)
        assert isinstance(input_type, GraphQLInputObjectType)
        given: dict[str, Any] = {}
        for other, item in input_type.fields.items():
            if other == member:
                given[other] = ["ID"] if is_list_type(item.type) else "ID"
            elif is_required_input_field(item):
                given[other] = new_id(JOB) if takes_id(item) else REQUIRED[other]
        query = f"mutation M($input: {input_type.name}!) {{ {name}(input: $input) {leaves(field)} }}"
        await foreign.same(query, input=given)
    job = await foreign.api.house.container.jobs.get(ADMIN, foreign.known[JOB])
    assert job is not None
    assert (job.revision, job.status.name) == (1, "COMPLETED")


async def test_every_filter_finds_nothing_of_others(foreign: Foreign) -> None:
    filters = filters_by_id()
    assert len(filters) >= 3
    own = await new_job(foreign.api, None)
    for type_name, member in filters:
        filter_type = SCHEMA.type_map[type_name]
        assert isinstance(filter_type, GraphQLInputObjectType)
        item = filter_type.fields[member]
        wanted = {member: ["ID"] if "[" in str(item.type) else "ID"}
        if type_name == "JobFilter":
            query = """query Q($f: JobFilter) {
                jobs(filter: $f) { totalCount nodes { id } } jobCounts(filter: $f) { count }
            }"""
            await foreign.same(query, f=wanted)
        else:
            query = (
                "query Q($id: ID!, $f: JobLogFilter) { job(id: $id) { logs(filter: $f) { totalCount nodes { id } } } }"
            )
            for known, unknown in foreign.pairs():
                answers = [await foreign.api.data(query, id=own, f=_with(wanted, id_)) for id_ in (known, unknown)]
                assert answers[0] == answers[1]


async def test_every_subscription_answers_a_foreign_id_as_an_unknown_one(foreign: Foreign) -> None:
    subscriptions = [
        (name, argument) for operation, name, argument in root_fields_by_id() if operation == "subscription"
    ]
    assert len(subscriptions) == 2
    for name, argument in subscriptions:
        for known, unknown in foreign.pairs():
            errors: list[str] = []
            for id_ in (known, unknown):
                async with Socket(foreign.api.app) as socket:
                    await socket.init(STRANGER.id)
                    query = f"subscription S($id: ID!) {{ {name}({argument}: $id) {{ cursor }} }}"
                    await socket.subscribe("1", query, id=id_)
                    errors.append(str(await socket.error("1")).replace(id_, "ID"))
            assert errors[0] == errors[1]
            assert "NOT_FOUND" in errors[0]
