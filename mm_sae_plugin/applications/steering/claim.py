"""What the readings say of the paper's claim on steering.

Yan et al. 2025 say that in text-to-image generation text-dominant features carry high-level
semantics, and that image-dominant ones preserve the visual detail of the reference. Put so that it
can fail: as vectors move further, `TextD` gains more control than `ImgD`, and `ImgD` gains more of
the reference's detail than `TextD`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import t

from mm_sae_plugin.applications.steering.evaluation import UNMOVED, Reading
from mm_sae_plugin.applications.verdict import Verdict
from mm_sae_plugin.errors import UserError

Measure = Literal["control", "kept"]
LEAST_DIFFERENCE = 0.05
"""Difference of slopes below which one class has no advantage: five points over a whole |e|."""
LEAST_CASES = 6
"""Cases that a firm verdict needs: where fewer agree, chance alone makes them agree more often than
once in twenty (a sign test of n cases that are all on one side has p = 2 · 0.5ⁿ, .031 for six).
Student's interval does not see that: it has no width where a few cases happen to be alike."""


@dataclass(frozen=True)
class Slope:
    """How much a share rises for each unit of |Δe| / |e|."""

    value: float
    low: float
    """Lower end of the 95% interval over cases."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Claim:
    """The verdict, and what it rests on."""

    verdict: Verdict
    reason: str
    """One sentence with the figures."""
    control: Slope
    """Slope of the control of `TextD` less that of `ImgD`."""
    kept: Slope
    """Slope of what `ImgD` keeps of the reference less that of `TextD`."""


def slopes(
    readings: Sequence[Reading], name: str, measure: Measure
) -> Float[np.ndarray, "n_cases"]:
    """Return each case's least-squares slope of a measure over strengths, the unmoved at 0.

    Raises
    ------
    UserError
        If no arm has that name.
    """
    chosen = [reading for reading in readings if reading.name in (UNMOVED, name)]
    if {reading.name for reading in chosen} != {UNMOVED, name}:
        known = ", ".join(dict.fromkeys(reading.name for reading in readings))
        raise UserError(f"There is no arm {name!r}: choose of {known}.")
    strengths = np.array([reading.strength for reading in chosen])
    values = np.stack([getattr(reading, measure) for reading in chosen])
    centred = strengths - strengths.mean()
    return centred @ values / (centred**2).sum()


def slope(per_case: Float[np.ndarray, "n_cases"]) -> Slope:
    """Return the mean slope with its interval over cases (Student's t)."""
    mean, n = float(per_case.mean()), len(per_case)
    reach = float(t.ppf(0.975, n - 1) * per_case.std(ddof=1) / n**0.5) if n > 1 else np.inf
    return Slope(mean, mean - reach, mean + reach)


def claim_c6(readings: Sequence[Reading], labels: str = "") -> Claim:
    """Judge the claim, for the classes of the labels' own score or of the paper's.

    Parameters
    ----------
    readings : sequence of Reading
    labels : str
        `" (paper)"` for the paper's labels.

    Returns
    -------
    Claim
        *Supported* where both differences of slopes lie above 0 with their whole intervals, *not
        supported* where one of them lies below ``LEAST_DIFFERENCE`` with its whole interval, else
        *undecided*, as it always is with fewer cases than ``LEAST_CASES``.
    """

    def difference(measure: Measure, more: str, less: str) -> Slope:
        first, second = (slopes(readings, f"{name}{labels}", measure) for name in (more, less))
        return slope(first - second)

    control = difference("control", "TextD", "ImgD")
    kept = difference("kept", "ImgD", "TextD")
    verdict: Verdict = "undecided"
    n_cases = len(readings[0].control)
    # With enough cases an interval of no width may stand: shares are counted, so that all cases can
    # be alike, and that many do not agree by chance.
    are_enough = n_cases >= LEAST_CASES
    if are_enough and min(control.low, kept.low) > 0:
        verdict = "supported"
    elif are_enough and min(control.high, kept.high) < LEAST_DIFFERENCE:
        verdict = "not supported"
    reason = (
        f"For each unit of |Δe| / |e| the control of TextD rises by {_told(control)} more than "
        f"that of ImgD, and what ImgD keeps of the reference by {_told(kept)} more than TextD."
    )
    if not are_enough:
        reason += f" {n_cases} cases are too few for a verdict: {LEAST_CASES} are the least."
    if any(reading.name == f"CrossD{labels}" for reading in readings):
        shared = (slope(slopes(readings, f"CrossD{labels}", m)) for m in ("control", "kept"))
        reason += " CrossD gains {} of control and {} of what is kept.".format(*map(_told, shared))
    return Claim(verdict, reason, control, kept)


def _told(found: Slope) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
