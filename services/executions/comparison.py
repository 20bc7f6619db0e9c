"""How an attempt compares with the one before it, criterion by criterion."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from db.records import CriterionResult, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.records import Criterion


class CriterionChange(StrEnum):
    """What became of a criterion since the attempt before. Only a pass is met: from a fail to a doubt is no step."""

    FIXED = "fixed"
    REGRESSED = "regressed"
    UNCHANGED = "unchanged"
    NEW = "new"


@dataclass(frozen=True)
class CriterionComparison:
    """What was decided of one criterion, and what was decided of the same one before (None: NEW)."""

    change: CriterionChange
    now: CriterionResult
    before: CriterionResult | None

    @property
    def criterion(self) -> Criterion:
        """The criterion, as it was then."""
        return self.now.criterion


def compare(now: Sequence[CriterionResult], before: Sequence[CriterionResult]) -> list[CriterionComparison]:
    """Compare each result with the one before it that decided the same.

    A criterion keeps its id through edits; one that demands something else than before is as good as new.
    """
    by_id = {result.criterion.id: result for result in before}
    compared: list[CriterionComparison] = []
    for result in now:
        earlier = by_id.get(result.criterion.id)
        if earlier is not None and _demand(earlier.criterion) != _demand(result.criterion):
            earlier = None
        compared.append(CriterionComparison(_change(result, earlier), result, earlier))
    return compared


def _demand(criterion: Criterion) -> tuple[object, ...]:
    return criterion.text, criterion.expression, criterion.json_schema


def _change(now: CriterionResult, before: CriterionResult | None) -> CriterionChange:
    if before is None:
        return CriterionChange.NEW
    is_met, was_met = now.verdict is Verdict.PASS, before.verdict is Verdict.PASS
    if is_met == was_met:
        return CriterionChange.UNCHANGED
    return CriterionChange.FIXED if is_met else CriterionChange.REGRESSED
