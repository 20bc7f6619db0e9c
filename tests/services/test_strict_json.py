import json
import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import JobStatus, JsonValue
from services.strict_json import MAX_DEPTH, InvalidJsonError, canonical, check, digest, parse

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


# Numbers of short texts are looked at one by one, those of longer ones only where there is a sign of odd ones.
LONG = 1_000


def padded(text: bytes | str) -> bytes | str:
    return text.ljust(LONG)


def forms(text: bytes | str) -> Iterator[bytes | str]:
    """The text in all forms that are read in ways of their own."""
    yield text
    if text:
        yield padded(text)
    if isinstance(text, str) and "\ud800" not in text:
        yield text.encode()


@given(JSON)
def test_what_is_written_reads_back_equal(value: JsonValue) -> None:
    text = canonical(value)

    assert canonical(parse(text)) == canonical(parse(text.encode())) == canonical(check(value)) == text
    assert parse(text) == parse(padded(text)) == value


@given(st.binary() | st.text())
def test_whatever_comes_is_json_or_refused_in_one_line(data: bytes | str) -> None:
    try:
        value = parse(data)
    except InvalidJsonError as error:
        assert str(error).isprintable()  # noqa: PT017 - most of what comes is refused
        assert len(str(error)) < 200  # noqa: PT017
    else:
        assert canonical(check(value)) == canonical(value)
        assert value == json.loads(data)


@given(JSON, JSON)
def test_digests_differ_exactly_where_values_do(one: JsonValue, other: JsonValue) -> None:
    def in_key_order(value: JsonValue) -> str:
        return json.dumps(value, sort_keys=True)

    assert (digest(one) == digest(other)) == (in_key_order(one) == in_key_order(other))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"5", 5),
        (b' {"a": [1, 2.5, "x", null, true]} ', {"a": [1, 2.5, "x", None, True]}),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\\\u0000 \\\\ud800"', "\\u0000 \\ud800"),
        (str(2**63 - 1), 2**63 - 1),
        (str(-(2**63)), -(2**63)),
        ("1e308", 1e308),
        ('"12345678901234567890 e+400"', "12345678901234567890 e+400"),
        ("0.1000000000000000055511151231257827021181583404541015625", 0.1),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
        ('["' + "[" * 1000 + '"]', ["[" * 1000]),
        ('["\\"' + "[" * 1000 + '", 1]', ['"' + "[" * 1000, 1]),
    ],
)
def test_json_is_read(text: bytes | str, value: object) -> None:
    for form in forms(text):
        parsed = parse(form)
        assert value is None or (parsed == value and type(parsed) is type(value))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Not valid JSON at line 1, column 1: Expecting value."),
        ('{"a": 1,\n "b" 2}', "Not valid JSON at line 2, column 6: Expecting ':' delimiter."),
        ("[1] x", "Not valid JSON at line 1, column 5: Extra data."),
        ("{}\n {}", "Not valid JSON at line 2, column 2: Extra data."),
        ("[1]\u00a0", "Not valid JSON at line 1, column 4: Extra data."),
        ("'a'", "Not valid JSON"),
        ("01", "Not valid JSON"),
        ('"a\nb"', "Not valid JSON"),
        ("NaN", "NaN is not a JSON number."),
        ("[-Infinity]", "-Infinity is not a JSON number."),
        ("1e400", 'The number "1e400" is too large.'),
        ("1E+0400", 'The number "1E+0400" is too large.'),
        ("9" * 400 + ".5", "is too large."),
        (str(2**63), f'The integer "{2**63}" does not fit 64 bits.'),
        ("-" + "9" * 19, "does not fit 64 bits."),
        ("0." + "1" * 2000, "A number has more than 1100 characters."),
        ('{"a": 1, "b": {"k": 1, "k": 2}}', 'The key "k" occurs twice in one object.'),
        ('{"k":1,"k":1}', 'The key "k" occurs twice in one object.'),
        ('{"k": 1, "\\u006b": 2}', 'The key "k" occurs twice in one object.'),
        ('["\\u0000"]', "A string holds the character U+0000."),
        ('{"\\u0000": 1}', "A string holds the character U+0000."),
        ('"\\\\\\u0000"', "A string holds the character U+0000."),
        ('"\\ud800"', "A string holds a lone surrogate."),
        ('{"\\uDFFF": 1}', "A string holds a lone surrogate."),
        ('"\\ude00\\ud83d"', "A string holds a lone surrogate."),
        ('"\ud800"', "Character 1 is a lone surrogate."),
        (b'"\xed\xa0\x80"', "Not UTF-8 text: byte 1 is not part of a character."),
        (b'"\xff"', "Not UTF-8 text"),
        ('"a"'.encode("utf-16"), "Not UTF-8 text"),
        (b"\xef\xbb\xbf1", "The text starts with a byte order mark."),
        ("\ufeff1", "The text starts with a byte order mark."),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "Nested deeper than 64 levels."),
        ('{"a":' * 65 + "1" + "}" * 65, "Nested deeper than 64 levels."),
    ],
)
def test_what_is_not_strict_json_is_refused(text: bytes | str, why: str) -> None:
    for form in forms(text):
        with pytest.raises(InvalidJsonError) as refusal:
            parse(form)

        assert why in str(refusal.value)


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 200_000,
        b"[" * 200_000 + b"]" * 200_000,
        b'{"a":' * 200_000,
        b"9" * 5_000,
        b"-" + b"9" * 2_000_000,
        b"1e" + b"9" * 2_000_000,
        b"0." + b"9" * 2_000_000,
        b'"\\"' * 700_000,
        b'"' + b"\\" * 2_000_000,
        b'{"a":1' + b',"a":1' * 300_000 + b"}",
    ],
    ids=range(10),
)
def test_bombs_are_refused_at_once(bomb: bytes) -> None:
    started = time.perf_counter()

    with pytest.raises(InvalidJsonError):
        parse(bomb)

    assert time.perf_counter() - started < 10  # 0.1 s on an idle machine


