r"""Turns IFEval's verifiable instructions into checks that code decides: CEL, or JSON Schema where CEL is too short.

An IFEval instruction ("answer with at least 300 words") has a checker in Python. What it accepts is said here again as
one criterion's check over `answer`, a string, so that the service's own sandbox decides it. The checkers' reading is
kept to the letter, also where it is odd: `"**a**"` highlights twice, a keyword is a regular expression, an answer of
nothing but white space fails everything ("strict").

Python's and CEL's regular expressions differ in what a letter class holds, so none is used unchanged:

- Python's `\s` has U+001C to U+001F as well; its `\w` is exactly `[\p{L}\p{N}_]` (CEL's also has marks such as the
  one that colours an emoji, and lacks ² and ½);
- "ignoring case" differs in i, s and k; sets are spelled out, as Python's own tables give them.

CEL has no look-ahead, so what is counted is written as a grammar that reads a text in only one way. It cannot count
far either: each repetition of a Unicode class takes 50 KB of the 10 MB that an expression may compile to. But a loop
of m counts modulo m, and by the Chinese remainder theorem a few remainders are the number itself (`_many_words`).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.sandbox import MAX_EXPRESSION_CHARACTERS

if TYPE_CHECKING:
    from services.ports import JsonValue

# What has no check, and why. The rest of an instruction's name is its translator below.
INEXPRESSIBLE: Mapping[str, str] = {
    "change_case:capital_word_frequency": "NLTK's tokens are counted, which depend on where a trained model (Punkt)"
    " ends a sentence",
    "change_case:english_capital": "half of it is whether the language is English, as a statistical detector sees it",
    "change_case:english_lowercase": "half of it is whether the language is English, as a statistical detector sees it",
    "language:response_language": "a statistical detector (langdetect) decides the language",
    "length_constraints:number_sentences": "a trained model (NLTK's Punkt) decides where a sentence ends",
}


class NotExpressibleError(ValueError):
    """There is no check that decides this instruction as its checker does; the message says why."""


@dataclass(frozen=True)
class Check:
    """A criterion's check: one of the two."""

    expression: str | None = None
    json_schema: JsonValue = None


Parameters = Mapping[str, "JsonValue"]


def check(instruction: str, parameters: Parameters) -> Check:
    """Translate an instruction. Raises NotExpressibleError."""
    if instruction in INEXPRESSIBLE:
        raise NotExpressibleError(INEXPRESSIBLE[instruction])
    if instruction not in _TRANSLATORS:
        raise NotExpressibleError(f"there is no instruction {instruction!r}")
    made = _TRANSLATORS[instruction](parameters)
    made = Check(made) if isinstance(made, str) else made
    if made.expression is not None and len(made.expression) > MAX_EXPRESSION_CHARACTERS:
        raise NotExpressibleError(f"its expression would have {len(made.expression)} characters")
    return made


# ------------------------------------------------------------------------------------------- parameters

_LESS, _LEAST = "less than", "at least"


def _text(parameters: Parameters, name: str) -> str:
    value = parameters.get(name)
    if not isinstance(value, str) or not value.strip():
        raise NotExpressibleError(f"without {name} the checker draws one at random")
    return value.strip()


def _texts(parameters: Parameters, name: str) -> list[str]:
    value = parameters.get(name)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise NotExpressibleError(f"without {name} the checker draws some at random")
    texts = [text for text in value if isinstance(text, str) and text]
    if len(texts) != len(value):
        raise NotExpressibleError(f"{name} has to hold texts")
    return sorted(set(texts))


def _count(parameters: Parameters, name: str) -> int:
    value = parameters.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise NotExpressibleError(f"without {name} the checker draws one at random")
    return value


def _compared(parameters: Parameters, name: str, least: Callable[[int], str], count: int) -> str:
    """Say `count` with the relation that the parameters name; `least(n)` is an expression for "n or more"."""
    relation = parameters.get(name)
    if relation not in {_LESS, _LEAST}:
        raise NotExpressibleError(f"{name} is neither {_LESS!r} nor {_LEAST!r}")
    if count == 0:
        return "false" if relation == _LESS else _WRITTEN
    return f"{_WRITTEN} && !{least(count)}" if relation == _LESS else least(count)


