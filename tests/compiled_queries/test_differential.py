"""What is compiled answers as graphql-core does, byte for byte."""

import asyncio
import gc
import random
import weakref
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import orjson
import pytest
from graphql import DocumentNode, ExecutionResult, execute, parse, validate
from graphql.execution import Executor

from compiled import Prepared, compiled_executor
from tests.compiled_queries.documents import Asked, DocumentMaker
from tests.compiled_queries.house import KEYED, House, HouseBindings, house_schema

# Where an error takes a null upwards, graphql-core cancels what it has not begun to await.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SCHEMA = house_schema()
VALUES: Mapping[str, list[str]] = {
    "ID": ['"cat:1"', '"x"'],
    "Int": ["1", "2"],
    "String": ['"here"', '""'],
    "Boolean": ["true", "false"],
}


@cache
def documents() -> list[tuple[Asked, DocumentNode]]:
    """Made up once for all the houses that they are asked of."""
    maker = DocumentMaker(SCHEMA, random.Random(7), VALUES, depth=3, fields=4)
    found: list[tuple[Asked, DocumentNode]] = []
    while len(found) < 300:
        asked = maker.make()
        document = parse(asked.text)
        if not validate(SCHEMA, document):
            found.append((asked, document))
    return found


async def answered(
    asked: Asked, document: DocumentNode, house: House, executor_class: type[Executor[Any]]
) -> ExecutionResult:
    found: Any = execute(
        SCHEMA,
        document,
        context_value=house,
        variable_values=dict(asked.variables),
        executor_class=executor_class,
    )
    result: ExecutionResult = await found if asyncio.iscoroutine(found) else found
    return result


async def answered_again(asked: Asked, house: House, prepared: Prepared) -> ExecutionResult:
    executor = prepared.executor(None, house, asked.variables)
    if isinstance(executor, list):
        return ExecutionResult(None, executor)
    found: Any = executor.execute_operation()
    result: ExecutionResult = await found if asyncio.iscoroutine(found) else found
    return result


def bytes_of(result: ExecutionResult, *, raced: bool) -> bytes:
    """The answer. Where errors race for taking a null upwards, only one of them is sure to be told, and not which."""
    errors = [error.formatted for error in result.errors or []]
    if not raced:
        return orjson.dumps({"data": result.data, "errors": errors})
    told = [error if place == error.get("path") else {"path": place} for error, place in _places(result, errors)]
    return orjson.dumps(result.data) + b"".join(sorted({orjson.dumps(error) for error in told}))


def _places(result: ExecutionResult, errors: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """Each error and how far its path leads in the data."""
    for error in errors:
        at: Any = result.data
        depth = 0
        for key in error["path"]:
            if at is None:
                break
            at = at[key]
            depth += 1
        yield error, error["path"][:depth]


@pytest.mark.parametrize(
    ("trouble", "awaited"), [(0.0, 0.0), (0.03, 0.0), (0.15, 0.0), (0.0, 0.3), (0.03, 0.2), (0.15, 0.4)], ids=str
)
async def test_documents_made_up_have_the_same_answer(trouble: float, awaited: float) -> None:
    compiled = compiled_executor(HouseBindings())
    told = 0
    for number, (asked, document) in enumerate(documents()):
        prepared = compiled.prepare(SCHEMA, document)
        for seed in (number, number + 1000):
            house = House(seed, trouble, awaited)
            expected = await answered(asked, document, house, Executor)
            got = await answered(asked, document, house, compiled)
            told += bool(expected.errors)
            # What is read by keys is awaited in any case.
            raced = awaited > 0 or any(name in asked.text for name in KEYED)
            for result in (got, await answered_again(asked, House(seed, trouble, awaited), prepared)):
                same = bytes_of(result, raced=raced) == bytes_of(expected, raced=raced)
                assert same, f"{asked.text}\n{asked.variables}\n{result}\n{expected}"
    assert told > 20, "there are errors to compare"
    # What was never awaited is to be found now, while that is ignored.
    gc.collect()


class Value(str):  # noqa: SLOT000 (GraphQL takes only the real thing, and it has to be referred to weakly)
    """What somebody sends: a secret, or a megabyte of something."""


async def test_what_was_compiled_keeps_no_values_of_those_who_asked() -> None:
    compiled = compiled_executor(HouseBindings())
    document = parse("query ($id: ID, $named: Boolean!) { node(id: $id) { id name @include(if: $named) } }")
    prepared = compiled.prepare(SCHEMA, document)
    sent: list[weakref.ref[Value]] = []
    for named in (True, False):
        asked = Asked("", {"id": Value("cat:1"), "named": named})
        sent.append(weakref.ref(asked.variables["id"]))
        got = await answered(asked, document, House(1, 0.0, 0.0), compiled)
        again = await answered_again(asked, House(1, 0.0, 0.0), prepared)
        for result in (got, again):
            assert not result.errors
            assert ("name" in (result.data or {})["node"]) is named
        del asked, got, again, result

    gc.collect()
    assert [value() for value in sent] == [None, None]
