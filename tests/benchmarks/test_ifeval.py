"""The checks made of IFEval's instructions decide as its checkers do."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from benchmarks.judge import ifeval
from db.records import Criterion
from services.ports import Verdict
from services.sandbox import Sandbox
from services.validators.checks import Checks
from tests.benchmarks.ifeval_readings import READINGS, follows
from tests.fakes import pinned_job

CASES = Path(ifeval.__file__).parent / "cases" / "ifeval_cases.jsonl"

# What random texts are made of: whatever a reading could stumble over.
PIECES = {
    "stars": ["*", "**", "***", "a", "b ", " ", "\n", "\x1f", "x*y", "-", "- a\n", "* a\n", "\u2003", "******"],
    "words": ["word ", "²", "½", "❤️", "_", "-", "a", "é", "\u0301", "कि", " ", "\n", ".", "‿", "\u200d", "П", "can"],
    "cases": [
        "\u017f",
        "\u212a",
        "\u0130",
        "\u0131",
        "BC.",
        "U.S.",
        "c",
        "kiss",
        "KISS",
        "war",
        "WAR",
        " ",
        "it",
        "end.",
        "is",
    ],
    "quotes": ['"', " ", "\n", "end.", "END.", "x", "'", "\x1c", '"end."', "KISS", ","],
    "angles": ["<", "<<", ">>", ">", "a", " ", "\n", "\x0b"],
    "paragraphs": ["\n", "\n\n", "it", "It's", "'\"it", " ", "a.", "\t", "\x1f", '"It', "IT,", "it\n"],
    "marks": ["[", "]", "a", "[x]", "SECTION 1", "Section", " ", "1", "\u0661", "p.s.", "P. P.S", "P.\u2003S.", "\n"],
    "json": ["[", "]", "{", "}", ",", '"k":', '"a"', "1", "[]", '{"k": [1, {}]}', " ", "```", "```json", "\n", "01"],
    "said": ["My answer is yes.", "My answer is no", "My answer", " ", "is maybe.", ","],
}


# These compile large regular expressions, for a twentieth of a second each.
SLOW = {"detectable_format:json_format", "length_constraints:number_words"}


def drawn(draw: random.Random) -> dict[str, dict[str, Any]]:
    few, paragraphs = draw.randint(0, 6), draw.randint(1, 4)
    relation = draw.choice(["less than", "at least"])
    return {
        "combination:repeat_prompt": {"prompt_to_repeat": draw.choice(["kiss", "It", 'x\' "end."', "is " * 300])},
        "combination:two_responses": {},
        "detectable_content:number_placeholders": {"num_placeholders": few},
        "detectable_content:postscript": {"postscript_marker": draw.choice(["P.P.S", "P.S.", "P.P.S."])},
        "detectable_format:constrained_response": {},
        "detectable_format:json_format": {},
        "detectable_format:multiple_sections": {"section_spliter": "SECTION", "num_sections": few},
        "detectable_format:number_bullet_lists": {"num_bullets": few},
        "detectable_format:number_highlighted_sections": {"num_highlights": few},
        "detectable_format:title": {},
        "keywords:existence": {"keywords": draw.sample(["kiss", "is", "war", "word", "b.", "c"], 2)},
        "keywords:forbidden_words": {
            "forbidden_words": draw.sample(["kiss", "can", "a", "BC.", ".b", "it", "U.S.", ".", "-a", "end."], 2)
        },
        "keywords:frequency": {"keyword": draw.choice(["war", "s", "i"]), "frequency": few, "relation": relation},
        "keywords:letter_frequency": {"letter": draw.choice("skabI*"), "let_frequency": few, "let_relation": relation},
        "length_constraints:nth_paragraph_first_word": {
            "num_paragraphs": paragraphs,
            "nth_paragraph": draw.randint(1, paragraphs),
            "first_word": draw.choice(["it", "a", "IT"]),
        },
        "length_constraints:number_paragraphs": {"num_paragraphs": paragraphs - 1},
        "length_constraints:number_words": {"num_words": draw.choice([few, 12, 12, 12, 12, 25]), "relation": relation},
        "punctuation:no_comma": {},
        "startend:end_checker": {"end_phrase": draw.choice(["end.", '"end."', "x", '"end.', "kiss"])},
        "startend:quotation": {},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncGenerator[Sandbox]:
    async with Sandbox(seconds=30) as sandbox:
        yield sandbox


async def accepts(sandbox: Sandbox, check: ifeval.Check, text: str) -> bool:
    criterion = Criterion("crt_1", "t", required=True, expression=check.expression, json_schema=check.json_schema)
    job = pinned_job({}, [criterion])
    (finding,) = await Checks(sandbox).decide(job, job.acceptance_criteria, text)
    assert "could not be evaluated" not in finding.rationale
    return finding.verdict is Verdict.PASS


@pytest.mark.asyncio(loop_scope="module")
async def test_every_labelled_case_is_decided_as_its_label_says(sandbox: Sandbox) -> None:
    agreed: dict[str, int] = {}
    for line in CASES.read_text().splitlines():
        case = json.loads(line)
        instruction = case["instruction"]
        if instruction in ifeval.INEXPRESSIBLE:
            continue
        check = ifeval.check(instruction, case["parameters"])
        if check.expression is not None:
            assert await sandbox.check_expression(check.expression, variables=("answer", "job")) == []
        else:
            assert await sandbox.check_schema(check.json_schema) == []

        assert await accepts(sandbox, check, case["answer"]) is (case["label"] == "pass"), case["id"]
        agreed[instruction] = agreed.get(instruction, 0) + 1

    assert len(agreed) + len(ifeval.INEXPRESSIBLE) == 25
    assert sum(agreed.values()) >= 150


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ('{"a": [1, -2.5e+3, "b\\"]}"], "c": {"d": null}}', True),
        ('```json\n[true, {"a": {}}]\n```', True),
        ("[[[[[[[[1]]]]]]]]", True),
        ("[[[[[[[[[1]]]]]]]]]", False),  # JSON too, but deeper than the expression looks
        ("[1, 2,]", False),
        ("[1 2]", False),
        ('{"a" 1}', False),
        ('{"a": 1, 2}', False),
        ('["a": 1]', False),
        ('{"a": [1}]', False),
        ("[01]", False),
        ("[.5]", False),
        ("['a']", False),
        ('["\t"]', False),
        ('["\\x"]', False),
        ("[\u00a01]", False),
        ("{} {}", False),
        ('Here it is: {"a": 1}', False),
    ],
)
async def test_json_in_a_text_is_told_from_what_merely_looks_like_it(sandbox: Sandbox, text: str, passes: bool) -> None:
    check = ifeval.check("detectable_format:json_format", {})

    assert await accepts(sandbox, check, text) is passes


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("instruction", sorted(READINGS))
async def test_on_random_texts_a_check_reads_what_the_checker_reads(sandbox: Sandbox, instruction: str) -> None:
    draw = random.Random(f"1 {instruction}")
    both: set[bool] = set()
    for _ in range(60 if instruction not in SLOW else 15):
        parameters = drawn(draw)[instruction]
        pieces = PIECES[draw.choice(list(PIECES))]
        text = "".join(draw.choice(pieces) for _ in range(draw.randint(0, draw.choice([6, 14, 60]))))
        expected = follows(instruction, parameters, text)

        got = await accepts(sandbox, ifeval.check(instruction, parameters), text)

        # Two answers that agree in every count are held to be equal, though they may differ: never the other way.
        if instruction != "combination:two_responses" or got:
            assert got is expected, (parameters, text)
        both.add(got)
    assert False in both


# Words apart by what may be between them, some of it outside of what a European text has.
GAPS = {"plain": " ", "typographic": " — “", "emoji": "❤️ ", "marks": "\u0301", "lines": ".\n\n"}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
@pytest.mark.parametrize("count", [1, 2, 20, 21, 700])
async def test_words_are_counted_to_the_word(sandbox: Sandbox, gap: str, count: int) -> None:
    text = f"\n{gap}{gap.join('a²_é'[: 1 + number % 4] for number in range(count))}{gap}"
    assert len(re.findall(r"\w+", text)) == count

    decided = [
        await accepts(
            sandbox,
            ifeval.check("length_constraints:number_words", {"num_words": number, "relation": relation}),
            text,
        )
        for relation in ("at least", "less than")
        for number in (count, count + 1)
    ]

    assert decided == [True, False, False, True]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("relation", ["at least", "less than"])
async def test_an_answer_in_which_words_cannot_be_counted_passes_no_count(sandbox: Sandbox, relation: str) -> None:
    check = ifeval.check("length_constraints:number_words", {"num_words": 30, "relation": relation})

    assert not await accepts(sandbox, check, "a" * 302_400)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("instruction", "name", "piece", "more", "exact"),
    [
        ("detectable_content:number_placeholders", "num_placeholders", "[a] ", {}, False),
        ("detectable_format:multiple_sections", "num_sections", "PART 1 ", {"section_spliter": "PART"}, False),
        ("detectable_format:number_bullet_lists", "num_bullets", "* a\n", {}, True),
        ("detectable_format:number_bullet_lists", "num_bullets", "a\n - b\n", {}, True),
        ("detectable_format:number_highlighted_sections", "num_highlights", "*a* ", {}, False),
        ("keywords:frequency", "frequency", "a War.", {"keyword": "war", "relation": "at least"}, False),
        ("keywords:letter_frequency", "let_frequency", "aBc", {"letter": "b", "let_relation": "at least"}, False),
        ("length_constraints:number_paragraphs", "num_paragraphs", "a\n***\n", {}, True),
    ],
)
async def test_whatever_else_is_counted_is_counted_to_the_last(
    sandbox: Sandbox, instruction: str, name: str, piece: str, more: dict[str, Any], exact: bool
) -> None:
    for there in (1, 2, 7):
        for asked in (there - 1, there, there + 1):
            check = ifeval.check(instruction, {**more, name: asked})

            met = asked == there if exact else asked <= there
            assert await accepts(sandbox, check, piece * there) is met, (there, asked)
            assert follows(instruction, {**more, name: asked}, piece * there) is met