# ---------------------------------------------------------------------------------- regular expressions

_S = r"\s\x1c-\x1f"  # inside of brackets: Python's white space
_BLANK = rf"[{_S}--\n]"  # the same without the end of a line
_W = r"\p{L}\p{N}_"  # inside of brackets: Python's word characters
# JSON Schema's \s is JavaScript's, so there white space is spelled out.
_SCHEMA_S = "\\t-\\r\\x1c-\\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


def _matches(pattern: str, text: str = "answer") -> str:
    """Write the call. A raw string holds neither of its quotation marks, and patterns may not either."""
    return f"{text}.matches(r'{pattern}')"


# An answer of white space alone fails whatever is asked.
_WRITTEN = _matches(f"[^{_S}]")


def _literal(character: str) -> str:
    if character in "'\"" or not character.isprintable():
        return f"\\x{ord(character):02x}" if ord(character) < 256 else character
    return "\\" + character if character in r"\.+*?()|[]{}^$-&~#/" else character


def _one_of(characters: Sequence[str]) -> str:
    return _literal(characters[0]) if len(characters) == 1 else f"[{''.join(map(_literal, characters))}]"


@functools.cache
def _cased() -> tuple[str, ...]:
    return tuple(c for c in map(chr, range(0x1F000)) if c.lower() != c or c.upper() != c)


@functools.cache
def _like(character: str) -> str:
    """What matches a character where case is ignored, as Python's `re` does it."""
    pattern = re.compile(re.escape(character), re.IGNORECASE)
    return _one_of(sorted({character, *filter(pattern.fullmatch, _cased())}))


@functools.cache
def _lowering_to(character: str) -> str:
    """What `str.lower` turns into a character and no more."""
    if character in "\u03c3\u03c2\u0307":
        raise NotExpressibleError("the lower case of a Greek sigma or of a dotted I is not a matter of one character")
    return _one_of(sorted({c for c in (character, *_cased()) if c.lower() == character} | {character}))


def _lowered(text: str) -> str:
    """Match a text in what `str.lower` made of the answer."""
    return "".join(map(_lowering_to, text.lower()))


def _keyword(keyword: str) -> list[str]:
    """Read a keyword as the regular expression that the checkers take it for, one element a character."""
    if set(keyword) & set(r"\+*?()|[]{}^$"):
        raise NotExpressibleError(f"its checker takes {keyword!r} for a regular expression with operators")
    return [r"[^\n]" if character == "." else _like(character) for character in keyword]


def _all_of(patterns: Sequence[str], *, but: bool = False) -> str | Check:
    """Require that the answer, which must not be blank, matches each pattern (or, with `but`, none)."""
    if but:
        written = " && ".join([_WRITTEN, *(f"!{_matches(pattern)}" for pattern in patterns)])
    else:
        written = " && ".join(map(_matches, patterns))
    if len(written) <= MAX_EXPRESSION_CHARACTERS:
        return written
    required: list[JsonValue] = [{"pattern": pattern} for pattern in patterns]
    schema: dict[str, JsonValue] = {"type": "string", "pattern": f"[^{_SCHEMA_S}]"}
    return Check(json_schema={**schema, **({"not": {"anyOf": required}} if but else {"allOf": required})})


# --------------------------------------------------------------------------------------------- keywords


def _existence(parameters: Parameters) -> str | Check:
    return _all_of(["".join(_keyword(keyword)) for keyword in _texts(parameters, "keywords")])


def _frequency(parameters: Parameters) -> str:
    keyword = "".join(_keyword(_text(parameters, "keyword")))
    # Leftmost occurrences that do not overlap are the most that there are, since all are equally long.
    return _compared(
        parameters, "relation", lambda n: _matches(f"(?s)(?:{keyword}.*?){{{n}}}"), _count(parameters, "frequency")
    )


def _forbidden_words(parameters: Parameters) -> str | Check:
    return _all_of([_as_word(_keyword(word)) for word in _texts(parameters, "forbidden_words")], but=True)


