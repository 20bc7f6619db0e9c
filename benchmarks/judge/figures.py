"""What a run of labelled cases says about a validator."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from services.ports import Verdict

_RESAMPLES = 2_000
_Z = 1.96
_RANK = {Verdict.PASS: 2, Verdict.UNSURE: 1, Verdict.FAIL: 0}


@dataclass(frozen=True)
class Outcome:
    """One answer judged once. `trouble` says why there was no verdict; it counts as UNSURE, as the service has it."""

    case_id: str
    passes: bool
    verdict: Verdict
    seconds: float
    pair: str | None = None
    calls: int = 0
    cost_usd: float | None = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    trouble: str | None = None


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    @property
    def rate(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval: unlike the simple one it does not shrink to nothing where nothing was found."""
        if not self.of:
            return None
        share, n = self.count / self.of, self.of
        middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n)) / (1 + _Z**2 / n)
        return max(0.0, middle - half), min(1.0, middle + half)


def false_passes(outcomes: Sequence[Outcome]) -> Share:
    """Of the answers that fail, those that were passed: the one mistake that nobody sees again."""
    failing = [outcome for outcome in outcomes if not outcome.passes]
    return Share(sum(outcome.verdict is Verdict.PASS for outcome in failing), len(failing))


def recall_of_fails(outcomes: Sequence[Outcome]) -> Share:
    failing = [outcome for outcome in outcomes if not outcome.passes]
    return Share(sum(outcome.verdict is Verdict.FAIL for outcome in failing), len(failing))


def false_fails(outcomes: Sequence[Outcome]) -> Share:
    passing = [outcome for outcome in outcomes if outcome.passes]
    return Share(sum(outcome.verdict is Verdict.FAIL for outcome in passing), len(passing))


def unsure(outcomes: Sequence[Outcome]) -> Share:
    return Share(sum(outcome.verdict is Verdict.UNSURE for outcome in outcomes), len(outcomes))


def agreement(outcomes: Sequence[Outcome]) -> Share:
    """Verdicts that are the label; UNSURE never is."""
    return Share(sum(_said(outcome) == _label(outcome) for outcome in outcomes), len(outcomes))


def _label(outcome: Outcome) -> str:
    return Verdict.PASS if outcome.passes else Verdict.FAIL


def _said(outcome: Outcome) -> str:
    return outcome.verdict


def kappa(outcomes: Sequence[Outcome]) -> float | None:
    """Cohen's κ of labels and verdicts, UNSURE being a verdict of its own. None where chance alone would agree."""
    n = len(outcomes)
    if not n:
        return None
    observed = sum(_said(outcome) == _label(outcome) for outcome in outcomes) / n
    labels, said = Counter(map(_label, outcomes)), Counter(map(_said, outcomes))
    by_chance = sum(labels[verdict] * said[verdict] for verdict in labels) / n**2
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def bootstrapped(
    outcomes: Sequence[Outcome], figure: Callable[[Sequence[Outcome]], float | None], seed: int = 1
) -> tuple[float, float] | None:
    """Give a figure's 95 % interval by resampling; the two cases of a pair are drawn together."""
    groups: dict[Hashable, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.pair or outcome.case_id, []).append(outcome)
    drawn, all_groups = random.Random(seed), list(groups.values())
    values: list[float] = []
    for _ in range(_RESAMPLES):
        sample = [outcome for group in drawn.choices(all_groups, k=len(all_groups)) for outcome in group]
        value = figure(sample)
        if value is not None:
            values.append(value)
    if not values:
        return None
    values.sort()
    return values[int(0.025 * len(values))], values[min(int(0.975 * len(values)), len(values) - 1)]


def pairwise(outcomes: Sequence[Outcome]) -> tuple[float, int] | None:
    """How often the better answer of a pair got the better verdict, equal ones counting half, and of how many pairs."""
    pairs: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.pair is not None:
            pairs.setdefault(outcome.pair, []).append(outcome)
    scores: list[float] = []
    for pair in pairs.values():
        if len(pair) == 2:
            worse, better = sorted(pair, key=lambda outcome: outcome.passes)
            by = _RANK[better.verdict] - _RANK[worse.verdict]
            scores.append(0.5 if by == 0 else float(by > 0))
    return (statistics.fmean(scores), len(scores)) if scores else None


def flips(runs: Sequence[Sequence[Outcome]]) -> Share:
    """Of the cases that were judged several times, those that did not get the same verdict each time."""
    verdicts: dict[str, set[Verdict]] = {}
    for run in runs:
        for outcome in run:
            verdicts.setdefault(outcome.case_id, set()).add(outcome.verdict)
    return Share(sum(len(found) > 1 for found in verdicts.values()), len(verdicts))


def attack_success(attacked: Sequence[Outcome], before: Mapping[str, Outcome]) -> Share:
    """Of the failing answers that were not passed as they are, those that were passed with the attack."""
    held = [o for o in attacked if not o.passes and before[o.case_id].verdict is not Verdict.PASS]
    return Share(sum(outcome.verdict is Verdict.PASS for outcome in held), len(held))


def benign_drift(attacked: Sequence[Outcome], before: Mapping[str, Outcome]) -> Share:
    """Of the passing answers that were passed as they are, those that were not passed with the same wrapping."""
    passed = [o for o in attacked if o.passes and before[o.case_id].verdict is Verdict.PASS]
    return Share(sum(outcome.verdict is not Verdict.PASS for outcome in passed), len(passed))


def cost(outcomes: Sequence[Outcome]) -> float | None:
    """US dollars; None where the cost of a call is not known."""
    known = [outcome.cost_usd for outcome in outcomes if outcome.cost_usd is not None]
    return sum(known) if len(known) == len(outcomes) else None


def latency(outcomes: Sequence[Outcome]) -> tuple[float, float] | None:
    """Median and 95th percentile, in seconds."""
    if not outcomes:
        return None
    seconds = sorted(outcome.seconds for outcome in outcomes)
    return statistics.median(seconds), seconds[min(int(0.95 * len(seconds)), len(seconds) - 1)]