@pytest.mark.parametrize(
    "unit",
    [b"1,", b"[],", b"{},", b'{"a":1},', b'"a",', b"1234567890123456789,", b"[" * 60 + b"]" * 60 + b","],
    ids=range(7),
)
def test_two_mebibytes_of_small_values_are_read_in_time(unit: bytes) -> None:
    text = b"[" + unit * (2 * 1024 * 1024 // len(unit)) + b"0]"
    started = time.perf_counter()

    parse(text)

    assert time.perf_counter() - started < 20  # 0.4 s on an idle machine


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (math.nan, "The value is not a finite number."),
        ({"a": [1, -math.inf]}, 'The value at "/a/1" is not a finite number.'),
        (2**63, "The value is an integer that does not fit 64 bits."),
        ({"a": {1: 2}}, 'The value at "/a/1" has a key that is a int, not a string.'),
        ("\0", "The value holds the character U+0000."),
        ({"\0": 1}, 'The value at "/\\u0000" holds the character U+0000.'),
        ("\ud800", "The value holds a lone surrogate."),
        ({"\ud800": 1}, 'The value at "/\\ud800" holds a lone surrogate.'),
        (b"x", "The value is a bytes, which JSON does not have."),
        ([datetime(2026, 1, 1, tzinfo=UTC)], 'The value at "/0" is a datetime, which JSON does not have.'),
        ({1, 2}, "The value is a set, which JSON does not have."),
    ],
)
def test_python_values_that_json_does_not_have_are_refused(value: object, why: str) -> None:
    with pytest.raises(InvalidJsonError) as refusal:
        check(value)

    assert str(refusal.value) == why


def test_checked_values_are_plain_and_new() -> None:
    inner = [1, 2]
    checked = check({"status": JobStatus.PENDING, "list": (1, inner), "map": OrderedDict(b=1, a=2)})

    assert checked == {"status": "pending", "list": [1, [1, 2]], "map": {"b": 1, "a": 2}}
    assert isinstance(checked, dict)
    assert type(checked["status"]) is str
    inner.append(3)
    assert canonical(checked) == '{"status":"pending","list":[1,[1,2]],"map":{"b":1,"a":2}}'


def test_values_that_hold_themselves_are_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)

    with pytest.raises(InvalidJsonError, match="nested deeper than 64 levels"):
        check(circle)


def test_values_that_share_their_parts_do_not_explode() -> None:
    shared: list[object] = [[1] * 40_000]
    for _ in range(60):
        shared = [shared, shared]

    with pytest.raises(InvalidJsonError, match="values"):
        check(shared)


def test_canonical_text_is_compact_ordered_and_readable() -> None:
    value: JsonValue = {"b": 1, "a": {"ü": [1.0, 1e22, "\n😀"]}}

    assert canonical(value) == '{"b":1,"a":{"ü":[1.0,1e+22,"\\n😀"]}}'
    assert digest(value) == digest({"a": {"ü": [1.0, 1e22, "\n😀"]}, "b": 1})
    assert digest(1) != digest(1.0)


def test_canonical_text_of_read_only_values() -> None:
    value: Mapping[str, JsonValue] = MappingProxyType({"a": (1, MappingProxyType({"b": 2}))})

    assert canonical(value) == '{"a":[1,{"b":2}]}'