def _as_word(elements: Sequence[str]) -> str:
    r"""Write `\b…\b` by Python's idea of a word: what is before and after is of the other kind."""
    forms: list[str] = []
    for first in _kinds(elements[0]):
        for last in _kinds(elements[-1]):
            if len(elements) == 1:
                if first != last:
                    continue
                inside = first[0]
            else:
                inside = "".join([first[0], *elements[1:-1], last[0]])
            before = f"(?:^|[^{_W}])" if first[1] else f"[{_W}]"
            after = f"(?:[^{_W}]|$)" if last[1] else f"[{_W}]"
            forms.append(before + inside + after)
    return "|".join(forms)


def _kinds(element: str) -> list[tuple[str, bool]]:
    """Split an element into what of it is a word's character (True) and what is none."""
    if element == r"[^\n]":
        return [(f"[{_W}]", True), (rf"[^{_W}\n]", False)]
    is_word = re.fullmatch(r"\w", element.strip("[]")[-1]) is not None and not element.startswith(r"\x")
    return [(element, is_word)]


def _letter_frequency(parameters: Parameters) -> str:
    letter = parameters.get("letter")
    if not isinstance(letter, str) or len(letter) != 1 or not letter.strip():
        raise NotExpressibleError("without one letter the checker draws one at random")
    if len(letter.lower()) != 1:
        raise NotExpressibleError("this letter has no lower case of one character")
    # A dotted capital I becomes an i and a dot.
    one = _one_of(sorted({letter.lower(), *(c for c in _cased() if letter.lower() in c.lower())}))
    return _compared(
        parameters,
        "let_relation",
        lambda n: _matches(f"(?s)(?:{one}.*?){{{n}}}"),
        _count(parameters, "let_frequency"),
    )


# ----------------------------------------------------------------------------------------------- length

# Up to here the plain way, which people can read, is also the faster one.
_FEW_WORDS = 20


def _number_words(parameters: Parameters) -> str:
    count = _count(parameters, "num_words")
    expression = _compared(
        parameters, "relation", lambda n: _few_words(n) if n <= _FEW_WORDS else _many_words(n), count
    )
    # Where words cannot be counted, neither "at least" nor "less than" is met.
    return f"size(answer)<{2 * _PRODUCT}&&{expression}" if count > _FEW_WORDS else expression


def _few_words(count: int) -> str:
    more = rf"(?:[{_W}]+[^{_W}]+){{{count - 1}}}" if count > 1 else ""
    return _matches(f"{more}[{_W}]")


# The remainders that are asked for, as digits: modulo 32 bit by bit, modulo 27 by threes, 25 by fives, 7.
_MODULI = ((2, 5), (3, 3), (5, 2), (7, 1))
_PRODUCT = math.prod(prime**power for prime, power in _MODULI)
# A text that has only these, which is nearly every text in a European language, has a small class of letters.
_COMMON = "\\x00-\u024f\u0370-\u0481\u2010-\u2027\u20a0-\u20bf\u2190-\u2426\u2500-\u2775\ufe0f\\x{1f300}-\\x{1f9ff}"
_COMMON_W = (
    "0-9A-Z_a-z\xaa\xb2\xb3\xb5\xb9\xba\xbc-\xbe\xc0-\xd6\xd8-\xf6\xf8-\u024f"
    "\u0370-\u0374\u0376\u0377\u037a-\u037d\u037f\u0386\u0388-\u03f5\u03f7-\u0481"
)


def _many_words(count: int) -> str:
    """Count words by their number's remainders, then compare: right for answers of fewer than 302,400 characters.

    Each row of the list is a digit of a remainder: [modulus, from, to, what the digit adds to the number].
    """
    rows: list[str] = []
    for prime, power in _MODULI:
        rest = _PRODUCT // prime**power
        unit = next(unit for unit in range(rest, _PRODUCT, rest) if unit % prime**power == 1)
        for place in (prime**exponent for exponent in range(power)):
            for digit in range(1, prime):
                low = digit * place
                rows.append(f"[{prime * place},{low},{low + place - 1},{digit * place * unit % _PRODUCT}]")
    word = "['+w+']+(?:[^'+w+']+|$)"
    remainder = rf"r'^[^'+w+']*(?:(?:{word}){{'+string(r[0])+'}})*(?:{word}){{'+string(r[1])+','+string(r[2])+'}}$'"
    sum_ = "+".join(f"n[{index}]" for index in range(len(rows)))
    return (
        f"[answer.matches(r'[^{_COMMON}]')?r'{_W}':r'{_COMMON_W}'].exists(w,"
        f"[[{','.join(rows)}].map(r,answer.matches({remainder})?r[3]:0)].exists(n,"
        f"({sum_})%{_PRODUCT}>={count}))"
    )


