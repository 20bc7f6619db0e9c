"""How several judgements of one submission become one verdict on each criterion (docs/adr/0012).

Pure: the votes that are there decide whether another is asked for and of which criteria, so a validation that is
interrupted asks for the same ones again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.evidence import Quotable
from services.ports import Finding, Verdict

if TYPE_CHECKING:
    from services.ports import Criterion, Submission
    from services.validators.judgement import Judgement, Result

# Two that agree settle a doubt; a third is there to find the second. So none that is settled has one against it.
_DOUBT_VOTES = 3
_AGREEING = 2


@dataclass(frozen=True)
class Ruling:
    """What one vote says of one criterion once its quotes are looked up: its verdict, or UNSURE and the doubt."""

    said: Verdict
    verdict: Verdict
    rationale: str
    evidence: tuple[str, ...]
    doubt: str | None


def rule(result: Result, quotable: Quotable) -> Ruling:
    """Look up the quotes of one result. Doubt only ever moves a verdict towards UNSURE."""
    found = tuple(dict.fromkeys(quote for quote in result.evidence if quotable.has(quote)))
    rationale = result.rationale.strip() or "The validator gave no reason."
    doubt: str | None = None
    if not all(quote in found for quote in result.evidence):
        doubt = "not every quote that it gave as evidence is in the answer"
    elif result.verdict is Verdict.PASS and not found:
        doubt = "it quoted nothing from the answer as evidence"
    verdict = result.verdict if doubt is None else Verdict.UNSURE
    return Ruling(result.verdict, verdict, rationale, found, doubt)


@dataclass
class Ballot:
    """The votes on one submission. `suspicion` says why it may be trying to sway its judge, where it may."""

    criteria: Sequence[Criterion]
    quotable: Quotable
    suspicion: str | None = None
    rulings: dict[str, list[Ruling]] = field(default_factory=dict[str, "list[Ruling]"])
    votes: int = 0

    def count(self, judgement: Judgement) -> None:
        """Count one more judgement; it may be of some criteria only."""
        self.votes += 1
        if judgement.addresses_grader:
            self.suspicion = self.suspicion or "it speaks to its judge"
        for result in judgement.results:
            self.rulings.setdefault(result.criterion_id, []).append(rule(result, self.quotable))

    def to_ask(self) -> tuple[Criterion, ...]:
        """The criteria that one more vote may help; none where the outcome is the same whatever it says."""
        if not self.votes:
            return tuple(self.criteria)
        # A required criterion that has failed, or is in doubt for good, decides the outcome alone.
        if any(self._settled(item) not in {None, Verdict.PASS} for item in self.criteria if item.required):
            return ()
        return tuple(item for item in self.criteria if self._settled(item) is None)

    def _settled(self, criterion: Criterion) -> Verdict | None:
        """What the votes say of a criterion, None where another one may help."""
        verdicts = [ruling.verdict for ruling in self.rulings[criterion.id]]
        passed, failed = verdicts.count(Verdict.PASS), verdicts.count(Verdict.FAIL)
        if self.suspicion is not None:
            return self._under_suspicion(len(verdicts), passed, failed)
        if verdicts[0] is not Verdict.UNSURE:
            return verdicts[0]
        for verdict, votes in ((Verdict.PASS, passed), (Verdict.FAIL, failed)):
            if votes >= _AGREEING:
                return verdict
        # What is optional only informs, and is not worth a call of its own.
        left = _DOUBT_VOTES - len(verdicts) if criterion.required else 0
        return None if max(passed, failed) + left >= _AGREEING else Verdict.UNSURE

    @staticmethod
    def _under_suspicion(votes: int, passed: int, failed: int) -> Verdict | None:
        """Only unanimity counts, and of passes not before the second vote."""
        if failed == votes:
            return Verdict.FAIL
        if passed < votes:
            return Verdict.UNSURE
        return Verdict.PASS if votes >= _AGREEING else None

    # --------------------------------------------------------------------------------------------- what came of it

    def findings(self, decided_by: str, stopped: str | None = None) -> tuple[Finding, ...]:
        """What was found of each criterion; `stopped` says why no more votes were had, where they were wanted."""
        return tuple(self._finding(item, decided_by, stopped) for item in self.criteria)

    def _finding(self, criterion: Criterion, decided_by: str, stopped: str | None) -> Finding:
        rulings = self.rulings[criterion.id]
        verdict = self._settled(criterion) or Verdict.UNSURE
        shown = next((ruling for ruling in reversed(rulings) if ruling.verdict is verdict), rulings[-1])
        rationale = shown.rationale
        if verdict is Verdict.UNSURE and shown.said is not Verdict.UNSURE:
            why = shown.doubt or self._why_unsure(rulings, stopped)
            rationale = f"The validator's “{shown.said.value}” does not count because {why}; it said: {shown.rationale}"
        if len(rulings) > 1:
            agreeing = sum(ruling.verdict is verdict for ruling in rulings)
            rationale += f" ({agreeing} of {len(rulings)} votes)"
        return Finding(criterion.id, verdict, rationale, shown.evidence, decided_by)

    def _why_unsure(self, rulings: Sequence[Ruling], stopped: str | None) -> str:
        if len({ruling.verdict for ruling in rulings}) > 1:
            return "another vote does not agree"
        if self.suspicion is None:
            return stopped or "it stands alone"
        missing = f", and {stopped}" if stopped else ""
        return f"it looks as if the answer speaks to whoever judges it ({self.suspicion}){missing}"


def decide(judgement: Judgement, submission: Submission, decided_by: str) -> tuple[Finding, ...]:
    """What was found by one judgement, where no other is to be had."""
    ballot = Ballot(submission.criteria, Quotable(submission.answer))
    ballot.count(judgement)
    return ballot.findings(decided_by)
