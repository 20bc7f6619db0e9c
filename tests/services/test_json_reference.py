"""The strict parser against another one, written from RFC 8259 and our own rules alone, character by character.

And what it lets through means the same on both databases, digit by digit.
"""

import json
import math
import re
from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from db.records import JobStatus, JsonValue
from services.inputs import CriterionDraft
from services.strict_json import InvalidJsonError, canonical, check, digest, parse
from tests.agents import Response, ScriptedAgent
from tests.services.conftest import OpenHouse


class RefusedError(Exception):
    """The text is not JSON that can be kept."""


ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
HEXADECIMAL = set("0123456789abcdefABCDEF")


@dataclass
class Reference:
    """Slow and plain: one character after the other."""

    text: str
    at: int = 0

    def whole(self) -> JsonValue:
        self.spaces()
        value = self.value(0)
        self.spaces()
        if self.at != len(self.text):
            raise RefusedError
        return value

    @property
    def here(self) -> str:
        if self.at >= len(self.text):
            raise RefusedError
        return self.text[self.at]

    def spaces(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\n\r":
            self.at += 1

    def take(self, wanted: str) -> bool:
        if self.text.startswith(wanted, self.at):
            self.at += len(wanted)
            return True
        return False

    def must(self, wanted: str) -> None:
        if not self.take(wanted):
            raise RefusedError

    def value(self, depth: int) -> JsonValue:
        if self.here in "[{" and depth == 64:
            raise RefusedError
        for word, meaning in (("null", None), ("true", True), ("false", False)):
            if self.take(word):
                return meaning
        if self.here == '"':
            return self.string()
        if self.take("["):
            return self.items(depth + 1)
        if self.take("{"):
            return self.members(depth + 1)
        return self.number()

    def items(self, depth: int) -> JsonValue:
        items: list[JsonValue] = []
        self.spaces()
        if self.take("]"):
            return items
        while True:
            self.spaces()
            items.append(self.value(depth))
            self.spaces()
            if self.take("]"):
                return items
            self.must(",")

    def members(self, depth: int) -> JsonValue:
        members: dict[str, JsonValue] = {}
        self.spaces()
        if self.take("}"):
            return members
        while True:
            self.spaces()
            name = self.string()
            if name in members:
                raise RefusedError
            self.spaces()
            self.must(":")
            self.spaces()
            members[name] = self.value(depth)
            self.spaces()
            if self.take("}"):
                return members
            self.must(",")

    def string(self) -> str:
        self.must('"')
        units: list[int] = []  # UTF-16, where a surrogate is alone or is not
        while not self.take('"'):
            if self.take("\\"):
                units += self.escape()
            elif self.here < " " or "\ud800" <= self.here <= "\udfff":
                raise RefusedError
            else:
                encoded = self.here.encode("utf-16-be")
                units += [int.from_bytes(encoded[i : i + 2], "big") for i in range(0, len(encoded), 2)]
                self.at += 1
        try:
            text = b"".join(unit.to_bytes(2, "big") for unit in units).decode("utf-16-be")
        except UnicodeDecodeError:
            raise RefusedError from None
        if "\0" in text:
            raise RefusedError
        return text

    def escape(self) -> list[int]:
        if self.take("u"):
            digits = self.text[self.at : self.at + 4]
            if len(digits) < 4 or not set(digits) <= HEXADECIMAL:
                raise RefusedError
            self.at += 4
            return [int(digits, 16)]
        meant = ESCAPES.get(self.here)
        if meant is None:
            raise RefusedError
        self.at += 1
        return [ord(meant)]

    def number(self) -> JsonValue:
        found = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?").match(self.text, self.at)
        if found is None:
            raise RefusedError
        self.at = found.end()
        if found[2] is None and found[3] is None:
            if len(found[0]) > 20 or not -(2**63) <= int(found[0]) < 2**63:
                raise RefusedError
            return int(found[0])
        if len(found[0]) > 1_100 or math.isinf(float(found[0])):
            raise RefusedError
        return float(found[0])


def written(value: JsonValue) -> str:
    """A value as a text in which 1, 1.0, -0.0 and True are all different."""
    return json.dumps(value)


STRINGS = st.text() | st.sampled_from(["\\u0000", "\\ud83d\\ude00", "\\ud800", "\\udc00x", "\\\\u0000", "\\/", "\\x"])
NUMBERS = st.from_regex(r"\A-?[0-9]{1,25}(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?\Z") | st.sampled_from(
    ["NaN", "Infinity", "-Infinity", "1e400", "-1e-400", "-0", "-0.0", str(2**63), str(-(2**63)), "0" * 30, "1" * 1_200]
)
SCALARS = st.sampled_from(["null", "true", "false", "nul", "True"]) | NUMBERS | STRINGS.map(lambda text: f'"{text}"')


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    keys = st.sampled_from(['"a"', '"b"', '"\\u0061"', "a"])
    members = st.lists(st.tuples(keys, inner).map(":".join), max_size=3)
    return st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]") | st.builds(
        lambda comma, pairs: f"{{{comma.join(pairs)}}}", st.sampled_from([",", ", "]), members
    )


