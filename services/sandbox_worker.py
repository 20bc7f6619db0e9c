"""The sandbox's child process: evaluates what strangers wrote, where it can be killed.

Run as a script, never imported by the service. Frames on stdin and stdout are a length (4 bytes, big endian)
and that many bytes of JSON; an empty frame says that the child is ready. It ends when stdin does.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, NoReturn, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# cel's package imports its command line and with it typer, rich and prompt_toolkit: half a second for
# nothing. So these two modules of it are taken by empty ones; the extension module alone does what is needed
# here.
for _unused in ("cel.cli", "cel.stdlib"):
    sys.modules[_unused] = ModuleType(_unused)

import cel  # noqa: E402
import jsonschema_rs  # noqa: E402
import orjson  # noqa: E402

# Twice what the largest accepted answer (2 MiB, nothing but empty lists) needs here; Linux enforces it.
MEMORY_BYTES = 1 << 30
# A result is data of the submission's own size at most; larger ones are what an expression multiplied.
MAX_RESULT_BYTES = 4 << 20
MAX_RESULT_DEPTH = 64
MAX_PROBLEMS = 10
MAX_PROBLEM_CHARACTERS = 300
# jsonschema_rs makes all errors at once, each with a copy of what is wrong: 15 s for 300,000 of them. Of a
# larger value only the first is asked for.
MANY_ERRORS_VALUE_BYTES = 64 << 10
# map, filter, all, exists nested in each other go over their lists once for each element of the outer one.
MAX_MACRO_NESTING = 2

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class RefusedError(Exception):
    """The expression gave no result. `missing` where that is for a key or an index that is not there."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


def one_line(text: str) -> str:
    """Fit a message for people: on one line, long ones without their middle: the end says what is wrong."""
    text = " ".join(text.split())
    if len(text) <= MAX_PROBLEM_CHARACTERS:
        return text
    return f"{text[:120]} … {text[-(MAX_PROBLEM_CHARACTERS - 123) :]}"


# ------------------------------------------------------------------------------------------------ expressions

TOKENS = re.compile(
    r"""
      (?P<space> \s+ | //[^\n]*+ )
    | (?P<string> [bB]?[rR] (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*+" | '[^'\n]*+' )
                | [bB]?     (?: \"{3}(?:\\.|.)*?\"{3} | '{3}(?:\\.|.)*?'{3}
                              | "(?:[^"\\\n]|\\.)*+" | '(?:[^'\\\n]|\\.)*+' ) )
    | (?P<name> [A-Za-z_]\w*+ )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
CONVERSIONS = frozenset({"bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"})
OF_TEXTS = frozenset({"contains", "endsWith", "matches", "size", "startsWith"})
OF_DATES = frozenset({"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"})
OF_TIMES = frozenset({"getHours", "getMinutes", "getSeconds", "getMilliseconds"})
FUNCTIONS = CONVERSIONS | OF_TEXTS | OF_DATES | OF_TIMES
# The library's own size() counts a string's bytes, CEL's its characters, and it cannot be replaced under its
# name.
SIZE = "Size"


def tokens(expression: str) -> Iterator[tuple[str, str]]:
    """Split an expression that compiles into (kind, text), text by text the whole of it."""
    for match in TOKENS.finditer(expression):
        yield match.lastgroup or "", match.group()


def with_right_size(expression: str) -> str:
    """Let calls of size() go to our own one, in place, so that columns in messages stay right."""
    written: list[str] = []
    name_at = -1
    for kind, text in tokens(expression):
        if text == "(" and name_at >= 0:
            written[name_at] = SIZE
        if kind != "space":
            name_at = len(written) if (kind, text) == ("name", "size") else -1
        written.append(text)
    return "".join(written)


def size_of(value: object) -> int:
    """CEL's size(): characters of a string, bytes of bytes, elements of a list, entries of a map."""
    if isinstance(value, (str, bytes, list, tuple, dict)):
        return len(cast("str | bytes | list[object] | tuple[object, ...] | dict[object, object]", value))
    raise TypeError("size() needs a string, a list or a map")


def evaluate(expression: str, variables: dict[str, Json]) -> Json:
    """Evaluate and return what JSON can say. Raises RefusedError."""
    try:
        program = cel.compile(with_right_size(expression))
        context = cel.Context(variables=variables, functions={SIZE: size_of})
        return plain(program.execute(context), 0)
    except RefusedError:
        raise
    except (KeyError, IndexError) as error:
        # A KeyError's text is its key's repr.
        what = f"there is no {error}" if isinstance(error, KeyError) else f"{error}"
        raise RefusedError(one_line(what), missing=True) from None
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise RefusedError(one_line(explained(str(error)))) from None


def explained(message: str) -> str:
    """Cut a message of the library's down to what an expression's author can use."""
    for pattern, wording in WORDINGS:
        if found := re.search(pattern, message, re.DOTALL):
            return wording(found)
    return message


def unknown(name: str) -> str:
    """Word what the library says both of names that it does not know and of values that do not suit."""
    if name in FUNCTIONS:
        return f"{name}() does not take values of these types"
    return f"there is no variable or function {name!r}"


NOT_DEFINED = "not defined for these types of values; convert with int(), double() or string()"
WORDINGS: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"Recursion limit", lambda _: "it is nested too deeply"),
    (r"ERROR: <input>:1:(\d+): (.*?)(?: expecting |\n|$)", lambda found: f"at column {found[1]}: {found[2]}"),
    (r"^Unsupported operation: ([^.]*)", lambda found: f"{found[1]} is {NOT_DEFINED}"),
    (r"^No such overload", lambda _: f"an operation is {NOT_DEFINED}"),
    (r"^Undefined variable or function: '(\w+)'", lambda found: unknown(found[1])),
    (
        r"^Function '\w+' error: (?:Python function call failed: \w+: )?(.*?)\. Check function arguments",
        lambda found: found[1],
    ),
]


