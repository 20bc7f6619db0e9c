"""The one strict parser for every JSON value that comes from outside.

What passes here can be stored by both databases, sent on and compared without changing its meaning: UTF-8
text without U+0000 and lone surrogates, integers of 64 bits, finite floats, no duplicate keys, nothing nested
deeper than 64 levels. What does not is refused in one sentence; no input exhausts the stack or stalls the
process.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NoReturn, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import Generator

    from db.records import JsonValue

MAX_DEPTH = 64
"""Levels of nesting, the outermost array or object being the first. Real documents have fewer than 20."""

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
"""What both databases, CEL and every JSON library keep exactly."""

MAX_NUMBER_CHARACTERS = 1_100
"""The exact decimal expansion of a double has at most 1,077; a longer literal is an attack on int()."""

MAX_VALUES = 3_000_000
"""In one Python structure: more than any accepted text can hold, reached only by sharing parts of itself."""

_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKETS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))

# Cheap signs that a text may hold what needs a closer look: most texts hold none, and are parsed by C code
# alone. Searched in the text with every digit written 0, because a regular expression takes 50 times as long.
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789E", b"000000000e")
_LONG_INTEGER, _EXPONENT, _SIGNED_EXPONENT = b"0" * 19, b"e000", b"e+000"
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")


class InvalidJsonError(ValueError):
    """The value is not JSON that can be kept. One sentence, with the place where that is known."""


def parse(data: bytes | str) -> JsonValue:
    """Parse a whole JSON text. Raises InvalidJsonError.

    Linear in the size of the text: 2 MiB of the worst kind take some tenths of a second, ordinary ones a few
    milliseconds.
    """
    raw, text = _decode(data)
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _refuse_depth(raw)
    length = len(raw)
    value: JsonValue = _as_written(raw) if length <= _SMALL else _OTHERWISE
    if value is not _OTHERWISE:
        return value
    decoder = _EXACT if length <= _SHORT or _has_odd_numbers(raw) else _SIMPLE
    try:
        if length > _SMALL:
            with _no_collections():
                value = _decoded(decoder, text)
        else:
            value = _decoded(decoder, text)
    except json.JSONDecodeError as error:
        raise InvalidJsonError(f"Not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}.") from None
    if "\\" in text:
        if b"\\u0000" in raw and _NUL_ESCAPE.search(raw):
            raise InvalidJsonError("A string holds the character U+0000.")
        if _SURROGATE_ESCAPE.search(raw):
            _refuse_surrogates(canonical(value))
    return value


def check(value: object) -> JsonValue:
    """Hold a Python value to the same rules; return it as plain dicts and lists. Raises InvalidJsonError."""
    try:
        return _Copier().copy(value, 0)
    except _WrongValueError as error:
        place = "".join(f"/{step}" for step in reversed(error.way))
        subject = f"The value at {_quoted(place)}" if place else "The value"
        raise InvalidJsonError(f"{subject} {error.problem}.") from None


def canonical(value: JsonValue) -> str:
    """Write a checked value as text: compact, keys in their order, characters as they are."""
    return _AS_IT_IS.encode(value)


def digest(value: JsonValue) -> str:
    """Hash a checked value (SHA-256, hexadecimal). The order of keys does not matter; 1 and 1.0 differ."""
    return hashlib.sha256(_IN_ORDER.encode(value).encode()).hexdigest()


def _plain(value: object) -> object:
    """Let json write the mappings and sequences that it does not know."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    return list(cast("tuple[object, ...]", value))


# Made once: json.dumps makes one for each text.
_compact = partial(json.JSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
_AS_IT_IS, _IN_ORDER = _compact(), _compact(sort_keys=True)


# ---------------------------------------------------------------------------------------------------- parsing


def _as_written(data: bytes) -> Any:
    """Parse a text that is exactly what a writer makes of its value, as browsers do; _OTHERWISE where it is not.

    Where the value becomes the same text again, no key came twice, and no number and no character was changed: seeing
    that takes half of the time in which the other way looks at each.
    """
    # The first signs are those of texts that are not compact.
    if b'": ' in data or b"\n" in data or b"\\u" in data:
        return _OTHERWISE
    try:
        value = orjson.loads(data)
        # Refuses integers of more than 53 bits, of which some do not fit.
        return value if orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER) == data else _OTHERWISE
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return _OTHERWISE


_OTHERWISE: Any = object()


def _decode(data: bytes | str) -> tuple[bytes, str]:
    try:
        raw, text = (data.encode(), data) if isinstance(data, str) else (data, data.decode())
    except UnicodeDecodeError as error:
        raise InvalidJsonError(f"Not UTF-8 text: byte {error.start} is not part of a character.") from None
    except UnicodeEncodeError as error:
        raise InvalidJsonError(f"Character {error.start} is a lone surrogate.") from None
    if text[:1] == "\ufeff":
        raise InvalidJsonError("The text starts with a byte order mark.")
    return raw, text