def _number_paragraphs(parameters: Parameters) -> str:
    r"""Count what `***` separates. White space may stand alone before the first and after the last, not between."""
    count = _count(parameters, "num_paragraphs")
    some, divider = rf"(?:\*{{1,2}}[^*]|[^*{_S}])(?:\*{{0,2}}[^*])*", r"\*{3}"
    # The one before a divider does not end with an asterisk: the divider would have begun there.
    inner, last = f"[{_S}]*{some}", rf"[{_S}]*(?:{some}\*{{0,2}}|\*{{1,2}})"
    if count == 0:
        return _matches(f"^[{_S}]*{divider}[{_S}]*$")
    before = f"(?:{inner}{divider}){{{count - 1}}}"
    return _matches(f"^(?:[{_S}]*{divider})?{before}(?:{last}|{inner}{divider}[{_S}]*)$")


def _nth_paragraph_first_word(parameters: Parameters) -> str:
    r"""Count what `\n\n` separates, white space alone not counted; the n-th is counted with it."""
    count, nth = _count(parameters, "num_paragraphs"), _count(parameters, "nth_paragraph")
    word = _text(parameters, "first_word").lower()
    if not 0 < nth <= count:
        raise NotExpressibleError("without a paragraph to look at the checker draws one at random")
    if re.search(r"""[.,?!'"\s\x1c-\x1f]""", word):
        return "false"  # a word ends before any of these
    # Of an odd number of line ends, the last belongs to the next paragraph.
    blank = rf"(?:\n?{_BLANK})*"
    some = rf"{blank}\n?[^{_S}](?:\n?[^\n])*"
    gap = rf"\n\n(?:{blank}\n\n)*"
    counted = rf"^(?:{blank}\n\n)*(?:{some}{gap}){{{count - 1}}}{some}(?:{gap}{blank})?\n?$"
    begins = rf"^(?:(?:\n?[^\n])*\n\n){{{nth - 1}}}{blank}\n?\x27*\x22*{_lowered(word)}(?:[.,?!\x27\x22{_S}]|$)"
    return f"{_matches(counted)} && {_matches(begins)}"


# ----------------------------------------------------------------------------------------------- format


def _bullets(parameters: Parameters) -> str:
    """Count lines that begin with `-`, and lines that begin with one `*`, each kind by itself, and add them up.

    An asterisk alone on its line takes the next line with it, as the checker has it.
    """
    count = _count(parameters, "num_bullets")
    dash, no_dash = rf"{_BLANK}*-[^\n]*\n", rf"{_BLANK}*(?:[^-{_S}][^\n]*)?\n"
    star = rf"{_BLANK}*\*(?:[^*\n][^\n]*|\n[^\n]*)\n"
    no_star = rf"{_BLANK}*(?:[^*{_S}][^\n]*|\*\*[^\n]*)?\n"
    lone = rf"(?:{_BLANK}*\*\n)?"

    def exactly(unit: str, other: str, number: str, rest: str = "") -> str:
        pattern = f"r'^(?:{other})*(?:{unit}(?:{other})*){{'+string({number})+r'}}{rest}$'"
        return rf"(answer+'\n').matches({pattern})"

    dashes, stars = exactly(dash, no_dash, "n"), exactly(star, no_star, f"{count}-n", lone)
    numbers = ",".join(map(str, range(count + 1)))
    return f"{_WRITTEN} && [{numbers}].exists(n,{dashes}&&{stars})"


