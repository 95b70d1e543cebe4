"""A labelled dictionary against the truth: one row a score, as plain JSON."""

from dataclasses import asdict
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.label_truth.grid import Cell
from mm_sae_plugin.factorworld import FACTORS
from mm_sae_plugin.stats.auroc import Auroc
from mm_sae_plugin.stats.calibration import Calibration
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.intervals import score_intervals, score_values
from mm_sae_plugin.stats.score_check import ScoreCheck, check_scores
from mm_sae_plugin.stats.scores import CARRIED, SCORES
from mm_sae_plugin.stats.truth import LatentTruth

MIN_ETA2, MIN_ETA2_CONJUNCTIONS = 0.5, 0.2
"""Share of its variance that a latent's factor explains: one factor alone, or part of several."""
TOLERANCE, CONFIDENCE = 0.07, 0.95
_N_DECIMALS = 5

Scored = dict[str, tuple[Float[Tensor, "n_features"], Float[Tensor, "n_features 2"]]]


def scored_latents(dominance: ModalityDominance) -> Scored:
    """Every score of all latents by name, each with its intervals."""
    assert dominance.carried is not None, "labels from a store hold the carried dominance"
    stats = dominance.statistics
    scored = {
        name: (score_values(stats, name), score_intervals(stats, name, CONFIDENCE))
        for name in SCORES
    }
    return scored | {CARRIED: (dominance.carried.scores, dominance.carried.intervals)}


def rows_of(cell: Cell, latents: list[LatentTruth], scored: Scored) -> list[dict[str, Any]]:
    """One row a score: what the cell is, and how its latents compare with their factors.

    The keys of the row are of latents that one factor explains at least half of; under
    `conjunctions` stand the same of those that it explains at least a fifth of.
    """
    rows = []
    for score, (values, intervals) in scored.items():
        single, conjunctions = (
            _figures(
                check_scores(latents, values, intervals, FACTORS, least, TOLERANCE, CONFIDENCE)
            )
            for least in (MIN_ETA2, MIN_ETA2_CONJUNCTIONS)
        )
        rows.append({**asdict(cell), "score": score, **single, "conjunctions": conjunctions})
    return rows


def latent_columns(latents: list[LatentTruth], scored: Scored) -> dict[str, list[Any]]:
    """What every alive latent follows, with all its scores and intervals: a list a column."""
    columns: dict[str, list[Any]] = {
        name: [getattr(entry, name) for entry in latents]
        for name in ("latent", "side", "factor", "value", "modality", "dominance", "eta2")
    }
    index = [entry.latent for entry in latents]
    for score, (values, intervals) in scored.items():
        columns[score] = values[index].tolist()
        columns[f"{score}_low"], columns[f"{score}_high"] = intervals[index].T.tolist()
    return {name: [_plain(value) for value in column] for name, column in columns.items()}


def _figures(check: ScoreCheck) -> dict[str, Any]:
    return {
        "auroc": {name: _plain(contrast.value) for name, contrast in check.contrasts.items()},
        "auroc_interval": {name: _interval(c) for name, c in check.contrasts.items()},
        "n": check.n,
        "within": _plain(check.within),
        "coverage": _plain(check.coverage),
        "n_undecidable": check.n_undecidable,
        "min_eta2": check.min_eta2,
        "calibration": _calibration(check.calibration),
    }


def _interval(contrast: Auroc) -> list[float] | None:
    if contrast.low is None or contrast.high is None:
        return None
    return [_plain(contrast.low), _plain(contrast.high)]


def _calibration(calibration: Calibration) -> dict[str, Any]:
    """The summaries, and the factors that latents follow."""
    return {
        "n_graded": calibration.n_graded,
        "n_followed": calibration.n_followed,
        "share_within": _plain(calibration.share_within),
        "spearman": _plain(calibration.spearman),
        "factors": {
            row.factor: {
                "truth": _plain(row.truth),
                "n_latents": row.n_latents,
                "median": _plain(row.median),
            }
            for row in calibration.rows
            if row.n_latents
        },
    }


def _plain(value: Any) -> Any:
    """Numbers as short as they are worth; JSON has no NaN."""
    if not isinstance(value, float):
        return value
    return None if value != value else round(value, _N_DECIMALS)
