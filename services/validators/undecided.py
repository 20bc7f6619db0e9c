"""What a validator reports that cannot judge at all, and the one that never can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.ports import Finding, Report, Verdict

if TYPE_CHECKING:
    from services.ports import Ask, Submission


def undecided(submission: Submission, decided_by: str, rationale: str, advice: str) -> Report:
    """Report that nothing could be judged, and what a person can do about it."""
    findings = (Finding(item.id, Verdict.UNSURE, rationale, (), decided_by) for item in submission.criteria)
    return Report(tuple(findings), advice=advice)


class Unconfigured:
    """Stands in for the OpenAI judge where there is no key: it asks nobody and is unsure."""

    name = "openai"
    can_judge = False

    async def validate(self, submission: Submission, ask: Ask) -> Report:
        """See ports.Validator."""
        del ask
        return undecided(
            submission,
            self.name,
            "No validator is configured that could judge this.",
            "Set OPENAI_API_KEY and validate again, or give the criteria an expression or a JSON Schema.",
        )

    @staticmethod
    def worst_case_usd(criteria: int) -> float:
        """Nothing, whatever it is asked."""
        del criteria
        return 0.0