@contextmanager
def _no_collections() -> Generator[None]:
    """Do not look for cycles meanwhile: values have none, and the search takes longer than making them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _has_odd_numbers(raw: bytes) -> bool:
    """Whether a text may hold a number that needs a closer look."""
    zeros = raw.translate(_DIGITS_AS_ZERO)
    return _LONG_INTEGER in zeros or _EXPONENT in zeros or _SIGNED_EXPONENT in zeros


def _refuse_depth(raw: bytes) -> None:
    """Count brackets outside strings before the parser sees them: it recurses as deep as they go."""
    steps = memoryview(_STRINGS.sub(b"", raw).translate(_BRACKETS, _NOT_BRACKETS)).cast("b")
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise InvalidJsonError(f"Nested deeper than {MAX_DEPTH} levels.")


def _decoded(decoder: json.JSONDecoder, text: str) -> JsonValue:
    """What `decode` does, which looks for white space on both sides, where mostly there is none."""
    if text[:1] not in _CONTAINERS:
        return cast("JsonValue", decoder.decode(text))
    value: JsonValue
    value, end = decoder.raw_decode(text)
    if end != len(text):
        rest = text[end:].lstrip(_WHITE_SPACE)
        if rest:
            raise json.JSONDecodeError("Extra data", text, len(text) - len(rest))
    return value


def _object(pairs: list[tuple[str, JsonValue]]) -> JsonValue:
    made = dict(pairs)
    if len(made) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise InvalidJsonError(f"The key {_quoted(twice)} occurs twice in one object.")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJsonError(f"{name} is not a JSON number.")


def _integer(literal: str) -> int:
    # The length is looked at first because int() is slow on long ones; up to 18 digits always fit.
    length = len(literal)
    if length < _LONGEST_INTEGER - 1:
        return int(literal)
    if length > _LONGEST_INTEGER or not MIN_INTEGER <= (value := int(literal)) <= MAX_INTEGER:
        raise InvalidJsonError(f"The integer {_quoted(literal)} does not fit 64 bits.")
    return value


_LONGEST_INTEGER = len(str(MIN_INTEGER))


def _float(literal: str) -> float:
    if len(literal) > MAX_NUMBER_CHARACTERS:
        raise InvalidJsonError(f"A number has more than {MAX_NUMBER_CHARACTERS} characters.")
    value = float(literal)
    if math.isinf(value):
        raise InvalidJsonError(f"The number {_quoted(literal)} is too large.")
    return value


def _quoted(text: str) -> str:
    """Show a text from outside on one line, shortened, in characters that any log can hold."""
    return json.dumps(text if len(text) <= 40 else f"{text[:40]}…").replace("\\u2026", "…")  # noqa: PLR2004


# Made once, which takes as long as reading a small text does.
_SIMPLE = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
_EXACT = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_refuse_constant, parse_int=_integer, parse_float=_float
)
_CONTAINERS, _WHITE_SPACE = frozenset("{["), " \t\n\r"
# Texts with so few numbers that looking at each takes no longer than seeing whether that is needed.
_SHORT = 500
# So few values set off a collection or two at most.
_SMALL = 10_000


# --------------------------------------------------------------------------------------------------- checking


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidJsonError("A string holds a lone surrogate.") from None


class _WrongValueError(Exception):
    """What is wrong with a value; the steps leading to it are added on the way up, innermost first."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.way: list[str | int] = []


class _Copier:
    """One walk over a Python value. Recursion is safe: the depth is bounded."""

    def __init__(self) -> None:
        self._values_left = MAX_VALUES

    def copy(self, value: object, depth: int) -> JsonValue:
        """Return a checked copy of a value that lies inside `depth` containers."""
        if isinstance(value, str):
            return _checked_text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            if not MIN_INTEGER <= value <= MAX_INTEGER:
                raise _WrongValueError("is an integer that does not fit 64 bits")
            return int(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise _WrongValueError("is not a finite number")
            return float(value)
        if not isinstance(value, (list, tuple, dict)):
            raise _WrongValueError(f"is a {type(value).__name__}, which JSON does not have")
        if depth == MAX_DEPTH:
            raise _WrongValueError(f"is nested deeper than {MAX_DEPTH} levels")
        held = cast("list[object] | tuple[object, ...] | dict[object, object]", value)
        self._values_left -= len(held)
        if self._values_left < 0:
            raise _WrongValueError(f"brings more than {MAX_VALUES} values")
        return self._members(held, depth + 1) if isinstance(held, dict) else self._items(held, depth + 1)

    def _items(self, items: list[object] | tuple[object, ...], depth: int) -> JsonValue:
        made: list[JsonValue] = []
        try:
            for item in items:
                made.append(self.copy(item, depth))  # noqa: PERF401 - its length says which item is wrong
        except _WrongValueError as error:
            error.way.append(len(made))
            raise
        return made

    def _members(self, members: dict[object, object], depth: int) -> JsonValue:
        made: dict[str, JsonValue] = {}
        key: object = None
        try:
            for key, item in members.items():
                made[_checked_key(key)] = self.copy(item, depth)
        except _WrongValueError as error:
            error.way.append(str(key))
            raise
        return made


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise _WrongValueError(f"has a key that is a {type(key).__name__}, not a string")
    return _checked_text(key)


def _checked_text(text: str) -> str:
    if "\0" in text:
        raise _WrongValueError("holds the character U+0000")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _WrongValueError("holds a lone surrogate") from None
    return str(text)
