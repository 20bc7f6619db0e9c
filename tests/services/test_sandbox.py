import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import psutil
import pytest

from db.records import JsonValue
from services.sandbox import ExpressionError, MissingKeyError, Sandbox, TooCostlyError
from tests.services.pulse import LONGEST_GAP_SECONDS, undisturbed

# Three loops over 400 elements, each step making a list: minutes.
COSTLY = "answer.map(x, answer.map(y, answer.map(z, [x, y, z])))"
FOUR_HUNDRED: dict[str, JsonValue] = {"answer": list(range(400))}
DOUBLING: JsonValue = {
    "$defs": {
        **{f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)},
        "d40": {"type": "integer"},
    },
    "$ref": "#/$defs/d0",
}


@pytest.fixture
async def sandbox() -> AsyncGenerator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def hasty() -> AsyncGenerator[Sandbox]:
    """A sandbox that kills after half a second."""
    async with Sandbox(seconds=0.5) as sandbox:
        await sandbox.evaluate("1", {})
        yield sandbox


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "sandbox_worker" in " ".join(child.cmdline())]


ANSWER: dict[str, JsonValue] = {
    "answer": {
        "price": 2.5,
        "count": 2,
        "whole": 2.0,
        "nothing": None,
        "text": "höß",
        "list": [1, 2.0, "a"],
        "map": {"k": 1},
        "size": "a field",
    }
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("answer.price > 2", True),
        ("1 == 1.0", True),
        ("answer.count == answer.whole", True),
        ("answer.count in [2.0]", True),
        ("answer.nothing == null", True),
        ("answer.nothing", None),
        ("answer.list", [1, 2.0, "a"]),
        ("answer.map", {"k": 1}),
        ("has(answer.missing)", False),
        ("has(answer.map.k) && answer.map.k == 1", True),
        ("true || answer.missing", True),
        ("answer.list.exists(x, x == 'a')", True),
        ("[1, 2].map(x, x * 2)", [2, 4]),
        ("answer.text.matches('^h.ß$')", True),
        ("double(answer.count) + answer.price", 4.5),
        ("string(answer.count) + '!'", "2!"),
        ("timestamp('2026-01-01T00:00:00Z') < timestamp('2027-01-01T00:00:00Z')", True),
        # size() counts characters; its name elsewhere is nobody's business.
        ("size(answer.text)", 3),
        ("answer.text.size () == 3 && size('日本語') == 3", True),
        ("size(answer.list) + size(answer.map) + answer.list.size()", 7),
        ("'size(' + \"size(\" + r'\\size(' + answer.size", "size(size(\\size(a field"),
    ],
)
async def test_expressions_give_json(sandbox: Sandbox, expression: str, value: JsonValue) -> None:
    result = await sandbox.evaluate(expression, ANSWER)

    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("answer.price + 1", "float + int is not defined for these types of values; convert with int()"),
        ("answer.nothing > 1", "an operation is not defined for these types"),
        ("unknown > 1", "there is no variable or function 'unknown'"),
        ("answer.price >", "at column 15: Syntax error"),
        ("1 / 0", "division by zero"),
        ("size(answer.count)", "size() needs a string, a list or a map"),
        ("answer.list.contains(1)", "contains() does not take values of these types"),
        ("answer.text.matches('(')", "not a valid regex"),
        ("0.0 / 0.0", "it gives a number that is not finite, which JSON does not have"),
        ("timestamp('2026-01-01T00:00:00Z')", "it gives a timestamp, which JSON does not have"),
        ("[duration('1h')]", "it gives a duration, which JSON does not have"),
        ("b'a'", "it gives bytes, which JSON does not have"),
        ("{1: 2}", "it gives a map with keys that are no strings"),
        ("'\\u0000'", "it does not give JSON: The value holds the character U+0000."),
        ("9223372036854775807 + 1", "overflow"),
        ("(" * 400 + "1" + ")" * 400, "it is nested too deeply"),
        ("1" * 1001, "it has more than 1000 characters"),
    ],
)
async def test_expressions_that_give_none_say_why_in_one_line(sandbox: Sandbox, expression: str, why: str) -> None:
    with pytest.raises(ExpressionError) as refusal:
        await sandbox.evaluate(expression, ANSWER)

    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not isinstance(refusal.value, MissingKeyError)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("answer.missing", "there is no 'missing'"),
        ("answer['a b'].c", "there is no 'a b'"),
        ("answer.list[7]", "index out of bounds: 7"),
    ],
)
async def test_missing_keys_are_named(sandbox: Sandbox, expression: str, why: str) -> None:
    with pytest.raises(MissingKeyError, match=why):
        await sandbox.evaluate(expression, ANSWER)


