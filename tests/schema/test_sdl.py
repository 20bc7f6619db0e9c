"""What is served is what was promised, is written down, and explains itself."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_introspection_query,
    is_non_null_type,
    print_ast,
)
from graphql import build_schema as schema_of

from schema.build import Schema, build_schema

GOLDEN = Path(__file__).parents[2] / "schema" / "schema.graphql"
CONTRACT = Path(__file__).with_name("contract.graphql")


@pytest.fixture(scope="module")
def built() -> Schema:
    return build_schema()


@pytest.fixture(scope="module")
def served(built: Schema) -> GraphQLSchema:
    """What clients make of it: read back from the SDL."""
    return schema_of(built.as_str())


def test_the_golden_sdl_is_the_built_schema(built: Schema) -> None:
    assert built.as_str() + "\n" == GOLDEN.read_text(), "run: signoff schema > schema/schema.graphql"


def test_building_twice_gives_the_same_schema(built: Schema) -> None:
    assert build_schema().as_str() == built.as_str()


# ------------------------------------------------------------------------------------------------------- contract


def breaches(contract: GraphQLSchema, served: GraphQLSchema) -> list[str]:
    """Where the served schema is less than the contract, or stricter."""
    found: list[str] = []
    for name, promised in contract.type_map.items():
        if name.startswith("__"):
            continue
        given = served.type_map.get(name)
        if type(given) is not type(promised):
            found.append(f"{name}: {type(promised).__name__} is missing")
            continue
        assert given is not None
        found += [f"{name}.{text}" for text in type_breaches(promised, given)]
    for root in ("query_type", "mutation_type", "subscription_type"):
        if str(getattr(contract, root)) != str(getattr(served, root)):
            found.append(f"{root} differs")
    return found


def type_breaches(promised: GraphQLNamedType, given: GraphQLNamedType) -> Iterator[str]:
    if isinstance(promised, GraphQLEnumType) and isinstance(given, GraphQLEnumType):
        yield from (f"{value}: no such value" for value in promised.values.keys() - given.values.keys())
    elif isinstance(promised, GraphQLInputObjectType) and isinstance(given, GraphQLInputObjectType):
        if promised.is_one_of != given.is_one_of:
            yield "@oneOf differs"
        yield from input_breaches(promised.fields, given.fields)
    elif isinstance(promised, GraphQLObjectType | GraphQLInterfaceType):
        assert isinstance(given, GraphQLObjectType | GraphQLInterfaceType)
        yield from (
            f"does not implement {item}"
            for item in {str(item) for item in promised.interfaces} - {str(item) for item in given.interfaces}
        )
        for name, field in promised.fields.items():
            if name not in given.fields:
                yield f"{name}: no such field"
                continue
            if str(given.fields[name].type) != str(field.type):
                yield f"{name}: {given.fields[name].type}, not {field.type}"
            yield from (f"{name}({text})" for text in input_breaches(field.args, given.fields[name].args))


def input_breaches(
    promised: Mapping[str, GraphQLArgument | GraphQLInputField],
    given: Mapping[str, GraphQLArgument | GraphQLInputField],
) -> Iterator[str]:
    for name, item in promised.items():
        if name not in given:
            yield f"{name}: not taken"
            continue
        if str(given[name].type) != str(item.type):
            yield f"{name}: {given[name].type}, not {item.type}"
        if default_of(given[name]) != default_of(item):
            yield f"{name}: default {default_of(given[name])}, not {default_of(item)}"
    for name in given.keys() - promised.keys():
        if is_non_null_type(given[name].type) and default_of(given[name]) is None:
            yield f"{name}: newly required"


def default_of(item: GraphQLArgument | GraphQLInputField) -> str | None:
    node = item.ast_node
    assert node is not None
    return None if node.default_value is None else print_ast(node.default_value)


def test_the_contract_is_kept(served: GraphQLSchema) -> None:
    assert breaches(schema_of(CONTRACT.read_text()), served) == []


@pytest.mark.parametrize(
    ("here", "promised"),
    [
        ("title: String!\n  description: String!", "title: String!\n  description: String"),
        ("enum Role { CLIENT ADMIN }", "enum Role { CLIENT ADMIN AUDITOR }"),
        ("hasSecret: Boolean!", "hasSecret: Boolean!\n  avatar: String"),
        ("waitSeconds: Float! = 30\n", "waitSeconds: Float! = 31\n"),
        ("input CheckInput @oneOf", "input CheckInput"),
        ("type Agent implements Node", "type Agent"),
        ("job(id: ID!): Job", "job(id: ID!, revision: Int): Job"),
        ("expectedRevision: Int! title", "title"),
        ("feedCursor: String!", "feedCursor: String! chatCursor: String!"),
        ("mutation: Mutation subscription: Subscription", "mutation: Mutation"),
    ],
)
def test_a_breach_of_the_contract_would_be_seen(served: GraphQLSchema, here: str, promised: str) -> None:
    text = CONTRACT.read_text()
    assert here in text
    other = schema_of(text.replace(here, promised, 1))
    # What the contract says too little of is a breach in the other direction.
    assert breaches(other, served) != [] or breaches(served, other) != []


# --------------------------------------------------------------------------------------------------- descriptions


def parts(served: GraphQLSchema) -> Iterator[tuple[str, str | None]]:
    for name, type_ in served.type_map.items():
        if name.startswith("__") or name in {"String", "Int", "Float", "Boolean", "ID"}:
            continue
        yield name, type_.description
        if isinstance(type_, GraphQLEnumType):
            yield from ((f"{name}.{value}", item.description) for value, item in type_.values.items())
        if isinstance(type_, GraphQLInputObjectType):
            yield from ((f"{name}.{field}", item.description) for field, item in type_.fields.items())
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            for field, output in type_.fields.items():
                yield f"{name}.{field}", output.description
                yield from ((f"{name}.{field}({arg})", item.description) for arg, item in output.args.items())


def test_everything_is_described(served: GraphQLSchema) -> None:
    described = dict(parts(served))

    assert len(described) > 300
    assert [name for name, text in described.items() if not text] == []


async def test_the_standard_introspection_query_is_answered_to_anybody(built: Schema) -> None:
    query = get_introspection_query(specified_by_url=True, input_value_deprecation=True, one_of=True)

    result = await built.execute(query)

    assert result.errors is None
    assert result.data is not None
    types = {type_["name"]: type_ for type_ in result.data["__schema"]["types"]}
    assert types["CheckInput"]["isOneOf"] is True
    defaults = {item["name"]: item["defaultValue"] for item in types["ExecuteJobInput"]["inputFields"]}
    assert defaults == {
        "jobId": None,
        "waitSeconds": "30",
        "idempotencyKey": None,
        "expectedRevision": None,
        "force": "false",
        "reason": None,
    }