NOT_JSON = {
    "OptionalValue": "an optional",
    "bytes": "bytes",
    "datetime": "a timestamp",
    "float": "a number that is not finite",
    "int": "an integer beyond 64 bits",
    "timedelta": "a duration",
    "list": f"lists nested deeper than {MAX_RESULT_DEPTH}",
    "dict": f"maps nested deeper than {MAX_RESULT_DEPTH}",
}


def plain(value: object, depth: int) -> Json:
    """Turn a result into JSON, or refuse it: times, bytes, NaN and the like have no JSON form."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth < MAX_RESULT_DEPTH:
        if isinstance(value, list):
            return [plain(item, depth + 1) for item in cast("list[object]", value)]
        if isinstance(value, dict):
            members = cast("dict[object, object]", value)
            return {text_key(key): plain(item, depth + 1) for key, item in members.items()}
    name = type(value).__name__
    raise RefusedError(f"it gives {NOT_JSON.get(name, f'a value of type {name}')}, which JSON does not have")


def text_key(key: object) -> str:
    if not isinstance(key, str):
        raise RefusedError("it gives a map with keys that are no strings, which JSON does not have")
    return key


def expression_problems(expression: str, known: Sequence[str]) -> list[str]:
    """Say what is wrong with an expression before anything is evaluated."""
    try:
        program = cel.compile(expression)
    except ValueError as error:
        return [one_line(f"Not a CEL expression: {explained(str(error))}.")]
    nesting, bound = macros(expression)
    allowed = ", ".join(f"`{name}`" for name in known)
    problems = [
        f"There is no variable `{name}` here, only {allowed}."
        for name in program.variables()
        if name not in bound and name not in known
    ]
    problems += [
        f"There is no function `{name}`."
        for name in program.functions()
        if name.isidentifier() and name not in FUNCTIONS and not re.fullmatch(r"_\W.*|.*\W_", name)
    ]
    if nesting > MAX_MACRO_NESTING:
        problems.append(f"{'/'.join(sorted(MACROS))} are nested {nesting} deep; {MAX_MACRO_NESTING} is the limit.")
    return [one_line(problem) for problem in problems[:MAX_PROBLEMS]]


def macros(expression: str) -> tuple[int, frozenset[str]]:
    """Return how deeply macros are nested, and the names that they bind."""
    parts = [part for part in tokens(expression) if part[0] != "space"]
    open_brackets: list[bool] = []
    deepest = 0
    bound: set[str] = set()
    for index, (kind, text) in enumerate(parts):
        if kind != "other":
            continue
        if text in "([{":
            before = [part[1] for part in parts[max(0, index - 2) : index]]
            is_macro = text == "(" and before[:1] == ["."] and before[-1] in MACROS
            open_brackets.append(is_macro)
            if is_macro:
                deepest = max(deepest, sum(open_brackets))
                bound.update(name for kind_after, name in parts[index + 1 : index + 2] if kind_after == "name")
        elif text in ")]}" and open_brackets:
            open_brackets.pop()
    return deepest, frozenset(bound)


# ---------------------------------------------------------------------------------------------------- schemas


def refuse_retrieval(uri: str) -> NoReturn:
    """Take the place of the library's own retriever, which fetches from anywhere and reads files."""
    raise ValueError(f"{uri} is not fetched")


def compiled(schema: Json, *, formats: bool) -> jsonschema_rs.Draft202012Validator:
    """Compile a schema. Raises jsonschema_rs.ValidationError (a ValueError) where it is not one."""
    return jsonschema_rs.Draft202012Validator(
        cast("dict[str, object]", schema),
        retriever=refuse_retrieval,
        # The other engine backtracks: up to its limit, and inside `not` reaching the limit would look like a
        # match.
        pattern_options=jsonschema_rs.RegexOptions(),
        validate_formats=formats,
    )