def _highlights(parameters: Parameters) -> str:
    """Count `*a*` and `**a**`, each kind by itself, and add them up: so the latter count twice."""
    count = _count(parameters, "num_highlights")
    if count == 0:
        return _WRITTEN
    text = rf"[^*\n]*[^*{_S}][^*\n]*"
    single = rf"\*{text}\*"
    no_single = rf"(?:[^*]|\*[^*\n]*\n|\*{_BLANK}*\*)*"
    double = rf"\*{{2,3}}{text}\*\*"
    no_double = rf"(?:\*?[^*]|\*{{4}}|\*{{2,3}}(?:[^*\n]*\n|[^*\n]+\*[^*]|{_BLANK}+\*\*))*"

    def at_least(unit: str, other: str, number: str) -> str:
        return f"answer.matches(r'^{other}(?:{unit}{other}){{'+string({number})+'}}')"

    numbers = ",".join(map(str, range(count + 1)))
    singles, doubles = at_least(single, no_single, "n"), at_least(double, no_double, f"{count}-n")
    return f"{_WRITTEN} && [{numbers}].exists(n,{singles}&&{doubles})"


def _placeholders(parameters: Parameters) -> str:
    count = _count(parameters, "num_placeholders")
    return _matches(rf"(?s)(?:\[[^\n]*?\].*?){{{count}}}") if count else _WRITTEN


def _sections(parameters: Parameters) -> str:
    count, mark = _count(parameters, "num_sections"), _text(parameters, "section_spliter")
    if set(mark) & set(r"\+*?()|[]{}^$") or re.search(r"\d", mark):
        raise NotExpressibleError(f"its checker takes {mark!r} for a regular expression with operators")
    written = "".join(r"[^\n]" if character == "." else _literal(character) for character in mark)
    return _matches(rf"(?s)(?:{written}[{_S}]?\d.*?){{{count}}}") if count else _WRITTEN


# JSON in a text, its brackets nested so deeply; each level doubles the regular expression.
_JSON_DEPTH = 8
_ANY_TEXT = r'"(?:[^"\\]|\\.)*"'


def _json_format(_: Parameters) -> str:
    """Look for JSON, alone or in a Markdown fence. What is nested deeper than eight brackets is not met.

    Two expressions share the work. One knows words, commas and keys, and in it any bracket may stand where some bracket
    may; the other knows nothing but which bracket closes which, and that every member of an object has a key.
    """
    text = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
    number = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
    # In CEL, p[0] is a string, p[1] and p[2] are what may stand before and after the JSON.
    key = r"(?:'+p[0]+r'\s*:\s*)?"
    atom = rf"(?:'+p[0]+r'|{number}|true|false|null|NaN|-?Infinity|\[\s*\]|\{{\s*\}})"
    unit = rf"(?:{key}[\[{{]\s*)*{key}{atom}(?:\s*[\]}}])*"
    words = f"[r'{unit}'].exists(u,answer.matches(p[1]+u+r'(?:\\s*,\\s*'+u+')*'+p[2]))"
    # A level is p[3] + the level below + p[4] + the level below + p[5]; the lowest has no bracket. White space that
    # JSON does not have fits nowhere in it.
    flat, space = rf"(?:{_ANY_TEXT}|[^\[\]{{}}\x22,:\s]+)", r"[ \t\n\r]*"
    parts = [
        rf"(?:{flat}|\[(?:",
        rf"|[, \t\n\r])*\]|\{{(?:{_ANY_TEXT}{space}:{space}",
        r"|[, \t\n\r])*\})",
    ]
    fence = [rf"^[{_S}]*(?:```json)?(?:```Json)?(?:```JSON)?(?:```)?[{_S}]*", rf"[{_S}]*(?:```)?[{_S}]*$"]
    bound = ",".join(f"r'{part}'" for part in (text, *fence, *parts))
    nested = f"[r'{flat}']" + ".map(v,p[3]+v+p[4]+v+p[5])" * _JSON_DEPTH
    return f"[[{bound}]].exists(p,{words}&&{nested}.exists(v,answer.matches(p[1]+v+p[2])))"


def _title(_: Parameters) -> str:
    """Look for `<<a>>` on one line in which something is left once all of its angles are taken off its ends."""
    return _matches(rf"<<[^\n]*(?:[^<>{_S}]|(?:{_BLANK}|>)<|>{_BLANK})[^\n]*>>")


