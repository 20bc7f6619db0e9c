"""What is blanked before anything is stored, shown or logged: members with telling names, and known credentials.

Two rules, for two kinds of credential. One that a stranger wrote somewhere is known by the name that it stands
under (`Redaction`). One that is in use is known by its value, and is blanked wherever it turns up (`Credentials`).
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from services.strict_json import canonical

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from services.ports import JsonValue

REDACTED = "[redacted]"
# Names whose values are credentials wherever they stand. Counts such as `prompt_tokens` are not.
DEFAULT_REDACTED_KEYS = (
    r"(?i)^(authorization|proxy-authorization|cookie|set-cookie|token|bearer|passwd|passphrase)$"
    r"|password|secret|api[-_]?key|private[-_]?key|(access|refresh|auth|id|session)[-_]?token$|credential"
)
# A shorter credential may be part of any word, so it is blanked only where it stands by itself.
SHORT_CREDENTIAL_CHARACTERS = 8
_PLAIN = frozenset({str, int, float, bool, type(None)})


# -------------------------------------------------------------------------------------------------------- by name


@dataclass(frozen=True)
class Redaction:
    """Blanks the values of object members whose names match `keys`, or `more_keys` where an operator has some."""

    keys: re.Pattern[str] = field(default_factory=lambda: re.compile(DEFAULT_REDACTED_KEYS))
    more_keys: re.Pattern[str] | None = None

    def __call__(self, value: JsonValue) -> JsonValue:
        """Return the value with every credential blanked."""
        return self._walk(value, {})

    # No function within a function: one that calls itself is garbage that only a search for cycles finds.
    def _walk(self, value: JsonValue, known: dict[str, bool]) -> JsonValue:
        """The same, with what is known of names: large values have the same ones again and again."""
        if isinstance(value, dict):
            members: dict[str, JsonValue] = {}
            for name, item in value.items():
                if name not in known:
                    known[name] = self.is_telling(name)
                if known[name] and item is not None:
                    members[name] = REDACTED
                else:
                    members[name] = item if type(item) in _PLAIN else self._walk(item, known)
            return members
        if isinstance(value, list | tuple):
            return [item if type(item) in _PLAIN else self._walk(item, known) for item in value]
        return self._walk(dict(value), known) if isinstance(value, Mapping) else value

    def is_telling(self, name: str) -> bool:
        """Whether what stands under this name is a credential."""
        more = self.more_keys
        return self.keys.search(name) is not None or (more is not None and more.search(name) is not None)


# ------------------------------------------------------------------------------------------------------- by value


@dataclass(frozen=True)
class Credentials:
    """Credentials in use: blanks them, as they are and as common encodings write them."""

    _pattern: re.Pattern[str] | None = field(repr=False)
    _signs: frozenset[str] = field(repr=False)
    """A canonical text without any of these holds no credential."""

    @classmethod
    def of(cls, *credentials: str | None) -> Self:
        """Make it for these credentials; None and the empty text are none."""
        forms = {form for credential in credentials if credential for form in _forms_of(credential)}
        # Longest first, so that no form leaves the rest of a longer one behind.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        pattern = re.compile("|".join(map(_pattern_of, ordered))) if ordered else None
        return cls(pattern, frozenset(map(_in_json, forms)))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to blank."""
        return self._pattern is None

    def blank_text(self, text: str) -> str:
        """Return the text with each credential replaced."""
        return text if self._pattern is None else self._pattern.sub(REDACTED, text)

    def blank(self, value: JsonValue) -> JsonValue:
        """Return the value with each credential replaced, in keys too; the value itself where it holds none."""
        if self._pattern is None:
            return value
        text = canonical(value)
        # Looking at the whole text takes a hundredth of the time that walking over a large value would.
        return self._walk(value) if any(sign in text for sign in self._signs) else value

    def _walk(self, value: JsonValue) -> JsonValue:
        if isinstance(value, str):
            return self.blank_text(value)
        if isinstance(value, Mapping):
            return {self.blank_text(name): self._walk(item) for name, item in value.items()}
        if isinstance(value, Sequence):
            return [self._walk(item) for item in value]
        # A credential of digits alone comes back as a number from an agent that is careless about types.
        return value if value is None or self.blank_text(str(value)) == str(value) else REDACTED

    @contextmanager
    def in_use(self) -> Generator[None]:
        """Blank them in whatever is logged within the block, an exception's words included."""
        token = _in_use.set((*_in_use.get(), self))
        try:
            yield
        finally:
            _in_use.reset(token)


_in_use: ContextVar[tuple[Credentials, ...]] = ContextVar("credentials_in_use", default=())


def blank_in_use(text: str) -> str:
    """Blank the credentials that the present work uses."""
    for credentials in _in_use.get():
        text = credentials.blank_text(text)
    return text


def _forms_of(credential: str) -> Iterable[str]:
    """List how an echo may write a credential: plain, in JSON (in a string, too), in a URL, in HTML, in Base64."""
    # `whsec_` only says of what kind the rest is.
    plain = {credential, credential.removeprefix("whsec_") or credential}
    yield from plain
    for text in plain:
        once = {json.dumps(text)[1:-1], _in_json(text)}
        yield from once
        yield from map(_in_json, once)
        yield text.replace("/", r"\/")
        in_url = quote(text, safe="", errors="replace")
        yield from (in_url, re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), in_url))
        yield html.escape(text)
        if len(text) >= SHORT_CREDENTIAL_CHARACTERS:
            yield base64.b64encode(text.encode(errors="replace")).decode().rstrip("=")


def _in_json(text: str) -> str:
    """Write a text as it stands inside a canonical JSON string."""
    return canonical(text)[1:-1]


def _pattern_of(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= SHORT_CREDENTIAL_CHARACTERS else rf"(?<!\w){escaped}(?!\w)"
