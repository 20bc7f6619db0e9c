"""Bombs that strangers may send: each is refused, killed in time or decided, and the event loop hardly notices."""

import asyncio
import time
from collections.abc import Awaitable, Mapping

import pytest

from db.records import JobStatus, JsonValue
from services.inputs import CriterionDraft
from services.large_values import beside_the_loop, is_large
from services.sandbox import ExpressionError, Sandbox, TooCostlyError
from tests.agents import Response, ScriptedAgent
from tests.services.conftest import CLIENT, OpenHouse
from tests.services.pulse import CAN_TELL_WAITING, LONGEST_GAP_SECONDS, LONGEST_STALL_SECONDS, undisturbed
from tests.services.test_sandbox import DOUBLING

KILLED_AFTER_SECONDS = LONGEST_GAP_SECONDS + 0.1


async def stall() -> None:
    async with undisturbed():
        started = time.thread_time()
        while time.thread_time() - started < 2 * LONGEST_STALL_SECONDS:
            pass


async def block() -> None:
    async with undisturbed():
        time.sleep(LONGEST_GAP_SECONDS + 0.1)  # noqa: ASYNC251 - as a careless wait for a child would


async def test_a_stall_of_the_loop_is_noticed() -> None:
    with pytest.raises(AssertionError, match="computing"):
        await stall()
    if CAN_TELL_WAITING:
        with pytest.raises(AssertionError, match="passed"):
            await block()


MANY: JsonValue = list(range(300_000))
TREES: JsonValue = [{"a": [{"b": n % 7, "c": [n]}]} for n in range(20_000)]


def nested(levels: int) -> JsonValue:
    return {"a": nested(levels - 1)} if levels else {"x": 1}


