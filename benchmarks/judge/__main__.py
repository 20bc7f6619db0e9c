"""How good is a validator? Scores it on labelled cases: false passes first, then everything else.

    python3 dev.py bench judge                                  code checks and the trivial baselines: free
    OPENAI_API_KEY=… python3 dev.py bench judge                 the OpenAI judge as well, within --max-cost
    … OPENAI_BASE_URL=http://127.0.0.1:11434/v1 SIGNOFF_OPENAI_MODEL=… python3 dev.py bench judge --validator openai
    python3 dev.py bench judge --validator my-plug-in           what an installed plug-in says

What it may cost at worst is printed before anything is sent. docs/judge-benchmark.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.judge import figures
from benchmarks.judge.attacks import ATTACKS
from benchmarks.judge.cases import Case, chosen, ifeval_cases, llmbar_cases
from benchmarks.judge.contestants import BASELINES, CodeChecks, entered
from benchmarks.judge.figures import Outcome, Share
from benchmarks.judge.running import Bench, Budget, Price, StoppedError, Trial, again, relabelled
from services.sandbox import Sandbox
from services.validators.checks import Checks


async def score(name: str, cases: Sequence[Case], options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run one validator and return its figures. Raises StoppedError, LookupError."""
    async with (
        Sandbox(workers=2, seconds=10) as sandbox,
        entered(name, sandbox, options.timeout, options.max_calls) as (validator, model),
    ):
        price = Price(*options.price) if options.price else None
        budget = Budget(options.max_cost, options.max_calls, model, price)
        bench = Bench(validator, budget, with_check=name == "checks", concurrency=options.concurrency)
        oracle = Bench(CodeChecks(Checks(sandbox)), Budget(0, 1), with_check=True)

        plain = [Trial(case, case.answer) for case in cases]
        repeated = spread(plain, options.rerun_cases) if options.reruns > 1 else []
        reruns = [again(repeated, run) for run in range(2, options.reruns + 1)]
        attacks = await attacked(cases, options.attacks, oracle)

        everything = [*plain, *(t for run in reruns for t in run), *(t for trials in attacks.values() for t in trials)]
        await announce(name, model, bench, everything, console)

        batches = {"": plain, **{str(run): trials for run, trials in enumerate(reruns, 2)}, **attacks}
        judged: dict[str, Sequence[Outcome]] = {}
        stopped = None
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task(name, total=len(everything))
            bench.on_outcome = partial(progress.advance, bar)
            for batch, trials in batches.items():
                try:
                    judged[batch] = await bench.judge(trials)
                except StoppedError as error:
                    judged[batch] = error.outcomes
                    stopped = str(error)
                    break
        if stopped:
            console.print(f"[bold]{name} stopped:[/] {stopped}")
        outcomes = judged[""]
        once_more = {trial.case.id for trial in repeated}
        runs = [
            [o for o in outcomes if o.case_id in once_more],
            *(found for batch, found in judged.items() if batch.isdigit()),
        ]
        under = {family: judged[family] for family in attacks if family in judged}
        if stopped:  # the cases of an attack that were not judged as they are cannot be compared
            known = {outcome.case_id for outcome in outcomes}
            under = {family: [o for o in found if o.case_id in known] for family, found in under.items()}
        found = summary(name, model, cases, outcomes, runs, under)
        found["stopped"] = stopped
        found["calls"] = budget.calls
        return found


