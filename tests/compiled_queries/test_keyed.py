"""Fields that are read by keys of their sources: what is read when, and what becomes of errors and of who leaves."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from graphql import ExecutionResult, execute, parse
from graphql.execution import Executor

from compiled import compiled_executor
from resolvers.loaders import Batch
from tests.compiled_queries.house import CatRecord, House, HouseBindings, Record, Trouble, house_schema

SCHEMA = house_schema()
COMPILED = compiled_executor(HouseBindings())


class Cats(House):
    """Four cats; the first and the last have the same keys, the third has no keeper. They are read when told."""

    def __init__(self, *, fails: bool = False, missing: str = "") -> None:
        super().__init__(1, 0.0, 0.0)
        self.fails, self.missing = fails, missing
        self.reading_began, self.may_read = asyncio.Event(), asyncio.Event()
        self.may_read.set()

    def value(self, record: Record | None, name: str, arguments: object = "") -> Any:
        if name == "cats":
            return [CatRecord("Cat", number, self) for number in range(4)]
        if record is not None and name.endswith("_id"):
            return ["one", "two", None if name == "keeper_id" else "two", "one"][record.number]
        return super().value(record, name, arguments)

    async def read(self, name: str, arguments: str, keys: Sequence[Any]) -> list[Any]:
        self.reading_began.set()
        await self.may_read.wait()
        if self.fails:
            self.reads.append((name, list(keys)))
            raise Trouble("nothing can be read")
        await super().read(name, arguments, keys)
        return [None if key == self.missing else CatRecord("Cat", number, self) for number, key in enumerate(keys)]


def answer(house: House, text: str, executor_class: type[Executor[Any]] = COMPILED) -> Any:
    return execute(SCHEMA, parse(text), context_value=house, executor_class=executor_class)


async def both(text: str, **how: Any) -> tuple[ExecutionResult, Cats]:
    """What is compiled answers as graphql-core does, and reads as much."""
    house, other = Cats(**how), Cats(**how)
    got, expected = await answer(house, text), await answer(other, text, Executor)
    assert got.formatted == expected.formatted
    assert sorted(house.reads) == sorted(other.reads)
    return got, house


async def test_equal_reads_of_several_fields_are_one_and_ask_for_each_key_once() -> None:
    got, house = await both(
        "{ cats { keeper { id } ...F quiet: keeper(loud: false) { id } } } fragment F on Cat { same: keeper { name } }"
    )

    assert house.reads == [("keeper", ["one", "two"])] * 2
    assert got.data is not None
    assert [cat["keeper"] is None for cat in got.data["cats"]] == [False, False, True, False]


async def test_each_level_is_one_read() -> None:
    _, house = await both("{ cats { keeper { keeper { id } twin: keeper { id } } } }")

    assert house.reads == [("keeper", ["one", "two"])] * 2


async def test_a_failed_read_is_an_error_of_each_that_waited() -> None:
    got, _ = await both("{ cats { keeper { id } } }", fails=True)

    assert [error.path for error in got.errors or []] == [["cats", number, "keeper"] for number in (0, 1, 3)]
    assert got.data == {"cats": [{"keeper": None}] * 4}


async def test_where_nobody_can_be_joined_that_is_an_error_of_each() -> None:
    def nobody(*_: object) -> Batch:
        raise Trouble("nobody is there")

    house = Cats()
    house.loaders.join = nobody  # type: ignore[method-assign, assignment]

    got = await answer(house, "{ cats { keeper { id } quiet: keeper(loud: false) { id } name } }")

    assert len(got.errors or []) == 6
    assert got.data is not None
    assert [cat["keeper"] for cat in got.data["cats"]] == [None] * 4


async def test_a_null_that_goes_upwards_takes_away_what_others_waited_for_and_what_they_would_have_read() -> None:
    text = "{ cats { twin { keeper { id } } } }"
    house = Cats(missing="two")
    got, expected = await answer(house, text), await answer(Cats(missing="two"), text, Executor)

    assert got.formatted == expected.formatted
    assert [error.path for error in got.errors or []] == [["cats", 1, "twin"]]
    assert house.reads == [("twin", ["one", "two"])]


async def test_one_batch_is_read_without_a_task() -> None:
    made: list[Coroutine[Any, Any, Any]] = []

    def count(loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> asyncio.Task[Any]:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **how)

    house = Cats()
    asyncio.get_running_loop().set_task_factory(count)

    await answer(house, "{ cats { keeper { keeper { keeper { id } } } } }")

    assert len(house.reads) == 3
    assert made == []


async def test_whoever_leaves_takes_nothing_away_from_others_who_wait_for_the_same() -> None:
    house = Cats()
    house.may_read.clear()
    read, then = house.reading("keeper", str([("loud", True)]))
    waiting = asyncio.ensure_future(house.loaders.load(read, "one", then))
    await asyncio.sleep(0)
    leaving = asyncio.ensure_future(answer(house, "{ cats { keeper { id } twin { id } } }"))
    await house.reading_began.wait()

    leaving.cancel()
    house.may_read.set()

    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert isinstance(await waiting, CatRecord)
    assert ("keeper", ["one", "two"]) in house.reads


async def test_what_one_alone_waits_for_ends_with_it() -> None:
    house = Cats()
    house.may_read.clear()
    leaving = asyncio.ensure_future(answer(house, "{ cats { keeper { id } } }"))
    await house.reading_began.wait()

    leaving.cancel()

    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert len(asyncio.all_tasks()) == 1
