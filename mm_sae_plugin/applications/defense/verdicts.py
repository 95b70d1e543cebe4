"""What an evaluation says: of the paper's claim, and of whether anything beats FARE.

Towers of several seeds are a sample of what an arm makes, so that differences between arms are
judged over seeds (Student's t), each pair of towers being trained and attacked on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from scipy.stats import t

from mm_sae_plugin.applications.bias.permutation import holm
from mm_sae_plugin.applications.defense.arms import FARE, PAPER, RANDOM, READINGS
from mm_sae_plugin.applications.defense.contenders import NONE
from mm_sae_plugin.applications.defense.evaluation import mcnemar
from mm_sae_plugin.applications.defense.measuring import TaskResult
from mm_sae_plugin.applications.verdict import Verdict

LEAST_SEEDS = 3
"""Towers of an arm that a firm verdict needs."""
MOST_CLEAN_LOSS = 0.02
"""Of clean accuracy, that a better defense may cost more than the other."""


@dataclass(frozen=True)
class Difference:
    """One arm less another, over seeds."""

    one: str
    """The arm."""
    other: str
    """What it is compared with."""
    task: str
    """The task, or `worst task` for the lowest of several, seed by seed."""
    n_seeds: int
    """Seeds that both have."""
    mean: float
    """Of the worst-case accuracy."""
    low: float | None
    """Lower end of the 95% interval over seeds; None of one seed."""
    high: float | None
    """Upper end."""
    clean: float
    """The same difference of clean accuracies, its mean only."""


@dataclass(frozen=True)
class Claim:
    """A verdict, and what it rests on."""

    verdict: Verdict
    reason: str
    """With the figures, in words."""
    differences: list[Difference] = field(default_factory=list)
    """All that was compared."""


def claim_c5(results: Sequence[TaskResult], task: str, paper_labels: bool = False) -> Claim:
    """Judge whether aligning `TextD` defends best (Yan et al. 2025, first version).

    It is *supported* where `TextD` leads both other classes and the random set, *not supported*
    where one of them leads it, each time with the whole interval over seeds.

    Parameters
    ----------
    results : sequence of TaskResult
    task : str
        The task that is judged on.
    paper_labels : bool
        Take the classes by the paper's score.
    """
    suffix = PAPER if paper_labels else ""
    first, *others = (f"TextD{suffix}", f"ImgD{suffix}", f"CrossD{suffix}", RANDOM)
    known = {row.name for row in results if row.kind == "fine-tuned"}
    missing = [name for name in (first, *others) if name not in known]
    if missing:
        return Claim(
            "not tested",
            f"No tower was aligned on {', '.join(missing)}: make them with `mm-sae align --sae "
            "SAE_DIR --arms`.",
        )
    found = [difference(results, first, other, [task]) for other in others]
    told = ", ".join(f"{each.other} {_told(each)}" for each in found)
    reason = f"Worst-case accuracy of {first} on {task}, less that of others: {told}."
    return Claim(_verdict(found), reason, found)


def beats_fare(results: Sequence[TaskResult], tasks: Sequence[str], name: str = READINGS) -> Claim:
    """Judge whether an arm's lowest accuracy over some tasks is above FARE's, at no clean cost.

    Tasks that either was not attacked on are left out.
    """
    shared = [task for task in tasks if _has(results, name, task) and _has(results, FARE, task)]
    if not shared:
        return Claim(
            "not tested",
            f"No towers of {name} and {FARE} were attacked on such tasks: make them with "
            "`mm-sae align`.",
        )
    worst = difference(results, name, FARE, shared)
    each = [difference(results, name, FARE, [task]) for task in shared]
    verdict = _verdict([worst])
    if verdict == "supported" and worst.clean < -MOST_CLEAN_LOSS:
        verdict = "not supported"
    told = ", ".join(f"{one.task} {_told(one)}" for one in each)
    reason = (
        f"The lowest worst-case accuracy of {name} over {', '.join(shared)}, less that of {FARE}: "
        f"{_told(worst)}, at {worst.clean:+.3f} of clean accuracy. Task by task: {told}."
    )
    return Claim(verdict, reason, [worst, *each])


def difference(
    results: Sequence[TaskResult], one: str, other: str, tasks: Sequence[str]
) -> Difference:
    """Compare two arms over the seeds that both have; of several tasks the lowest counts."""
    ours, theirs = (_by_seed(results, name, tasks) for name in (one, other))
    seeds = sorted(ours.keys() & theirs.keys())
    assert seeds, (one, other)
    robust = np.array([ours[seed][0] - theirs[seed][0] for seed in seeds])
    clean = np.array([ours[seed][1] - theirs[seed][1] for seed in seeds])
    reach = None
    if len(seeds) > 1:
        reach = float(t.ppf(0.975, len(seeds) - 1) * robust.std(ddof=1) / len(seeds) ** 0.5)
    mean = float(robust.mean())
    return Difference(
        one,
        other,
        tasks[0] if len(tasks) == 1 else "worst task",
        len(seeds),
        mean,
        None if reach is None else mean - reach,
        None if reach is None else mean + reach,
        float(clean.mean()),
    )


def paired_tests(results: Sequence[TaskResult]) -> list[dict[str, str | int | float]]:
    """Compare every contender with the undefended encoder, image by image, task by task.

    McNemar's exact p, and the same after Holm's correction over all of them.
    """
    bare = {row.task: row for row in results if row.name == NONE}
    rows = [row for row in results if row.name != NONE and row.task in bare]
    raw = {str(i): mcnemar(row.worst, bare[row.task].worst) for i, row in enumerate(rows)}
    corrected = holm(raw) if raw else {}
    return [
        {"name": row.name, "seed": row.seed, "task": row.task, "p": raw[i], "holm": corrected[i]}
        for i, row in zip(raw, rows, strict=True)
    ]


def _by_seed(
    results: Sequence[TaskResult], name: str, tasks: Sequence[str]
) -> dict[int, tuple[float, float]]:
    """Seed to the lowest worst-case and the lowest clean accuracy over tasks."""
    rows = [row for row in results if row.name == name and row.task in tasks]
    rows.sort(key=lambda row: row.seed)
    found = {}
    for seed, group in groupby(rows, key=lambda row: row.seed):
        of_seed = list(group)
        if {row.task for row in of_seed} == set(tasks):
            found[seed] = min(r.adaptive for r in of_seed), min(r.clean for r in of_seed)
    return found


def _has(results: Sequence[TaskResult], name: str, task: str) -> bool:
    return any(row.name == name and row.task == task for row in results)


def _verdict(found: Sequence[Difference]) -> Verdict:
    """Supported where all lie above 0, not supported where one lies below, with the interval."""
    if any(each.n_seeds < LEAST_SEEDS for each in found):
        return "undecided"
    if all(each.low is not None and each.low > 0 for each in found):
        return "supported"
    if any(each.high is not None and each.high < 0 for each in found):
        return "not supported"
    return "undecided"


def _told(each: Difference) -> str:
    interval = "" if each.low is None else f" [{each.low:+.3f}, {each.high:+.3f}]"
    return f"{each.mean:+.3f}{interval} ({each.n_seeds} seed{'s' if each.n_seeds > 1 else ''})"
