"""What the removals say of the paper's claim C4.

Yan et al. 2025 (arXiv 2502.14888) say that removing CrossD features hurts a downstream task least,
which is odd for features that both modalities share. A class may cost little because it is small:
so the claim is judged per class as the paper does, and per latent and per unit of energy, too. What
is least also depends on what is asked: zero-shot, all factors that images show and captions say
count alike, whatever their kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mm_sae_plugin.applications.causal.arms import CLASSES
from mm_sae_plugin.applications.causal.costs import CostRow
from mm_sae_plugin.applications.causal.resampling import Estimate
from mm_sae_plugin.applications.verdict import Verdict

CLAIMED = "CrossD"
"""The class that is said to cost least."""
PER = ("class", "latent", "energy")
"""What the claim is judged per."""
# Of one latent the cost is a few thousandths.
_SHOWN = {
    "class": ("", 1),
    "latent": (" per 100 latents", 100),
    "energy": (" per unit of energy", 1),
}


@dataclass(frozen=True)
class TaskVerdict:
    """The claim on one task."""

    task: str
    """``retrieval`` or ``zero_shot``."""
    verdict: Verdict
    """Of this task."""
    costs: dict[str, Estimate]
    """Class to its cost."""
    differences: dict[str, Estimate]
    """Each other class to its cost less that of CrossD: above 0 as the claim has it. Two are
    looked at together, so each interval is at half the level."""

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "task": self.task,
            "verdict": self.verdict,
            "costs": {name: one.record() for name, one in self.costs.items()},
            "differences": {name: one.record() for name, one in self.differences.items()},
        }


@dataclass(frozen=True)
class Claim:
    """The verdict for one way to label and one way to count."""

    labels: str
    """Score that the classes come from."""
    per: str
    """``class``, ``latent`` or ``energy``."""
    verdict: Verdict
    """*Supported* where it is on every task, *not supported* where it is not on any, in the sense
    of a difference that goes the other way; else *undecided*."""
    reason: str
    """One sentence with the figures."""
    tasks: list[TaskVerdict]
    """Task by task; empty where a class has no latents."""

    def record(self) -> dict[str, Any]:
        """Return the claim as plain JSON."""
        return asdict(self) | {"tasks": [one.record() for one in self.tasks]}


def claim_c4(
    rows: Sequence[CostRow], confidence: float, n_images: int, labels: dict[str, str]
) -> list[Claim]:
    """Judge the claim per class, per latent and per unit of energy.

    On a task it is *supported* where ImgD and TextD both cost more than CrossD with the whole
    interval of the difference, *not supported* where one of them costs less, else *undecided*.
    Latents are removed from images and texts both.

    Parameters
    ----------
    rows : sequence of CostRow
        As :func:`~mm_sae_plugin.applications.causal.costs.cost_rows` gives them.
    confidence : float
        Of the verdict on a task: each of the two differences gets half the level.
    n_images : int
        Images of the gallery, for the reason.
    labels : dict of str to str
        End of the names of the sets ("" or " (paper)") to the score they are labelled by.
    """
    by_name = {row.name: row for row in rows if row.side == "both"}
    return [
        _claim(by_name, suffix, score, per, confidence, n_images)
        for suffix, score in labels.items()
        for per in PER
    ]


def _claim(
    rows: dict[str, CostRow], suffix: str, score: str, per: str, confidence: float, n_images: int
) -> Claim:
    found = {name: rows.get(f"{name}{suffix}") for name in CLASSES}
    lacking = [name for name, row in found.items() if row is None]
    if lacking:
        reason = f"No latent is labelled {' or '.join(lacking)} by {score}: nothing to compare."
        return Claim(score, per, "undecided", reason, [])
    chosen = {name: row for name, row in found.items() if row is not None}
    tasks = [_on_task(chosen, task, per, confidence) for task in chosen[CLAIMED].costs]
    verdicts = {one.verdict for one in tasks}
    verdict: Verdict = "undecided"
    if verdicts == {"supported"}:
        verdict = "supported"
    elif "not supported" in verdicts:
        verdict = "not supported"
    numbers = ", ".join(f"{name} {row.n_latents}" for name, row in chosen.items())
    told = "; ".join(_told(one, per) for one in tasks)
    reason = f"Over {n_images} images, latents removed on both sides ({numbers}): {told}."
    return Claim(score, per, verdict, reason, tasks)


def _on_task(rows: dict[str, CostRow], task: str, per: str, confidence: float) -> TaskVerdict:
    drawn = {name: row.drawn[task][per] for name, row in rows.items()}
    # Two differences are looked at together.
    each = 1 - (1 - confidence) / 2
    differences = {
        name: Estimate.of(cost - drawn[CLAIMED], each)
        for name, cost in drawn.items()
        if name != CLAIMED
    }
    costs = {name: row.costs[task][per] for name, row in rows.items()}
    return TaskVerdict(task, _verdict(list(differences.values())), costs, differences)


def _verdict(differences: Sequence[Estimate]) -> Verdict:
    # What removes no energy has no cost per unit of it.
    lows = [one.low for one in differences if one.low is not None]
    highs = [one.high for one in differences if one.high is not None]
    if len(lows) == len(differences) and min(lows) > 0:
        return "supported"
    if highs and min(highs) < 0:
        return "not supported"
    return "undecided"


def _told(task: TaskVerdict, per: str) -> str:
    shown, times = _SHOWN[per]
    costs = [f"{_number(one, times)} without {name}" for name, one in task.costs.items()]
    return f"{task.task.replace('_', '-')} falls by {', '.join(costs)}{shown} ({task.verdict})"


def _number(one: Estimate, times: int) -> str:
    if one.value is None or one.low is None or one.high is None:
        return "an unknown amount"
    value, low, high = (times * end for end in (one.value, one.low, one.high))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
