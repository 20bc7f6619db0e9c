"""A validator that decides criteria such as "No sentence has more than 20 words", and is unsure of all others.

Standard library and `services.ports` only. Each finding names its evidence: Signoff looks every quote up in the answer
and takes a finding whose quote is not there for a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from services.ports import Finding, Report, Verdict

if TYPE_CHECKING:
    from services.ports import Ask, Criterion, JsonValue, Submission

_LIMIT = re.compile(r"no sentence (?:has|is) more than (\d+) words", re.IGNORECASE)


class Readability:
    """Made once, when the service starts."""

    name = "readability"

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        """Decide every criterion that is given."""
        del ask  # Nobody is asked. Whoever asks a service does it through this, and then it is in the job's log.
        sentences = [sentence for text in _texts(submission.answer) for sentence in _sentences(text)]
        return Report(tuple(self._decide(criterion, sentences) for criterion in submission.criteria))

    def _decide(self, criterion: Criterion, sentences: list[str]) -> Finding:
        limit = _LIMIT.search(criterion.text)
        if limit is None:
            reason = "This validator only decides criteria of the form “No sentence has more than N words”."
            return Finding(criterion.id, Verdict.UNSURE, reason, (), self.name)
        longest = max(sentences, key=_words, default=None)
        if longest is None:
            return Finding(criterion.id, Verdict.FAIL, "The answer has no sentence.", (), self.name)
        verdict = Verdict.PASS if _words(longest) <= int(limit[1]) else Verdict.FAIL
        reason = f"The longest sentence has {_words(longest)} words."
        return Finding(criterion.id, verdict, reason, (longest,), self.name)


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _sentences(text: str) -> list[str]:
    return [sentence for sentence in re.split(r"(?<=[.!?])\s+", text.strip()) if sentence]


def _words(sentence: str) -> int:
    return len(sentence.split())