def _constrained(_: Parameters) -> str:
    return " || ".join(f"answer.contains('My answer is {word}.')" for word in ("yes", "no", "maybe"))


def _postscript(parameters: Parameters) -> str:
    mark = _text(parameters, "postscript_marker")
    if mark == "P.P.S":
        return _matches(rf"[pP]\.[{_S}]?[pP]\.[{_S}]?[sS]")
    if mark == "P.S.":
        return _matches(rf"[pP]\.[{_S}]?[sS]\.")
    if set(mark) & set(r"\+*?()|[]{}^$"):
        raise NotExpressibleError(f"its checker takes {mark!r} for a regular expression with operators")
    return _matches("".join(r"[^\n]" if character == "." else _lowered(character) for character in mark.lower()))


def _no_comma(_: Parameters) -> str:
    return f"{_WRITTEN} && !answer.contains(',')"


def _quotation(_: Parameters) -> str:
    return _matches(rf"(?s)^[{_S}]*\x22.*\x22[{_S}]*$")


def _end(parameters: Parameters) -> str | Check:
    """Look for the phrase at the end, white space taken off first and then quotation marks, at both ends."""
    phrase = _text(parameters, "end_phrase")
    if phrase.endswith('"'):
        return "false"
    before = ""
    if phrase.startswith('"'):  # the answer's own first quotation marks are gone, so these must be later ones
        before = rf"^[{_SCHEMA_S}]*(?:\x22+[^\x22]|[^\x22{_SCHEMA_S}])(?:[^\n]|\n)*"
    return _all_of([rf"{before}{_lowered(phrase)}\x22*[{_SCHEMA_S}]*$"])


# What two answers are told apart by: how often they have a letter, or anything at all, modulo a number.
_TOLD_APART = [*((letter, 2) for letter in "abcdehilmnoprstuy"), ("A-Z", 2), (f"[^*{_S}]", 7), (f"[^*{_S}]", 8)]


def _two_responses(_: Parameters) -> str:
    """Look for two texts with six asterisks between them, which also may stand first and last, and tell them apart.

    Whether two texts are equal is beyond regular expressions, but not whether they have equally many of something.
    Two different texts that agree in all of that are held to be equal, so that only a wrong "fail" can come of it.
    """
    some, gap = rf"(?:\*{{1,5}}[^*]|[^*{_S}])(?:\*{{0,5}}[^*])*", r"\*{6}"
    inner, last = f"[{_S}]*{some}", rf"[{_S}]*(?:{some}\*{{0,5}}|\*{{1,5}})"
    there = _matches(f"^(?:[{_S}]*{gap})?{inner}{gap}(?:{last}|{inner}{gap}[{_S}]*)$")
    one, other = r"\*{0,5}['+k[0]+r']", r"(?:\*{0,5}[^*'+k[0]+r'])*"
    text = f"{other}(?:(?:{one}{other}){{'+k[1]+r'}})*(?:{one}{other}){{'+r+r'}}"
    kinds = ",".join(f"[r'{kind}','{modulus}']" for kind, modulus in _TOLD_APART)
    equal = rf"answer.matches(r'^(?:[{_S}]*{gap})?{text}{gap}{text}\*{{0,5}}(?:{gap}[{_S}]*)?$')"
    return f"{there} && [{kinds}].exists(k,!['0','1','2','3','4','5','6','7'].exists(r,r<k[1]&&{equal}))"


def _repeat(parameters: Parameters) -> str | Check:
    return _all_of([f"^[{_SCHEMA_S}]*{_lowered(_text(parameters, 'prompt_to_repeat'))}"])


_TRANSLATORS: Mapping[str, Callable[[Parameters], str | Check]] = {
    "combination:repeat_prompt": _repeat,
    "combination:two_responses": _two_responses,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:json_format": _json_format,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:title": _title,
    "keywords:existence": _existence,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:frequency": _frequency,
    "keywords:letter_frequency": _letter_frequency,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph_first_word,
    "length_constraints:number_paragraphs": _number_paragraphs,
    "length_constraints:number_words": _number_words,
    "punctuation:no_comma": _no_comma,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
}
