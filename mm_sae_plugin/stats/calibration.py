"""Does a score equal the known dominance of the factors that latents follow?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mm_sae_plugin.factorworld.truth import Rated, Rates


@dataclass(frozen=True)
class CalibrationRow:
    """One factor."""

    factor: str
    """Its name."""
    drawn: float
    """Probability that the image shows it."""
    said: float
    """Probability that the caption mentions it."""
    truth: float
    """Its true dominance, 0 (text) to 1 (image)."""
    graded: bool
    """Whether both sides have it, one more often than the other: only these are counted."""
    n_latents: int
    """Latents that follow it."""
    median: float | None
    """Median score of those latents; None when there are none."""
    quartiles: tuple[float, float] | None
    """First and third quartile of their scores."""
    within: bool
    """Whether the median lies within the tolerance of the truth."""

    @property
    def modality(self) -> str:
        """Its true class: `ImgD`, `CrossD` (shared) or `TextD`."""
        return Rates(self.drawn, self.said).modality


@dataclass(frozen=True)
class Calibration:
    """All factors, and two summaries over the graded ones."""

    rows: list[CalibrationRow]
    """Every factor, from text to image."""
    tolerance: float
    """Largest distance that counts as `within`."""
    n_graded: int
    """Number of graded factors, whether or not any latent follows them."""
    n_followed: int
    """Number of graded factors that at least one latent follows."""
    share_within: float | None
    """Share of the graded factors that are within; one that no latent follows is not."""
    spearman: float | None
    """Rank correlation of median and truth over the graded factors that latents follow."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def calibrate(
    scores: Float[np.ndarray, "n_features"],
    followers: Mapping[str, Sequence[int]],
    rates: Mapping[str, Rated | tuple[float, float]],
    tolerance: float = 0.07,
) -> Calibration:
    """Compare the median score of each factor's followers with the factor's true dominance.

    Parameters
    ----------
    scores : float64, 0 to 1
        A score of every latent.
    followers : mapping of factor to latents
    rates : mapping of factor to anything with known rates, or to (drawn, said)
    tolerance : float

    Raises
    ------
    UserError
        If the rates of a factor are not two probabilities, at least one of them above 0.
    """
    rows = [
        _row(name, Rates.of(known), scores[list(followers[name])], tolerance)
        for name, known in rates.items()
    ]
    rows.sort(key=lambda row: row.truth)
    graded = [row for row in rows if row.graded]
    found = [row for row in graded if row.median is not None]
    return Calibration(
        rows=rows,
        tolerance=tolerance,
        n_graded=len(graded),
        n_followed=len(found),
        share_within=sum(row.within for row in graded) / len(graded) if graded else None,
        spearman=_spearman([row.truth for row in found], [row.median or 0.0 for row in found]),
    )


def _row(
    name: str, rates: Rates, scores: Float[np.ndarray, "n"], tolerance: float
) -> CalibrationRow:
    median = float(np.median(scores)) if len(scores) else None
    quartiles = np.quantile(scores, [0.25, 0.75]).tolist() if len(scores) else None
    return CalibrationRow(
        factor=name,
        drawn=rates.drawn,
        said=rates.said,
        truth=rates.dominance,
        graded=rates.is_graded,
        n_latents=len(scores),
        median=median,
        quartiles=(quartiles[0], quartiles[1]) if quartiles else None,
        within=median is not None and abs(median - rates.dominance) <= tolerance,
    )


def _spearman(a: list[float], b: list[float]) -> float | None:
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(a, b)[0])  # type: ignore[arg-type]
