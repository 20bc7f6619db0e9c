"""How votes become verdicts: whatever models say, doubt never becomes a pass."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.records import Criterion
from services.evidence import Quotable
from services.ports import Finding, Verdict
from services.validators.judgement import Judgement, Result
from services.validators.votes import Ballot

PASS, FAIL, UNSURE = Verdict.PASS, Verdict.FAIL, Verdict.UNSURE
ANSWER = "Rome is in Italy."


def criterion(id_: str = "crt_1", *, required: bool = True) -> Criterion:
    return Criterion(id_, "Says where Rome is.", required=required)


def said(verdict: Verdict, id_: str = "crt_1", quote: str | None = "Rome") -> Result:
    return Result(id_, () if quote is None else (quote,), "Because.", verdict)


def found(*votes: Verdict, suspicion: str | None = None, required: bool = True) -> tuple[Finding, bool]:
    """What becomes of one criterion, and whether another vote is wanted."""
    ballot = Ballot((criterion(required=required),), Quotable(ANSWER), suspicion)
    for vote in votes:
        ballot.count(Judgement(addresses_grader=False, results=(said(vote),)))
    return ballot.findings("m")[0], bool(ballot.to_ask())


@pytest.mark.parametrize(
    ("votes", "verdict", "wants_more"),
    [
        ([PASS], PASS, False),
        ([FAIL], FAIL, False),
        ([UNSURE], UNSURE, True),
        ([UNSURE, UNSURE], UNSURE, False),
        ([UNSURE, PASS], UNSURE, True),
        ([UNSURE, FAIL], UNSURE, True),
        ([UNSURE, PASS, PASS], PASS, False),
        ([UNSURE, FAIL, FAIL], FAIL, False),
        ([UNSURE, PASS, FAIL], UNSURE, False),
        ([UNSURE, PASS, UNSURE], UNSURE, False),
    ],
)
def test_two_that_agree_settle_a_doubt(votes: list[Verdict], verdict: Verdict, wants_more: bool) -> None:
    finding, more = found(*votes)

    assert (finding.verdict, more) == (verdict, wants_more)


@pytest.mark.parametrize(
    ("votes", "verdict", "wants_more"),
    [
        ([PASS], UNSURE, True),
        ([PASS, PASS], PASS, False),
        ([PASS, FAIL], UNSURE, False),
        ([PASS, UNSURE], UNSURE, False),
        ([UNSURE], UNSURE, False),
        ([UNSURE, PASS], UNSURE, False),
        ([FAIL], FAIL, False),
    ],
)
def test_under_suspicion_only_unanimity_passes(votes: list[Verdict], verdict: Verdict, wants_more: bool) -> None:
    finding, more = found(*votes, suspicion="it pleads")

    assert (finding.verdict, more) == (verdict, wants_more)


def test_what_is_optional_is_not_worth_a_call_of_its_own() -> None:
    assert found(UNSURE, required=False)[1] is False


def test_nothing_more_is_asked_once_the_outcome_is_clear() -> None:
    ballot = Ballot((criterion(), criterion("crt_2")), Quotable(ANSWER))
    ballot.count(Judgement(addresses_grader=False, results=(said(FAIL), said(UNSURE, "crt_2"))))

    assert ballot.to_ask() == ()


votes_of_any_kind = st.tuples(st.sampled_from(list(Verdict)), st.sampled_from(["Rome", "Paris", None]))


@given(
    required=st.lists(st.booleans(), min_size=1, max_size=4),
    suspicion=st.sampled_from([None, "it pleads"]),
    data=st.data(),
    guilty=st.lists(st.booleans(), min_size=10, max_size=10),
)
@settings(max_examples=300, deadline=None)
def test_doubt_never_becomes_a_pass(
    required: list[bool], suspicion: str | None, data: st.DataObject, guilty: list[bool]
) -> None:
    criteria = [criterion(f"crt_{number}", required=needed) for number, needed in enumerate(required)]
    ballot = Ballot(criteria, Quotable(ANSWER), suspicion)
    votes: dict[str, list[tuple[Verdict, str | None]]] = {item.id: [] for item in criteria}
    while asked := ballot.to_ask():
        # It ends: three votes at most, or a second one for what was passed before suspicion arose with the third.
        assert ballot.votes < 4
        results: list[Result] = []
        for item in asked:
            verdict, quote = data.draw(votes_of_any_kind)
            votes[item.id].append((verdict, quote))
            results.append(said(verdict, item.id, quote))
        ballot.count(Judgement(addresses_grader=guilty[ballot.votes], results=tuple(results)))

    for finding in ballot.findings("m"):
        had = votes[finding.criterion_id]
        if finding.verdict is PASS:
            assert (PASS, "Rome") in had
            assert FAIL not in {verdict for verdict, quote in had if quote != "Paris"}
            assert finding.evidence == ("Rome",)
            if ballot.suspicion is not None:
                assert len(had) >= 2
                assert set(had) == {(PASS, "Rome")}
        if finding.verdict is FAIL:
            assert FAIL in {verdict for verdict, _ in had}