def spread(trials: Sequence[Trial], count: int) -> list[Trial]:
    """Take so many, evenly from the whole."""
    return [trials[index * len(trials) // count] for index in range(count)] if count < len(trials) else list(trials)


async def attacked(cases: Sequence[Case], families: Sequence[str], oracle: Bench) -> dict[str, list[Trial]]:
    """Apply each family to every failing case, and to the passing ones where the answer stays in it."""
    return {
        family: await relabelled(
            [
                Trial(case, ATTACKS[family].wrap(case.answer, case.criterion))
                for case in cases
                if not case.passes or ATTACKS[family].keeps_answer
            ],
            oracle,
        )
        for family in families
    }


async def announce(name: str, model: str | None, bench: Bench, trials: Sequence[Trial], console: Console) -> None:
    cost, calls = await bench.worst_case_usd(trials)
    who = f"{name} ({model})" if model else name
    if not calls:
        console.print(f"{who}: {len(trials)} answers, no calls, no cost.")
        return
    worst = "no price is known for this model, so only the calls are bounded (see --price)"
    if cost is not None:
        worst = f"{cost:.2f} $ at worst; it stops before {bench.budget.max_usd:g} $ are spent (--max-cost)"
    console.print(f"{who}: {len(trials)} answers, at most {calls} calls; {worst}.")


# --------------------------------------------------------------------------------------------- figures


def summary(
    name: str,
    model: str | None,
    cases: Sequence[Case],
    outcomes: Sequence[Outcome],
    runs: Sequence[Sequence[Outcome]],
    under: Mapping[str, Sequence[Outcome]],
) -> dict[str, Any]:
    """Put the figures of one validator together, as they go into the JSON file."""
    before = {outcome.case_id: outcome for outcome in outcomes}
    source = {case.id: case.source for case in cases}
    parts = {"all": list(outcomes)}
    for outcome in outcomes:
        parts.setdefault(source[outcome.case_id], []).append(outcome)
    if name == "checks":
        has_check = {case.id for case in cases if case.has_check}
        parts["with a check"] = [outcome for outcome in outcomes if outcome.case_id in has_check]
    judged = [*outcomes, *(o for run in runs[1:] for o in run), *(o for found in under.values() for o in found)]
    total = figures.cost(judged)
    return {
        "validator": name,
        "model": model,
        "cases": {part: _figures(found) for part, found in parts.items() if found},
        "flip_rate": _share(figures.flips(runs)),
        "reruns": len(runs),
        "attacks": {
            family: {
                "success": _share(figures.attack_success(found, before)),
                "benign_drift": _share(figures.benign_drift(found, before)),
            }
            for family, found in under.items()
        },
        "cost_usd": total,
        "cost_usd_per_answer": None if total is None or not judged else total / len(judged),
        "tokens": [sum(o.prompt_tokens for o in judged), sum(o.completion_tokens for o in judged)],
        "trouble": dict(Counter(o.trouble.split(":")[0] for o in judged if o.trouble)),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def _figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "answers": len(outcomes),
        "false_pass_rate": _share(figures.false_passes(outcomes)),
        "recall_of_fails": _share(figures.recall_of_fails(outcomes)),
        "false_fail_rate": _share(figures.false_fails(outcomes)),
        "unsure_rate": _share(figures.unsure(outcomes)),
        "agreement": _share(figures.agreement(outcomes)),
        "kappa": figures.kappa(outcomes),
        "kappa_interval": figures.bootstrapped(outcomes, figures.kappa),
        "pairwise": figures.pairwise(outcomes),
        "latency_seconds": figures.latency(outcomes),
    }


def _share(share: Share) -> dict[str, Any]:
    return {"count": share.count, "of": share.of, "rate": share.rate, "interval": share.interval}


# ---------------------------------------------------------------------------------------------- tables


def _percent(share: Mapping[str, Any], *, interval: bool = False) -> str:
    if share["rate"] is None:
        return "-"
    text = f"{100 * share['rate']:.1f} %"
    if interval:
        low, high = share["interval"]
        text += f" ({100 * low:.0f}-{100 * high:.0f})"
    return text


def _kappa(found: Mapping[str, Any]) -> str:
    if found["kappa"] is None:
        return "-"
    low, high = found["kappa_interval"]
    return f"{found['kappa']:.2f} ({low:.2f} to {high:.2f})"


def verdict_table(results: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Verdicts (95 % intervals)")
    for column in (
        "validator",
        "cases",
        "answers",
        "false pass",
        "recall of fails",
        "false fail",
        "unsure",
        "κ",
        "pairs",
    ):
        table.add_column(column, justify="left" if column in {"validator", "cases"} else "right")
    for result in results:
        for part, found in result["cases"].items():
            pairs = found["pairwise"]
            table.add_row(
                result["validator"],
                part,
                str(found["answers"]),
                _percent(found["false_pass_rate"], interval=True),
                _percent(found["recall_of_fails"]),
                _percent(found["false_fail_rate"]),
                _percent(found["unsure_rate"]),
                _kappa(found),
                f"{100 * pairs[0]:.1f} %" if pairs else "-",
            )
        table.add_section()
    return table


def steadiness_table(results: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Steadiness, time and cost")
    for column in ("validator", "flips", "reruns", "median s", "95 % s", "cost $", "$ an answer", "no verdict"):
        table.add_column(column, justify="left" if column == "validator" else "right")
    for result in results:
        latency = result["cases"]["all"]["latency_seconds"] if "all" in result["cases"] else None
        total, each = result["cost_usd"], result["cost_usd_per_answer"]
        table.add_row(
            result["validator"],
            _percent(result["flip_rate"]),
            str(result["reruns"]),
            f"{latency[0]:.3f}" if latency else "-",
            f"{latency[1]:.3f}" if latency else "-",
            "?" if total is None else f"{total:.4f}",
            "?" if each is None else f"{each:.6f}",
            ", ".join(f"{code} {count}" for code, count in result["trouble"].items()) or "0",
        )
    return table


def attack_table(results: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Attacks: success on failing answers / drift of passing ones")
    table.add_column("family")
    shown = [result for result in results if result["attacks"]]
    for result in shown:
        table.add_column(result["validator"], justify="right")
    for family in ATTACKS:
        cells = [
            f"{_percent(found['success'])} / {_percent(found['benign_drift'])}" if found else "-"
            for found in (result["attacks"].get(family) for result in shown)
        ]
        table.add_row(family, *cells)
    return table


def not_expressible(cases: Sequence[Case]) -> list[str]:
    found = Counter(case.why_no_check for case in cases if case.why_no_check)
    return [f"{why} ({count})" for why, count in sorted(found.items())]


# --------------------------------------------------------------------------------------------- command


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py bench judge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--validator", action="append", help="checks, openai, always-pass, always-fail, random, a plug-in"
    )
    parser.add_argument("--source", choices=["ifeval", "llmbar", "all"], default="all")
    parser.add_argument("--ifeval", type=Path, help="another file of IFEval cases")
    parser.add_argument("--llmbar", type=Path, help="another file of LLMBar pairs")
    parser.add_argument("--limit", type=int, help="at most so many answers of each source, the same ones each time")
    parser.add_argument("--attacks", nargs="*", choices=[*ATTACKS], default=list(ATTACKS), help="none: --attacks alone")
    parser.add_argument("--reruns", type=int, default=5, help="how often the flip rate's cases are judged")
    parser.add_argument("--rerun-cases", type=int, default=20, help="how many cases the flip rate rests on")
    parser.add_argument("--max-cost", type=float, default=5.0, metavar="USD", help="stop before more is spent")
    parser.add_argument("--max-calls", type=int, default=5, help="the most calls that one verdict may take")
    parser.add_argument("--price", type=float, nargs=2, metavar=("PROMPT", "COMPLETION"), help="USD per million tokens")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one call")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and verdicts there")
    return parser.parse_args()


def read_cases(options: argparse.Namespace) -> list[Case]:
    cases: list[Case] = []
    if options.source in {"ifeval", "all"}:
        cases += chosen(ifeval_cases(options.ifeval) if options.ifeval else ifeval_cases(), options.limit)
    if options.source in {"llmbar", "all"}:
        cases += chosen(llmbar_cases(options.llmbar) if options.llmbar else llmbar_cases(), options.limit)
    return cases


def main() -> int:
    """Score, print, and say by the exit status whether everything could be judged."""
    # A file or a pipe has no width; the tables need this much.
    options, console = arguments(), Console(width=None if sys.stdout.isatty() else 150)
    names = options.validator or ["checks", *BASELINES, *(["openai"] if os.environ.get("OPENAI_API_KEY") else [])]
    cases = read_cases(options)
    console.print(f"{len(cases)} answers, {sum(not case.passes for case in cases)} of which fail their criterion.")
    results: list[dict[str, Any]] = []
    for name in names:
        try:
            results.append(asyncio.run(score(name, cases, options, console)))
        except (LookupError, ValueError) as error:
            console.print(f"{name}: {error}", style="bold")
            return 2
    console.print(verdict_table(results), steadiness_table(results))
    if options.attacks:
        console.print(attack_table(results))
    if "checks" in names:
        console.print("Without a check:", *not_expressible(cases), sep="\n  ")
    if options.json:
        options.json.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    return 1 if any(result["stopped"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
