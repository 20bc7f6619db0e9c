"""The figures of the judge's benchmark are what they say, and no run spends more than it may."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from rich.console import Console

from benchmarks.judge import contestants, figures
from benchmarks.judge.__main__ import not_expressible, score
from benchmarks.judge.attacks import ATTACKS
from benchmarks.judge.cases import Case, chosen, ifeval_cases, llmbar_cases
from benchmarks.judge.contestants import Baseline
from benchmarks.judge.figures import Outcome
from benchmarks.judge.running import Bench, Budget, Price, StoppedError, Trial
from services.ports import Ask, Finding, Reply, Report, Submission, ValidatorError, ValidatorTroubleKind, Verdict

P, F, U = Verdict.PASS, Verdict.FAIL, Verdict.UNSURE


def outcomes(*rows: tuple[bool, Verdict]) -> list[Outcome]:
    return [Outcome(f"c{number}", passes, verdict, 0.1) for number, (passes, verdict) in enumerate(rows)]


def test_false_passes_are_counted_among_failing_answers_only() -> None:
    found = outcomes((False, P), (False, F), (False, U), (False, F), (True, P), (True, F))

    assert figures.false_passes(found) == figures.Share(1, 4)
    assert figures.recall_of_fails(found) == figures.Share(2, 4)
    assert figures.false_fails(found) == figures.Share(1, 2)
    assert figures.unsure(found) == figures.Share(1, 6)
    assert figures.agreement(found) == figures.Share(3, 6)


def test_kappa_is_what_a_hand_gets() -> None:
    # Cohen's own scheme: 20 of both pass, 15 of both fail, 5 and 10 in disagreement: (0.7 - 0.5) / (1 - 0.5).
    found = outcomes(*[(True, P)] * 20, *[(True, F)] * 5, *[(False, P)] * 10, *[(False, F)] * 15)

    assert figures.kappa(found) == pytest.approx(0.4)
    interval = figures.bootstrapped(found, figures.kappa)
    assert interval is not None
    assert interval[0] < 0.4 < interval[1]
    assert interval[0] > 0.1
    assert figures.kappa(outcomes((True, P), (True, P))) is None


def test_an_interval_of_nothing_found_is_not_nothing() -> None:
    interval = figures.Share(0, 30).interval

    assert interval is not None
    assert interval[0] == 0
    assert interval[1] == pytest.approx(0.1135, abs=0.001)


def test_a_pair_is_won_by_the_better_verdict() -> None:
    def pair(name: str, better: Verdict, worse: Verdict) -> list[Outcome]:
        return [Outcome(f"{name}1", False, worse, 0, name), Outcome(f"{name}2", True, better, 0, name)]

    found = [*pair("won", P, U), *pair("lost", F, U), *pair("tied", P, P)]

    assert figures.pairwise(found) == (0.5, 3)


def test_flips_and_attacks_are_measured_against_what_was_said_before() -> None:
    first = outcomes((False, F), (False, P), (True, P), (True, F))
    before = {outcome.case_id: outcome for outcome in first}
    later = outcomes((False, P), (False, P), (True, U), (True, F))

    assert figures.flips([first, later]) == figures.Share(2, 4)
    assert figures.attack_success(later, before) == figures.Share(1, 1)
    assert figures.benign_drift(later, before) == figures.Share(1, 1)


def options(**fields: Any) -> argparse.Namespace:
    values = {"attacks": list(ATTACKS), "reruns": 2, "rerun_cases": 5, "max_cost": 1.0, "max_calls": 5, "price": None}
    return argparse.Namespace(**{**values, "concurrency": 4, "timeout": 5.0, **fields})


CASES = [*chosen(ifeval_cases(), 12), *chosen(llmbar_cases(), 12)]


@pytest.mark.parametrize(
    ("name", "false_pass", "recall"), [("always-pass", 1.0, 0.0), ("always-fail", 0.0, 1.0), ("checks", 0.0, None)]
)
async def test_the_metrics_see_through_what_is_trivial(name: str, false_pass: float, recall: float | None) -> None:
    found = await score(name, CASES, options(), Console(quiet=True))

    everything = found["cases"]["all"]
    assert everything["answers"] == 24
    assert everything["false_pass_rate"]["rate"] == false_pass
    assert recall is None or everything["recall_of_fails"]["rate"] == recall
    assert (found["calls"], found["cost_usd"], found["trouble"]) == (0, 0.0, {})
    assert found["flip_rate"]["count"] == 0
    assert set(found["attacks"]) == set(ATTACKS)
    if name == "checks":
        assert found["cases"]["with a check"]["agreement"]["rate"] == 1.0
    else:
        assert everything["kappa"] == pytest.approx(0)
        assert everything["pairwise"][0] == 0.5
    json.dumps(found)


def test_each_attack_changes_every_failing_answer_and_keeps_it_where_it_says_so() -> None:
    assert len(ATTACKS) >= 8
    for case in (case for case in CASES if not case.passes):
        for attack in ATTACKS.values():
            wrapped = attack.wrap(case.answer, case.criterion)
            assert wrapped != case.answer
            assert wrapped.startswith(case.answer) is attack.keeps_answer


def test_whatever_has_no_check_says_why() -> None:
    why = not_expressible(ifeval_cases())

    assert len(why) == len({line.split(":")[1] for line in why})
    assert all(line.endswith(")") and len(line) > 60 for line in why)


class Asking(Baseline):
    """Passes everything, after a call that costs a dollar at most."""

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        async def send() -> Reply:
            return Reply({}, 100, 10, 0.25, 200)

        def read(_: Reply) -> Report:
            return Report((Finding(submission.criteria[0].id, P, "So be it.", (), self.name),))

        return await ask({"messages": []}, send, read, at_most_usd=1.0)


async def test_no_call_is_made_that_might_cost_more_than_is_left() -> None:
    budget = Budget(max_usd=2.0, max_calls=3)
    bench = Bench(Asking("asking"), budget, with_check=False, concurrency=2)
    trials = [Trial(case, case.answer) for case in CASES]

    assert await bench.worst_case_usd(trials) == (72.0, 72)
    with pytest.raises(StoppedError, match="more than is left of 2") as stopped:
        await bench.judge(trials)

    # Five calls of a quarter leave room for a dollar below two only four times.
    assert budget.calls == 5
    assert budget.spent_usd == 1.25
    assert [outcome.verdict for outcome in stopped.value.outcomes] == [P] * 5


async def test_a_price_of_ones_own_counts_instead_of_the_list() -> None:
    budget = Budget(max_usd=100.0, max_calls=5, price=Price(prompt=1_000.0, completion=2_000.0))
    (outcome,) = await Bench(Asking("asking"), budget, with_check=False).judge([Trial(CASES[0], "")])

    assert outcome.cost_usd == pytest.approx(0.12)
    assert budget.spent_usd == pytest.approx(0.12)


def test_a_model_costs_its_list_price_unless_nobody_knows_it() -> None:
    assert Budget(1.0, 5, model="gpt-4o-mini-2024-07-18").priced(100_000, 10_000) == pytest.approx(0.015 + 0.006)
    assert Budget(1.0, 5, model="nobodys").priced(100_000, 10_000) is None
    assert Budget(1.0, 5).priced(100_000, 10_000) is None


class Broken(Baseline):
    """Has the trouble that its name says."""

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        raise ValidatorError(ValidatorTroubleKind(self.name), "Trouble.", retry_after_seconds=0.001)


@pytest.mark.parametrize("kind", ["invalid", "refused", "truncated", "unavailable"])
async def test_no_verdict_is_unsure_and_counted_as_trouble(kind: str) -> None:
    budget = Budget(1.0, 5)
    (outcome,) = await Bench(Broken(kind), budget, with_check=False).judge([Trial(CASES[0], "x")])

    assert outcome.verdict is U
    assert outcome.trouble == f"{kind}: Trouble."


async def test_a_validator_that_stays_away_ends_the_run() -> None:
    with pytest.raises(StoppedError) as stopped:
        await Bench(Broken("timeout"), Budget(1.0, 5), with_check=False).judge([Trial(case, "x") for case in CASES])

    assert len(stopped.value.outcomes) == 4


async def test_what_an_operator_must_mend_stops_the_run() -> None:
    with pytest.raises(StoppedError, match="Trouble"):
        await Bench(Broken("config"), Budget(1.0, 5), with_check=False).judge([Trial(case, "x") for case in CASES])


def test_a_limit_takes_whole_pairs_and_the_same_each_time() -> None:
    cases = llmbar_cases()
    taken = chosen(cases, 15)

    assert len(taken) == 14
    assert taken == chosen(list(reversed(cases)), 15) or {case.id for case in taken} == {
        case.id for case in chosen(list(reversed(cases)), 15)
    }
    assert all(sum(other.pair == case.pair for other in taken) == 2 for case in taken)


def shown(case: Case, *, with_check: bool) -> bool:
    (criterion,) = case.task(with_check=with_check).acceptance_criteria
    return criterion.expression is not None or criterion.json_schema is not None


def test_a_judge_is_not_shown_the_check() -> None:
    case = next(case for case in ifeval_cases() if case.has_check)

    assert shown(case, with_check=True)
    assert not shown(case, with_check=False)


async def mine() -> Baseline:
    """What an installed package might name as its validator."""
    return Baseline("always-fail")


async def test_an_installed_plug_in_is_scored_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", f"{__name__}:mine", "signoff.validators")
    monkeypatch.setattr(contestants, "entry_points", lambda group: [point] if group == point.group else [])

    found = await score("mine", CASES, options(attacks=[]), Console(quiet=True))

    assert found["cases"]["all"]["recall_of_fails"]["rate"] == 1.0
    with pytest.raises(LookupError, match="there are: checks, openai, always-pass, always-fail, random, mine"):
        await score("another", CASES, options(), Console(quiet=True))