def place(path: Sequence[str | int]) -> str:
    """Write a JSON pointer; the whole value's is empty, which nobody would see."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path) or "top level"


def value_problems(schema: Json, value: Json, *, formats: bool, value_bytes: int) -> list[str]:
    """Say what of a value does not meet a schema. Raises RefusedError where the schema is not one."""
    try:
        validator = compiled(schema, formats=formats)
    except ValueError as error:
        raise RefusedError(one_line(f"the schema itself is not valid: {worded(error)}")) from None
    if validator.is_valid(value):
        return []
    if value_bytes > MANY_ERRORS_VALUE_BYTES:
        try:
            validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return [worded(error)]
    return listed(validator, value)


def listed(validator: jsonschema_rs.Draft202012Validator, value: Json) -> list[str]:
    errors = list(validator.iter_errors(value))
    problems = [worded(error) for error in errors[:MAX_PROBLEMS]]
    if len(errors) > MAX_PROBLEMS:
        problems[-1] = f"… and {len(errors) - MAX_PROBLEMS + 1} more."
    return problems


def schema_problems(schema: Json) -> list[str]:
    """Say what is wrong with a schema at registration."""
    if not isinstance(schema, (dict, bool)):
        return ["A JSON Schema is an object or a boolean."]
    declared = schema.get("$schema", DIALECT) if isinstance(schema, dict) else DIALECT
    if not isinstance(declared, str) or declared.rstrip("#") != DIALECT:
        return [one_line(f"/$schema: only draft 2020-12 is understood ({DIALECT}), not {declared!r}.")]
    if problems := listed(compiled({"$ref": DIALECT}, formats=True), schema):
        return problems
    try:
        validator = compiled(schema, formats=True)
    except ValueError as error:
        return [worded(error)]
    # A schema that goes round in circles, or doubles with each reference, shows it on the smallest values.
    for value in cast("tuple[Json, ...]", (None, 0, "", [], {})):
        validator.is_valid(value)
    return []


def worded(error: ValueError) -> str:
    """Word an error with the place it is about."""
    if not isinstance(error, jsonschema_rs.ValidationError):
        return one_line(str(error))
    kind, path = error.kind.name, error.instance_path
    message = error.message
    if kind == "$ref":
        if found := re.match(r"Resource '(.*?)' is not present", message):
            message = f"$ref to {found[1]}: only references within the schema itself are followed"
        else:
            message = f"$ref: {message}"
    elif kind == "format" and message.endswith('is not a "regex"'):
        message = f"{message} that can be matched in linear time (no look-around, no back-references)"
    elif kind == "anyOf" and path[-1:] == ["type"] and "listed in the 'anyOf' keyword" in message:
        message = f"{message} (for a schema's `type`: one of the seven JSON types, or a list of them)"
    return one_line(f"{place(path)}: {message}")


# ---------------------------------------------------------------------------------------------------- serving


def answer(request: Mapping[str, Json], frame_bytes: int) -> Json:
    """Do what a frame asks."""
    try:
        match request:
            case {"do": "evaluate", "expression": str(expression), "variables": dict(variables)}:
                return {"value": evaluate(expression, variables)}
            case {"do": "check_expression", "expression": str(expression), "variables": list(variables)}:
                return {"value": [*expression_problems(expression, cast("list[str]", variables))]}
            case {"do": "validate", "schema": schema, "value": value, "formats": bool(formats)}:
                return {"value": [*value_problems(schema, value, formats=formats, value_bytes=frame_bytes)]}
            case {"do": "check_schema", "schema": schema}:
                return {"value": [*schema_problems(schema)]}
            case _:
                raise AssertionError("the parent asks for something unknown")
    except RefusedError as error:
        return {"error": str(error), "missing": error.missing}


def limit(name: str, value: int) -> None:
    """Lower a limit of this process; macOS has some of them in name only."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        resource.setrlimit(getattr(resource, name), (value, value))


def serve(requests: BinaryIO, send: Callable[[bytes], None]) -> None:
    """Answer frames until there are no more."""
    # Looking for cycles doubles the time that large values take, and values have none.
    gc.disable()
    send(b"")
    while len(header := requests.read(4)) == 4:  # noqa: PLR2004
        size = int.from_bytes(header, "big")
        frame = requests.read(size)
        if len(frame) < size:
            return
        request = cast("dict[str, Json]", orjson.loads(frame))
        # The parent kills in time. Should it be dead, the alarm ends this process with the signal's default
        # action, whatever the code under way is doing.
        signal.setitimer(signal.ITIMER_REAL, 2 * cast("float", request["seconds"]) + 1)
        reply = orjson.dumps(answer(request, size))
        if len(reply) > MAX_RESULT_BYTES:
            reply = orjson.dumps({"error": "the result is too large", "missing": False})
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(reply)


def main() -> None:
    """Serve on stdin and stdout with little memory, no core dumps and no new files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the parent, which drains
    limit("RLIMIT_AS", MEMORY_BYTES)
    limit("RLIMIT_CORE", 0)
    limit("RLIMIT_FSIZE", 0)

    def send(frame: bytes) -> None:
        sys.stdout.buffer.write(len(frame).to_bytes(4, "big") + frame)
        sys.stdout.buffer.flush()

    # Whatever goes wrong in the libraries (a panic, no memory left) ends the process: a fresh one is certain.
    with contextlib.suppress(BaseException):
        serve(sys.stdin.buffer, send)
        os._exit(0)
    os._exit(1)


if __name__ == "__main__":
    main()