async def test_a_result_that_multiplies_its_data_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(ExpressionError, match="too large"):
        await sandbox.evaluate("answer + answer + answer", {"answer": "x" * 2_000_000})


async def test_what_takes_too_long_is_killed_and_the_next_call_works(hasty: Sandbox) -> None:
    started = time.perf_counter()
    with pytest.raises(TooCostlyError, match=r"longer than 0\.5 s"):
        await hasty.evaluate(COSTLY, FOUR_HUNDRED)

    assert time.perf_counter() - started < 20  # left alone, it takes minutes
    assert await hasty.evaluate("1 + 1", {}) == 2
    with pytest.raises(TooCostlyError):
        await hasty.validate(DOUBLING, 1)
    assert await hasty.validate({"type": "integer"}, 1) == []
    assert len(children()) == 1


async def test_the_event_loop_goes_on_while_something_costly_runs() -> None:
    async with Sandbox(seconds=2 * LONGEST_GAP_SECONDS) as sandbox:
        await sandbox.evaluate("1", {})
        async with undisturbed():
            with pytest.raises(TooCostlyError):
                await sandbox.evaluate(COSTLY, FOUR_HUNDRED)


async def test_waiting_for_a_turn_does_not_count(hasty: Sandbox) -> None:
    costly = [asyncio.create_task(hasty.evaluate(COSTLY, FOUR_HUNDRED)) for _ in range(3)]
    cheap = asyncio.create_task(hasty.evaluate("1", {}))
    done: list[str] = []
    for number, task in enumerate([*costly, cheap]):
        task.set_name(str(number))
        task.add_done_callback(lambda task: done.append(task.get_name()))

    assert await cheap == 1
    assert await asyncio.gather(*costly, return_exceptions=True)
    assert done == ["0", "1", "2", "3"]


async def test_workers_work_side_by_side() -> None:
    async with Sandbox(workers=2, seconds=60) as sandbox:
        costly = asyncio.create_task(sandbox.evaluate(COSTLY, FOUR_HUNDRED))
        await asyncio.sleep(0)
        assert await sandbox.evaluate("1", {}) == 1
        assert not costly.done()
        costly.cancel()


async def test_a_child_that_died_is_replaced_and_the_call_repeated() -> None:
    async with Sandbox(seconds=20) as sandbox:
        assert await sandbox.evaluate("1", {}) == 1
        (idle,) = children()
        idle.kill()
        assert await sandbox.evaluate("2", {}) == 2

        call = asyncio.create_task(sandbox.evaluate("size(answer.map(x, [x]))", FOUR_HUNDRED))
        await asyncio.sleep(0)
        (busy,) = children()
        busy.kill()
        assert await call == 400


async def test_what_takes_its_process_down_twice_is_too_costly() -> None:
    async with Sandbox(seconds=20) as sandbox:
        call = asyncio.create_task(sandbox.evaluate(COSTLY, FOUR_HUNDRED))
        killed: set[int] = set()
        while not call.done():
            for child in children():
                if child.pid not in killed and child.cpu_times().user > 0.3:
                    killed.add(child.pid)
                    child.kill()
            await asyncio.sleep(0.02)

        with pytest.raises(TooCostlyError, match="took down two processes"):
            await call
        assert len(killed) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory")
async def test_what_needs_too_much_memory_takes_only_its_child_down() -> None:
    async with Sandbox(seconds=20) as sandbox:
        with pytest.raises(TooCostlyError, match="took down two processes"):
            await sandbox.evaluate(f"[{', '.join(['answer + answer'] * 58)}]", {"answer": "x" * 10_000_000})

        assert await sandbox.evaluate("1", {}) == 1


async def test_a_cancelled_call_leaves_no_answer_behind(sandbox: Sandbox) -> None:
    await sandbox.evaluate("1", {})
    call = asyncio.create_task(sandbox.evaluate(COSTLY, FOUR_HUNDRED))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await sandbox.evaluate("2", {}) == 2


