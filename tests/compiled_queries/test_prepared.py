"""An executor of a prepared operation is like one that graphql-core builds, and shares no more than what stays."""

from collections.abc import Mapping
from typing import Any

import pytest
from graphql import GraphQLError, OperationDefinitionNode, build_schema, parse
from graphql.execution.values import VariableValues, get_variable_values

from compiled import CompiledExecutor, compiled_executor
from compiled.variables import Variables

SCHEMA = build_schema("""
enum Colour { RED GREEN }
input Where { x: Int! y: String = "here" and: [Where!] }
type Query { cat(id: ID, colour: Colour, where: Where, some: [Int]): String }
""")
DOCUMENT = parse("query Q($id: ID!, $seen: Boolean = true) { cat(id: $id) @include(if: $seen) }")


# Read from the document, and only looked at from then on.
OF_THE_DOCUMENT = {"fragment_definitions", "fragments"}


def built(made: object) -> CompiledExecutor:
    assert isinstance(made, CompiledExecutor)
    return made


def test_what_two_executors_do_not_share_prepared_ones_do_not_share_either() -> None:
    executor_class, given, context = compiled_executor(), {"id": "1"}, object()
    ordinary = [vars(built(executor_class.build(SCHEMA, DOCUMENT, None, context, given))) for _ in range(2)]
    prepared = executor_class.prepare(SCHEMA, DOCUMENT)
    made = [built(prepared.executor(None, context, given)) for _ in range(2)]
    again = [vars(executor) for executor in made]
    # Some of it is there once it is asked for, and stays.
    when_asked = ordinary[0].keys() - again[0].keys()
    assert when_asked
    for executor in made:
        for name in when_asked:
            assert getattr(executor, name) is getattr(executor, name)

    assert again[0].keys() == ordinary[0].keys()
    for name, value in ordinary[0].items():
        assert type(again[0][name]) is type(value), name
        if ordinary[1][name] is value:
            assert again[0][name] is value, name
        shared = ordinary[1][name] is value or name in OF_THE_DOCUMENT
        assert (again[0][name] is again[1][name]) is shared, name


def test_what_is_the_matter_with_the_variables_is_told_each_time() -> None:
    prepared = compiled_executor().prepare(SCHEMA, DOCUMENT)

    def told(variables: Mapping[str, Any] | None) -> list[str]:
        made = prepared.executor(None, None, variables)
        return [error.message for error in made] if isinstance(made, list) else []

    assert told(None) == ["Variable '$id' has invalid value: Expected a value of non-null type 'ID!' to be provided."]
    assert told({"id": "1"}) == []
    assert told(None) == told({}) != []


def test_the_same_operation_is_executed_in_each_way_that_its_variables_choose() -> None:
    prepared = compiled_executor().prepare(SCHEMA, DOCUMENT)

    def answer(**variables: Any) -> Any:
        return built(prepared.executor({"cat": "Tom"}, None, variables)).execute_operation().data

    for _ in range(2):
        assert answer(id="1", seen=True) == answer(id="1") == {"cat": "Tom"}
        assert answer(id="1", seen=False) == {}


def deep(levels: int) -> Any:
    return {"x": 1} if levels == 0 else {"x": 1, "and": [deep(levels - 1)]}


TYPES = [
    "ID", "ID!", "Int", "Int = 3", "Colour", "Colour! = RED", "Boolean", "Where", "Where!", "Where = {x: 2}",
    "[Int]", "[Int] = [1]", "[[Int!]!]!", "Query", "Missing",
]  # fmt: skip
VALUES = [
    None, 1, 2**40, 1.0, 1.5, True, "1", "", "RED", "red", [], [1], [None], [[1, 2]], {},
    {"x": 1}, {"x": None}, {"x": 1, "z": 2}, {"x": 1, "and": {"x": 2, "y": None}}, deep(3), deep(300),
]  # fmt: skip
GIVEN: list[dict[str, Any]] = [{}, {"it": None, "other": None}, {"unknown": 1}, *({"it": value} for value in VALUES)]


@pytest.mark.parametrize("type_", TYPES)
def test_variables_are_coerced_as_graphql_core_does(type_: str) -> None:
    document = parse(f"query ($other: Int, $it: {type_}) {{ cat }}")
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    variables = Variables(SCHEMA, operation)
    for given in GIVEN:
        expected = get_variable_values(SCHEMA, operation.variable_definitions or (), given, 50)

        assert shown(variables.coerced(given)) == shown(expected), given


def shown(values: VariableValues | list[GraphQLError]) -> Any:
    """What values say, their order included. Signatures have types of their own each time."""
    if isinstance(values, list):
        return [error.formatted for error in values]
    sources = {
        name: (signature.name, str(signature.type), signature.default is None, value)
        for name, (signature, value) in values.sources.items()
    }
    coerced = {name: (type(value), value) for name, value in values.coerced.items()}
    return list(sources.items()), list(coerced.items())