JSON_LIKE = st.recursive(SCALARS, containers, max_leaves=12)
EDITS = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from('"\\[]{},:0-.eu \n\t\0\ufeff\ud800'), st.booleans()), max_size=3
)


def edited(text: str, edits: list[tuple[int, str, bool]]) -> str:
    """Break a text in a few places: a character more, or another one."""
    for where, character, replaces in edits:
        at = where % (len(text) + 1)
        text = text[:at] + character + text[at + replaces :]
    return text


@settings(max_examples=250, deadline=None)
@given(JSON_LIKE, EDITS)
@example("[" * 64 + "]" * 64, [])
@example("[" * 65 + "]" * 65, [])
@example('{"a":{"a":1,"\\u0061":2}}', [])
@example('"\\ud83d\\ude00 \\ude00"', [])
@example('["' + "[" * 70 + '"]', [])
@example("-", [])
@example("1.", [])
@example(".5", [])
@example("+1", [])
@example("0x10", [])
@example("1e5", [])
@example("\ufeff1", [])
@example("", [])
@example('{"a":1,"a":1}', [])
@example("[18446744073709551615,9223372036854775808]", [])
@example("[9007199254740993,-9007199254740993,9223372036854775807]", [])
@example("[-0,-0.0,1.0,1e22,1e5,5e-324,0.1]", [])
@example('"\\b\\f\\n\\r\\t\\"\\\\/\x7f\u2028"', [])
@example('"\\u0000"', [])
def test_the_parser_agrees_with_another_one(text: str, edits: list[tuple[int, str, bool]]) -> None:
    text = edited(text, edits)
    try:
        expected = written(Reference(text).whole())
    except RefusedError:
        expected = "refused"
    for data in (text, text.encode(errors="surrogatepass")):
        try:
            value = parse(data)
        except InvalidJsonError:
            assert expected == "refused"
        else:
            assert written(value) == written(check(value)) == expected


# What databases are known to change: numbers' forms, the order of keys, escapes, white space.
NASTY: JsonValue = {
    "z": [1, 1.0, -0.0, 1e22, 1e-7, 5e-324, 1.7976931348623157e308, 0.1, 2**63 - 1, -(2**63), 9007199254740993],
    "a": {"ü": "\U0001f600", "u\u0308": "\ufeff\u2028\u2029\u200b", "": " \t\n\r", "\x7f": "\\u0000 \\ud800 \\"},
    "Z": [[], {}, "", None, True, False, [[[]]], "null", "NaN", "1e400"],
    "ok": True,
}


async def test_what_is_kept_means_the_same_on_both_databases(open_house: OpenHouse) -> None:
    async with open_house() as house, ScriptedAgent(Response(canonical(NASTY).encode())) as scripted:
        agent = await house.agent(scripted.url, output_schema={"const": NASTY}, input_schema={"type": "object"})
        job = await house.job(agent, CriterionDraft("It is ok.", expression="answer.ok"), input=NASTY)
        result = await house.execute(job)
        log = await house.log(job)

    assert result.job is not None
    assert result.job.status is JobStatus.COMPLETED, result.job.notice
    (request,) = scripted.requests
    assert json.loads(request.body)["input"] == NASTY
    payloads = [entry.payload for entry in log if entry.type == "agent_response"]
    for kept in (result.job.input, result.job.result, *payloads):
        assert canonical(kept) == canonical(NASTY)
        assert digest(kept) == digest(NASTY)
        assert written(kept) == written(NASTY)


NEVER_KEPT = ['{"a": "\\u0000"}', '["\\ud800"]', "NaN", '{"a":1,"a":2}', "[" * 65 + "]" * 65, "9" * 20]


async def test_what_one_database_could_not_keep_neither_is_given(open_house: OpenHouse) -> None:
    async with open_house() as house, ScriptedAgent(*(Response(text.encode()) for text in NEVER_KEPT)) as scripted:
        agent = await house.agent(scripted.url)
        for text in NEVER_KEPT:
            job = await house.job(agent)
            await house.execute(job)
            assert "agent_response:error" in await house.entries(job), text