async def test_a_sandbox_starts_nothing_before_it_is_needed_and_closes_at_any_time() -> None:
    before = len(children())
    unused = Sandbox()
    await unused.close()
    assert len(children()) == before

    for pause in (0.0, 0.0, 0.01, 0.03, 0.2):
        sandbox = Sandbox()
        call = asyncio.create_task(sandbox.evaluate(COSTLY, FOUR_HUNDRED))
        await asyncio.sleep(pause)
        await sandbox.close()
        with pytest.raises(RuntimeError, match="closed"):
            await call
        with pytest.raises(RuntimeError, match="closed"):
            await sandbox.evaluate("1", {})
        assert len(children()) == before


def test_each_event_loop_has_a_sandbox_of_its_own() -> None:
    async def three() -> JsonValue:
        async with Sandbox() as sandbox:
            return await sandbox.evaluate("1 + 2", {})

    assert [asyncio.run(three()) for _ in range(3)] == [3, 3, 3]


@pytest.mark.parametrize("busy", [False, True])
def test_children_do_not_outlive_their_parent(busy: bool) -> None:
    script = f"""
import asyncio
from services.sandbox import Sandbox

async def main():
    sandbox = Sandbox(seconds=0.5)
    await sandbox.evaluate("1", {{}})
    if {busy}:
        call = asyncio.create_task(sandbox.evaluate({COSTLY!r}, {FOUR_HUNDRED!r}))
        await asyncio.sleep(0.2)
    print("ready", flush=True)
    import time
    time.sleep(60)

asyncio.run(main())
"""
    root = Path(__file__).resolve().parent.parent.parent
    with subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        (child,) = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGKILL)

    # Busy: by its alarm, after twice its time and a second.
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert (len(gone), alive) == (1, [])


async def test_a_child_knows_no_secret_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNOFF_SECRET_KEY", "do-not-tell")
    async with Sandbox() as sandbox:
        await sandbox.evaluate("1", {})
        (child,) = children()

        assert "SIGNOFF_SECRET_KEY" not in child.environ()


# ---------------------------------------------------------------------------------------------------- schemas


async def test_a_value_that_does_not_fit_is_told_where_and_why(sandbox: Sandbox) -> None:
    schema: JsonValue = {
        "type": "object",
        "required": ["title"],
        "properties": {
            "count": {"type": "integer"},
            "text": {"maxLength": 3},
            "a/b": {"items": {"enum": [1, 2]}},
        },
        "additionalProperties": False,
    }
    value: JsonValue = {"count": "x" * 5000, "text": "höß!", "a/b": [1, 3], "more": 1}

    problems = await sandbox.validate(schema, value)

    assert sorted(problem.split(": ")[0] for problem in problems) == [
        "/a~1b/1",
        "/count",
        "/text",
        "top level",
        "top level",
    ]
    assert "/a~1b/1: 3 is not one of 1 or 2" in problems
    assert 'top level: "title" is a required property' in problems
    assert all(len(problem) <= 330 and "\n" not in problem for problem in problems)


async def test_at_most_ten_problems_are_told(sandbox: Sandbox) -> None:
    problems = await sandbox.validate({"items": {"type": "string"}}, list(range(50)))

    assert len(problems) == 10
    assert problems[-1] == "… and 41 more."


async def test_a_large_value_that_does_not_fit_is_decided_in_time(sandbox: Sandbox) -> None:
    problems = await sandbox.validate({"items": {"type": "string"}}, [1] * 300_000)

    assert problems == ['/0: 1 is not of type "string"']


async def test_formats_are_annotations_unless_asked_for(sandbox: Sandbox) -> None:
    schema: JsonValue = {"format": "date"}

    assert await sandbox.validate(schema, "tomorrow") == []
    assert await sandbox.validate(schema, "tomorrow", formats=True) == ['top level: "tomorrow" is not a "date"']


