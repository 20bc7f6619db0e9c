from collections.abc import AsyncGenerator

import pytest

from db.records import Criterion, JsonValue
from services.ports import Verdict
from services.sandbox import Sandbox
from services.validators.checks import Checks
from tests.fakes import pinned_job

COSTLY = "answer.list.map(x, answer.list.map(y, answer.list.map(z, [x, y, z]))) == []"


@pytest.fixture
async def checks() -> AsyncGenerator[Checks]:
    async with Sandbox(seconds=5) as sandbox:
        yield Checks(sandbox)


async def decide(checks: Checks, answer: JsonValue, *, expression: str) -> tuple[Verdict, str]:
    criterion = Criterion("crt_1", "Holds.", required=True, expression=expression)
    job = pinned_job({"at_most": 3}, [criterion])
    (finding,) = await checks.decide(job, job.acceptance_criteria, answer)
    assert (finding.criterion_id, finding.evidence, finding.decided_by) == ("crt_1", (), "expression")
    return finding.verdict, finding.rationale


@pytest.mark.parametrize(
    ("expression", "verdict", "rationale"),
    [
        ("answer.count <= job.input.at_most", Verdict.PASS, "`answer.count <= job.input.at_most` is true."),
        ("job.id == 'job_1' && job.title == 'A title' && job.description != ''", Verdict.PASS, "is true."),
        ("job.acceptance_criteria[0].required && job.acceptance_criteria[0].id == 'crt_1'", Verdict.PASS, "true"),
        ("answer.count > 2", Verdict.FAIL, "`answer.count > 2` is false (`answer.count` is 2)."),
        ("answer.text.startsWith('b') || answer.count > 5", Verdict.FAIL, '(`answer.text` is "a", `answer.count`'),
        ("answer.list[0] == 'answer.count'", Verdict.FAIL, "is false (`answer.list[0]` is 0)."),
        ("size(answer.list) < 5", Verdict.FAIL, "is false (`answer.list` is something large)."),
        ("answer.missing > 2", Verdict.FAIL, "needs something that is missing: there is no 'missing'."),
        ("answer.text > 2", Verdict.FAIL, "could not be evaluated: an operation is not defined for these types"),
        ("answer.count", Verdict.FAIL, "`answer.count` gives 2, neither true nor false."),
        ("answer.list", Verdict.FAIL, "gives something large, neither true nor false."),
        ("'true'", Verdict.FAIL, 'gives "true", neither true nor false.'),
        ("null", Verdict.FAIL, "gives null, neither true nor false."),
        ("1", Verdict.FAIL, "gives 1, neither true nor false."),
        ("answer.count >", Verdict.FAIL, "could not be evaluated: at column 15: Syntax error"),
    ],
)
async def test_an_expression_decides(checks: Checks, expression: str, verdict: Verdict, rationale: str) -> None:
    answer: JsonValue = {"count": 2, "text": "a", "list": list(range(400))}

    found, why = await decide(checks, answer, expression=expression)

    assert found is verdict
    assert rationale in why


@pytest.mark.parametrize("answer", [[], "text", 5, True, None, {"count": None}, {"count": "2"}, {"count": [1]}])
async def test_an_answer_of_another_shape_fails(checks: Checks, answer: JsonValue) -> None:
    verdict, _ = await decide(checks, answer, expression="answer.count > 1")

    assert verdict is Verdict.FAIL


async def test_a_schema_decides(checks: Checks) -> None:
    criteria = [
        Criterion("crt_1", "Is dated.", required=True, json_schema={"properties": {"on": {"format": "date"}}}),
        Criterion("crt_2", "Has a title.", required=True, json_schema={"required": ["title"]}),
        Criterion("crt_3", "Nothing goes.", required=False, json_schema=False),
        Criterion("crt_4", "Anything goes.", required=False, json_schema=True),
    ]

    findings = await checks.decide(pinned_job(), criteria, {"on": "tomorrow", "title": "A title"})

    assert [(finding.criterion_id, finding.verdict, finding.decided_by) for finding in findings] == [
        ("crt_1", Verdict.FAIL, "json_schema"),
        ("crt_2", Verdict.PASS, "json_schema"),
        ("crt_3", Verdict.FAIL, "json_schema"),
        ("crt_4", Verdict.PASS, "json_schema"),
    ]
    assert findings[0].rationale == 'The answer does not meet the schema: /on: "tomorrow" is not a "date".'
    assert findings[1].rationale == "The answer meets the schema."


async def test_criteria_that_need_judgement_are_left_out(checks: Checks) -> None:
    criteria = [
        Criterion("crt_1", "Is kind.", required=True),
        Criterion("crt_2", "Is right.", required=True, expression="answer == 1"),
    ]

    (finding,) = await checks.decide(pinned_job(), criteria, 1)

    assert finding.criterion_id == "crt_2"
    assert await checks.decide(pinned_job(), criteria[:1], 1) == ()


async def test_what_is_killed_for_its_cost_is_unsure_and_not_tried_for_ever() -> None:
    criteria = [Criterion(f"crt_{n}", "Costs.", required=True, expression=COSTLY) for n in range(6)]
    criteria.insert(1, Criterion("crt_cheap", "Is there.", required=True, expression="has(answer.list)"))

    async with Sandbox(seconds=0.5) as sandbox:
        findings = await Checks(sandbox).decide(pinned_job(), criteria, {"list": list(range(400))})

    assert [finding.verdict for finding in findings] == [Verdict.UNSURE, Verdict.PASS, *[Verdict.UNSURE] * 5]
    assert findings[0].rationale == "The check could not be finished: it took longer than 0.5 s."
    assert [finding.rationale for finding in findings[4:]] == [
        "Not evaluated: other checks of this job took too long."
    ] * 3
