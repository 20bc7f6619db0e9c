"""The labelled cases: an answer, one criterion, and whether the answer meets it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.judge import ifeval
from db.records import Criterion

if TYPE_CHECKING:
    from services.ports import JsonValue

FOLDER = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Task:
    """A job as a validator sees it."""

    description: str
    acceptance_criteria: tuple[Criterion, ...]
    id: str = "job_benchmark"
    title: str = "Answer a request"
    input: JsonValue = field(default_factory=dict[str, "JsonValue"])


@dataclass(frozen=True)
class Case:
    """One answer with one criterion. `passes` is the label; `pair` names the two cases of an LLMBar pair."""

    id: str
    source: str
    request: str
    criterion: Criterion
    answer: str
    passes: bool
    pair: str | None = None
    why_no_check: str | None = None
    """Why code cannot decide it, where that is so."""

    @property
    def has_check(self) -> bool:
        return self.why_no_check is None

    def task(self, *, with_check: bool) -> Task:
        """Make the job; a validator that judges is not shown the check."""
        shown = self.criterion if with_check else Criterion(self.criterion.id, self.criterion.text, required=True)
        return Task(self.request, (shown,))


def ifeval_cases(path: Path = FOLDER / "ifeval_cases.jsonl") -> list[Case]:
    return [_ifeval_case(line) for line in _lines(path)]


def _ifeval_case(line: Mapping[str, Any]) -> Case:
    instruction, parameters = line["instruction"], line["parameters"]
    text = wording(instruction, parameters)
    try:
        check, why_not = ifeval.check(instruction, parameters), None
    except ifeval.NotExpressibleError as error:
        check, why_not = ifeval.Check(), f"{instruction}: {error}"
    return Case(
        id=line["id"],
        source="ifeval",
        request=line["prompt"],
        criterion=Criterion(_criterion_id(line["id"]), text, True, check.expression, check.json_schema),  # noqa: FBT003
        answer=line["answer"],
        passes=line["label"] == "pass",
        why_no_check=why_not,
    )


_FOLLOWS = "The answer does what the request asks for: all of it, and nothing else in its place."


def llmbar_cases(path: Path = FOLDER / "llmbar_pairs.jsonl") -> list[Case]:
    """Two cases of each pair: the better answer follows the instruction, the other does not."""
    return [
        Case(
            id=f"{line['id']}-{number}",
            source="llmbar",
            request=line["instruction"],
            criterion=Criterion(_criterion_id(line["id"]), _FOLLOWS, required=True),
            answer=line[f"answer_{number}"],
            passes=line["better"] == number,
            pair=line["id"],
            why_no_check="llmbar: whether a request is followed needs judgement",
        )
        for line in _lines(path)
        for number in (1, 2)
    ]


def chosen(cases: Sequence[Case], limit: int | None) -> list[Case]:
    """Take at most so many, pairs whole, the same ones each time and of all kinds: in the order of a digest."""
    if limit is None or limit >= len(cases):
        return list(cases)
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.pair or case.id, []).append(case)
    taken: list[Case] = []
    for _, group in sorted(groups.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest()):
        if len(taken) + len(group) <= limit:
            taken += group
    return taken


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _criterion_id(case_id: str) -> str:
    # Ids in the product tell nothing either.
    return f"crt_{hashlib.sha256(case_id.encode()).hexdigest()[:12]}"


# ----------------------------------------------------------------------------------------------- wordings


def wording(instruction: str, parameters: Mapping[str, Any]) -> str:
    """Word an IFEval instruction as the acceptance criterion that a person would write."""
    return _WORDINGS[instruction](parameters)


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(f"“{text}”" for text in texts)


_WORDINGS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "change_case:capital_word_frequency": lambda p: (
        f"Words in capital letters only occur {p['capital_relation']} {p['capital_frequency']} times in the answer."
    ),
    "change_case:english_capital": lambda _: "The whole answer is in English and in capital letters.",
    "change_case:english_lowercase": lambda _: "The whole answer is in English and in lower-case letters.",
    "combination:repeat_prompt": lambda p: (
        f"The answer begins by repeating this request word for word, with nothing before it: {p['prompt_to_repeat']}"
    ),
    "combination:two_responses": lambda _: (
        "The answer consists of two different answers with six asterisks (******) between them."
    ),
    "detectable_content:number_placeholders": lambda p: (
        f"The answer has at least {p['num_placeholders']} placeholders in square brackets, such as [address]."
    ),
    "detectable_content:postscript": lambda p: f"The answer has a postscript that begins with {p['postscript_marker']}",
    "detectable_format:constrained_response": lambda _: (
        "The answer holds one of these sentences: “My answer is yes.”, “My answer is no.”, “My answer is maybe.”"
    ),
    "detectable_format:json_format": lambda _: "The whole answer is valid JSON; a Markdown fence around it is allowed.",
    "detectable_format:multiple_sections": lambda p: (
        f"The answer has at least {p['num_sections']} sections that begin with {p['section_spliter']} and a number."
    ),
    "detectable_format:number_bullet_lists": lambda p: (
        f"The answer has exactly {p['num_bullets']} Markdown bullet points (lines that begin with * or -)."
    ),
    "detectable_format:number_highlighted_sections": lambda p: (
        f"At least {p['num_highlights']} sections of the answer are highlighted in Markdown, such as *this one*."
    ),
    "detectable_format:title": lambda _: "The answer has a title in double angle brackets, such as <<poem of joy>>.",
    "keywords:existence": lambda p: f"The answer has each of these words: {_quoted(p['keywords'])}.",
    "keywords:forbidden_words": lambda p: f"The answer has none of these words: {_quoted(p['forbidden_words'])}.",
    "keywords:frequency": lambda p: (
        f"“{p['keyword']}” occurs {p['relation']} {p['frequency']} times in the answer, whatever its case."
    ),
    "keywords:letter_frequency": lambda p: (
        f"The letter {p['letter']} occurs {p['let_relation']} {p['let_frequency']} times in the answer,"
        " capital letters included."
    ),
    "language:response_language": lambda p: f"The answer is in the language with the ISO 639-1 code {p['language']}.",
    "length_constraints:nth_paragraph_first_word": lambda p: (
        f"The answer has {p['num_paragraphs']} paragraphs with an empty line between them, and paragraph"
        f" {p['nth_paragraph']} begins with the word “{p['first_word']}”."
    ),
    "length_constraints:number_paragraphs": lambda p: (
        f"The answer has {p['num_paragraphs']} paragraphs with the Markdown divider *** between them."
    ),
    "length_constraints:number_sentences": lambda p: f"The answer has {p['relation']} {p['num_sentences']} sentences.",
    "length_constraints:number_words": lambda p: f"The answer has {p['relation']} {p['num_words']} words.",
    "punctuation:no_comma": lambda _: "The answer has no comma.",
    "startend:end_checker": lambda p: f"The answer ends with exactly this, and nothing after it: {p['end_phrase']}",
    "startend:quotation": lambda _: "The whole answer stands in double quotation marks.",
}