async def test_recursive_schemas_and_catastrophic_patterns_are_decided_at_once(sandbox: Sandbox) -> None:
    assert await sandbox.validate({"$ref": "#"}, {}) == []
    assert len(await sandbox.validate({"pattern": "(a+)+$"}, "a" * 10_000 + "b")) == 1


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1:9/schema", "file:///etc/passwd", "other.json", "#/nowhere", "#nowhere"]
)
async def test_references_lead_nowhere_but_into_the_schema(sandbox: Sandbox, reference: str) -> None:
    schema: JsonValue = {"properties": {"a": {"$ref": reference}}}

    (problem,) = await sandbox.check_schema(schema)
    assert "$ref" in problem
    (refusal,) = await sandbox.validate(schema, {"a": 1})
    assert "the schema itself is not valid" in refusal


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "object", "properties": {"a": {"type": ["integer", "null"]}}, "required": ["a"]},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": "^[a-z]+$"},
        {"$defs": {"node": {"items": {"$ref": "#/$defs/node"}}}, "$ref": "#/$defs/node"},
        {"const": {"$ref": "http://example.com/not-a-reference"}},
    ],
    ids=range(6),
)
async def test_sound_schemas_are_taken(sandbox: Sandbox, schema: JsonValue) -> None:
    assert await sandbox.check_schema(schema) == []


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (5, "A JSON Schema is an object or a boolean."),
        ("x", "A JSON Schema is an object or a boolean."),
        (None, "A JSON Schema is an object or a boolean."),
        ({"type": "strng"}, "/type: "),
        ({"properties": {"a": {"minimum": "x"}}}, "/properties/a/minimum: "),
        ({"pattern": "("}, "/pattern: "),
        ({"pattern": "^(?=a)"}, "no look-around"),
        ({"patternProperties": {r"(a)\1": {}}}, "no back-references"),
        ({"pattern": "a{1000}{1000}{1000}"}, "/pattern: "),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "only draft 2020-12"),
        ({"description": "x" * 70_000}, "65536 is the limit"),
        ({"const": "\0"}, "U+0000"),
        (DOUBLING, "takes too long"),
    ],
    ids=range(13),
)
async def test_unsound_schemas_are_refused(sandbox: Sandbox, schema: JsonValue, why: str) -> None:
    (problem,) = await sandbox.check_schema(schema)

    assert why in problem


async def test_deep_schemas_are_refused(sandbox: Sandbox) -> None:
    schema: JsonValue = {}
    for _ in range(100):
        schema = {"not": schema}

    (problem,) = await sandbox.check_schema(schema)
    assert "deeper than 64" in problem


# ------------------------------------------------------------------------------------------------ expressions


@pytest.mark.parametrize(
    "expression",
    [
        "answer.price > 2 && job.title == 'a'",
        "answer.list.all(x, size(x) < 3) || has(answer.b) ? 1 : -2",
        "answer.list.map(x, x.filter(y, y > 1)).map(z, z)",
        "answer.list.exists_one(x, x in [1, 2]) && !(answer.i != 2 % 1)",
        "'all.map(x, b.map(y, c.map(z, unknown)))' == answer",
        "int('1') + int(double('1.5')) == int(uint(1)) && bytes('a') == b'a' && dyn(1) == 1",
        "timestamp('2026-01-01T00:00:00Z').getFullYear() == 2026 && duration('1h').getHours() == 1",
    ],
)
async def test_sound_expressions_are_taken(sandbox: Sandbox, expression: str) -> None:
    assert await sandbox.check_expression(expression, variables=("answer", "job")) == []


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("foo > answer.x", "There is no variable `foo` here, only `answer`, `job`."),
        ("answer.map(x, x + y) == []", "There is no variable `y` here"),
        ("answer.title.lowerAscii()", "There is no function `lowerAscii`."),
        ("answer.title == ", "Not a CEL expression: at column 17: Syntax error"),
        ("", "Not a CEL expression"),
        ("answer.map(x, answer.filter(y, answer.all(z, true)))", "nested 3 deep; 2 is the limit."),
        ("1" * 1001, "1001 characters; 1000 is the limit."),
        ("'\0'", "U+0000"),
        ("'\ud800'", "lone surrogate"),
        ("(" * 300 + "1" + ")" * 300, "nested too deeply"),
    ],
)
async def test_unsound_expressions_are_refused(sandbox: Sandbox, expression: str, why: str) -> None:
    (problem,) = await sandbox.check_expression(expression, variables=("job", "answer"))

    assert why in problem


async def test_every_function_that_registration_knows_exists(sandbox: Sandbox) -> None:
    # Kept by hand in the worker; an upgrade of the library must not silently take one away.
    date = "timestamp('2026-03-04T05:06:07.008Z')"
    for name in ("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"):
        assert isinstance(await sandbox.evaluate(f"{date}.{name}()", {}), int)
    for name in ("getHours", "getMinutes", "getSeconds", "getMilliseconds"):
        assert isinstance(await sandbox.evaluate(f"{date}.{name}()", {}), int)
    assert await sandbox.evaluate("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", {})
