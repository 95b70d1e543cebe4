"""Does a set of gaps follow a stated direction? The one test that speaks of a learned association.

Some gap in every prompt is certain in any trained model, and more images only make it surer. What a
learned association adds is that the gaps of many targets go the way that was stated beforehand. So
the gaps are compared with themselves under every other way of stating as many directions (an
assignment permutation, as for the word lists of Caliskan et al. 2017, arXiv 1608.07187).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mm_sae_plugin.applications.bias.assignments import Assignments
from mm_sae_plugin.errors import UserError

LEVEL = 0.05
"""Of the test."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class DirectionTest:
    """How far gaps follow the direction that was stated for each target."""

    signed: float
    """Half the difference of the mean gaps of targets stated for the first group and of those
    stated for the second, in the gaps' unit. An offset that all gaps share drops out."""
    n_following: int
    """Targets whose gap, less the mean of all, goes the stated way."""
    n_targets: int
    """Targets with a stated direction."""
    p: float
    """Share of all assignments with as many targets on each side that are at least as far."""
    floor: float
    """The least p that so many targets can have: one over the number of assignments."""

    @property
    def verdict(self) -> str:
        """One sentence: the only one that speaks of a learned association."""
        # A minus that is as wide as the plus, as tables and figures have it.
        signed = f"{self.signed:+.2f}".replace("-", "−")
        told = (
            f"{self.n_following} of {self.n_targets} targets go that way, by {signed} on "
            f"average (p {self.p:.3f}, where the least possible is {self.floor:.3f})."
        )
        if self.floor > LEVEL:
            return (
                "Whether the gaps follow the stated direction cannot be told of so few targets: "
                f"{told} State it for three or more on either side."
            )
        follows = "follow" if self.p <= LEVEL else "do not follow"
        return f"The gaps {follows} the stated direction: {told}"


def direction_test(
    gaps: Mapping[str, float], direction: Mapping[str, int], seed: int = 0
) -> DirectionTest:
    """Test gaps against a direction that was stated before they were measured.

    Parameters
    ----------
    gaps : mapping of str to float
        Target to the gap of the first group over the second.
    direction : mapping of str to int
        Target to +1 where it is stated for the first group, -1 for the second.
    seed : int
        Of the assignments, where there are too many (over 20,000) to go through them all.

    Raises
    ------
    UserError
        If a target has no gap, a direction is not +1 or -1, or all go one way.
    """
    missing = [target for target in direction if target not in gaps]
    if missing:
        raise UserError(
            f"A direction is stated for {missing[0]!r:.60}, which has no gap: choose from "
            f"{', '.join(gaps)}."
        )
    if set(direction.values()) != {1, -1}:
        raise UserError(
            "The direction test needs targets stated for either group, +1 and -1: state both."
        )
    targets = sorted(direction)
    values = np.array([gaps[target] for target in targets])
    stated = np.array([direction[target] for target in targets])
    first = stated == 1
    assignments = Assignments(len(targets), int(first.sum()), seed)
    signed = _signed(values, first)
    reached = sum(_signed(values, chosen) >= signed - _ROUNDING for chosen in assignments)
    follows = np.sign(values - values.mean()) == stated
    p = assignments.p(reached)
    return DirectionTest(signed, int(follows.sum()), len(targets), p, assignments.floor)


def signed_gap(gaps: Mapping[str, float], direction: Mapping[str, int]) -> float:
    """Return the statistic of :func:`direction_test` alone."""
    values = np.array([gaps[target] for target in direction])
    return _signed(values, np.array(list(direction.values())) == 1)


def _signed(values: np.ndarray, first: np.ndarray) -> float:
    return float(values[first].mean() - values[~first].mean()) / 2