DEEP = nested(60)
# Two ways to go on at each of sixty levels, none of which leads to what is required in the end.
BRANCHING: JsonValue = {
    "anyOf": [
        {"required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"required": ["never"]},
    ]
}
LONG = "a" * 100_000 + "b"

REFUSED_SCHEMAS: dict[str, JsonValue] = {
    "a remote reference": {"$ref": "http://127.0.0.1:9/schema.json"},
    "a remote dynamic reference": {"$dynamicRef": "https://127.0.0.1:9/x#y"},
    "a file": {"$ref": "file:///etc/passwd"},
    "a dialect from elsewhere": {"$schema": "http://127.0.0.1:9/dialect"},
    "doubling references": DOUBLING,
    "look-around": {"pattern": "^(?=(a+)+$)a"},
    "a back-reference": {"pattern": "(a+)+\\1$"},
    "a pattern that grows": {"pattern": "((a{100}){100}){100}"},
    "a name's pattern that grows": {"patternProperties": {"(x{999}){999}": True}},
    "one that is too large": {"enum": ["x" * 70_000]},
}
REFUSED_EXPRESSIONS: dict[str, str] = {
    "three macros deep": "answer.all(x, answer.all(y, answer.all(z, x == y)))",
    "five macros deep": "answer.map(a, answer.map(b, answer.map(c, answer.map(d, answer.map(e, [a, b, c, d, e])))))",
    "brackets": "(" * 480 + "1" + ")" * 480,
    "ternaries": "true ? " * 140 + "1" + " : 2" * 140,
    "too long": "1 + " * 400 + "1",
    "unknown function": "answer.sleep(1000)",
}
# What registration cannot know: how much data it will meet. None: decided, whichever way.
CHECKS: dict[str, tuple[JsonValue, JsonValue]] = {
    "unique numbers": ({"uniqueItems": True}, MANY),
    "unique trees": ({"uniqueItems": True}, TREES),
    "branches": (BRANCHING, DEEP),
    "a catastrophic pattern": ({"pattern": "^(a+)+$"}, LONG),
    "a catastrophic name": ({"patternProperties": {"^(a|aa)+$": False}}, {LONG: 1}),
    "recursion": ({"$ref": "#"}, DEEP),
    "every number against many": ({"items": {"enum": list(range(-5_000, 0))}}, MANY),
    "contains": ({"contains": {"const": -1}, "minContains": 300_000}, MANY),
}
EXPRESSIONS: dict[str, tuple[str, JsonValue]] = {
    "squared": ("answer.all(x, answer.exists(y, y == 299999))", MANY),
    "lists of lists": ("answer.map(x, answer)", list(range(3_000))),
    "multiplied text": (f"[{', '.join(['answer + answer'] * 40)}]", "x" * 1_000_000),
    "a catastrophic pattern": ("answer.matches('^(a+)+$')", LONG),
    "a pattern of the answer's own": ("'x'.matches(answer)", "(a{1000}){1000}"),
    "the largest number": ("9223372036854775807 * int(answer)", "2"),
    "all of it": ("answer", TREES),
}


async def each(calls: Mapping[str, Awaitable[object]]) -> dict[str, object]:
    """Make all calls at once; what they return or raise, by their names."""
    results = await asyncio.gather(*calls.values(), return_exceptions=True)
    return dict(zip(calls, results, strict=True))


async def test_bombs_are_refused_killed_or_decided_and_the_loop_goes_on() -> None:
    assert vars(Sandbox())["_seconds"] == 2
    async with Sandbox(workers=2, seconds=KILLED_AFTER_SECONDS) as sandbox:
        await asyncio.gather(sandbox.evaluate("1", {}), sandbox.evaluate("1", {}))
        async with undisturbed():
            schemas = await each({name: sandbox.check_schema(schema) for name, schema in REFUSED_SCHEMAS.items()})
            expressions = await each(
                {
                    name: sandbox.check_expression(expression, variables=["answer"])
                    for name, expression in REFUSED_EXPRESSIONS.items()
                }
            )
            checks = await each({name: sandbox.validate(*check) for name, check in CHECKS.items()})
            values = await each(
                {
                    name: sandbox.evaluate(expression, {"answer": answer})
                    for name, (expression, answer) in EXPRESSIONS.items()
                }
            )
        assert await sandbox.evaluate("1 + 1", {}) == 2
    assert [name for name, problems in {**schemas, **expressions}.items() if not isinstance(problems, list)] == []
    assert [name for name, problems in {**schemas, **expressions}.items() if not problems] == []
    assert all(isinstance(result, list | TooCostlyError) for result in checks.values()), checks
    assert isinstance(checks["branches"], TooCostlyError)
    assert checks["recursion"] == []
    told = {name: type(value) for name, value in values.items()}
    assert told["squared"] is TooCostlyError
    assert told["the largest number"] is told["a pattern of the answer's own"] is ExpressionError
    assert values["a catastrophic pattern"] is False
    assert told["multiplied text"] in {ExpressionError, TooCostlyError}
    assert told["lists of lists"] in {ExpressionError, TooCostlyError}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("unit", [b"1,", b'{"a":1},', b'"\\u00e9\\"",'], ids=["numbers", "objects", "texts"])
async def test_the_largest_answer_is_decided_beside_the_loop(open_house: OpenHouse, unit: bytes) -> None:
    body = b'{"password":"x","items":[' + unit * ((2 * 1024 * 1024 - 40) // len(unit)) + b"0]}"
    async with open_house() as house, ScriptedAgent(Response(body)) as agent:
        made = await house.agent(agent.url, output_schema={"type": "object", "required": ["items"]}, secret="s" * 20)
        job = await house.job(made, CriterionDraft("It holds items.", json_schema={"required": ["items"]}))
        async with undisturbed(alone=False):
            result = await house.execute(job, CLIENT)

    assert result.job is not None
    assert result.job.status is JobStatus.COMPLETED, result.job.notice


async def test_large_values_are_told_from_small_ones() -> None:
    small: list[JsonValue] = [None, 5, "x" * 60_000, list(range(4_000)), [["x"] * 30] * 100, {"a": {"b": ["c"]}}]
    large: list[JsonValue] = ["x" * 70_000, list(range(4_001)), [["x"] * 50] * 100, {"x" * 70_000: 1}, TREES]
    circle: list[JsonValue] = []
    circle.append(circle)

    assert not any(map(is_large, small))
    assert all(map(is_large, (*large, circle)))
    assert await beside_the_loop(sum, [1, 2], start=3) == 6
