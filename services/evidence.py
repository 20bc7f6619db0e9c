"""Whether a quote is in an answer. A verdict that rests on one that is not is worth nothing (docs/adr/0005)."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from services.strict_json import canonical

if TYPE_CHECKING:
    from services.ports import JsonValue


class Quotable:
    """All that can be quoted from an answer: its JSON text and every string in it.

    Compared after NFC and with any white space as one space, so a quote may be wrapped or indented otherwise.
    It may also carry one or two layers of JSON escapes, or lack them, and stand in quotation marks.
    """

    def __init__(self, answer: JsonValue) -> None:
        text = canonical(answer)
        spaced = json.dumps(json.loads(text), ensure_ascii=False)
        self._whole = _normal(text)
        # U+0000 occurs in no answer, and no quote may hold it: nothing is found across the seam of two texts.
        texts = (text, spaced, unescaped(text), unescaped(spaced), *strings(answer))
        self._texts = "\0".join(map(_normal, texts))

    def has(self, quote: str) -> bool:
        return any(self._has(form) for form in _forms(quote))

    def _has(self, form: str) -> bool:
        # Brackets and quotation marks are in every answer and show nothing, unless they are all of it.
        shows_something = any(not character.isspace() and character not in _MARKS for character in form)
        return (shows_something and form in self._texts) or (form != "" and form == self._whole)


_MARKS = frozenset("{}[],:\\\"'`\u201c\u201d\u2018\u2019")
_PAIRS = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019"}
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _forms(quote: str) -> Iterator[str]:
    once = unescaped(quote)
    for text in dict.fromkeys((quote, once, unescaped(once))):
        form = _normal(text)
        if "\0" in form:
            continue
        yield form
        if len(form) > 1 and _PAIRS.get(form[0]) == form[-1]:
            yield form[1:-1].strip()


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def unescaped(text: str) -> str:
    """Undo one layer of JSON escapes, also in a fragment that is no whole JSON string."""
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2]), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def strings(value: JsonValue) -> Iterator[str]:
    """Every string in a value, without the names of its members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from strings(item)
