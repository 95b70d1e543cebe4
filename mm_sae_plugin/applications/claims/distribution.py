"""Claims on how scores are distributed: C1, towards images; C2, further apart in another model.

Latents are a sample of what a dictionary might hold. Halves of one concept are not two facts, so
they are resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mm_sae_plugin.applications.claims.claim import Finding, Labels, judged, told
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.intervals import score_values
from mm_sae_plugin.stats.scores import PAPER_SCORE

LEAST = 0.02
"""Of a score between 0 and 1: a skew or a spread below it is none."""
LEAST_LATENTS = 20
"""Latents with a score that a verdict needs."""
_N_RESAMPLES = 2_000


@dataclass(frozen=True)
class Scored:
    """Scores of the latents alive of one dictionary."""

    model: str
    scores: Float[np.ndarray, "n"]
    """0 all text, 1 all image; never NaN."""
    concept: Int[np.ndarray, "n"]
    """Latents of one number are resampled together."""

    @classmethod
    def of(cls, model: str, dominance: ModalityDominance, labels: Labels) -> Scored:
        """Take the carried scores, or the paper's.

        Parameters
        ----------
        model : str
            Name of the encoder.
        dominance : ModalityDominance
            Labels of a store, carried dominance included.
        labels : str
            `carried` or `paper`.
        """
        assert dominance.carried is not None, "labels of a store hold the carried dominance"
        by_carried = labels == "carried"
        scores = (
            dominance.carried.scores
            if by_carried
            else score_values(dominance.statistics, PAPER_SCORE)
        )
        counted = (dominance.alive & ~scores.isnan()).numpy()
        return cls(model, scores.numpy()[counted], dominance.carried.concept.numpy()[counted])


def claim_c1(trained: Scored, untrained: float | None, labels: Labels, seed: int = 0) -> Finding:
    """Judge whether scores are skewed towards images.

    The mean score less 1/2 is what is judged; swapped within pairs it is 0. An untrained SAE of
    the same shape says how much of it the activations alone bring.

    Parameters
    ----------
    trained : Scored
    untrained : float, optional
        Mean score of an SAE with random weights.
    labels : str
        Whose scores they are.
    seed : int
        Of the resamples.
    """
    too_few = _too_few("C1", labels, [trained])
    if too_few is not None:
        return too_few
    value = float(trained.scores.mean() - 0.5)
    low, high = _interval(_resampled_means(trained, trained.scores, seed) - 0.5)
    null = None if untrained is None else untrained - 0.5
    beside = "" if null is None else f"; of an untrained SAE {told(null)}"
    reason = (
        f"The mean {labels} score of {len(trained.scores)} latents lies {told(value)} "
        f"[{told(low)}, {told(high)}] from the middle, above 0 towards images{beside}."
    )
    verdict = judged(low, high, LEAST)
    if verdict == "supported" and null is not None and null >= low:
        verdict, reason = (
            "undecided",
            f"{reason} The SAE adds nothing to what an untrained one has.",
        )
    return Finding(
        "C1", labels, trained.model, verdict, reason, value, low, high, null, len(trained.scores)
    )


def claim_c2(plain: Scored, supervised: Scored, labels: Labels, seed: int = 0) -> Finding:
    """Judge whether a model trained with self-supervision has latents further from the middle.

    What is judged is the difference of the means of |2 score − 1|: 0 for cross-modal latents
    alone, 1 for latents of one modality alone.

    Parameters
    ----------
    plain, supervised : Scored
        Dictionaries of the same shape, of the two models.
    labels : str
        Whose scores they are.
    seed : int
        Of the resamples.
    """
    too_few = _too_few("C2", labels, [plain, supervised])
    if too_few is not None:
        return too_few
    of_plain, of_other = _apart(plain), _apart(supervised)
    value = float(of_other.mean() - of_plain.mean())
    resampled = _resampled_means(supervised, of_other, seed) - _resampled_means(
        plain, of_plain, seed + 1
    )
    low, high = _interval(resampled)
    reason = (
        f"|2 score − 1|, by {labels} scores, is {of_other.mean():.3f} in {supervised.model} and "
        f"{of_plain.mean():.3f} in {plain.model}: "
        f"{told(value)} [{told(low)}, {told(high)}]."
    )
    models = f"{supervised.model} against {plain.model}"
    n = len(plain.scores) + len(supervised.scores)
    return Finding("C2", labels, models, judged(low, high, LEAST), reason, value, low, high, 0.0, n)


def _apart(scored: Scored) -> Float[np.ndarray, "n"]:
    return np.abs(2 * scored.scores - 1)


def _too_few(claim: str, labels: Labels, given: Sequence[Scored]) -> Finding | None:
    for scored in given:
        if len(scored.scores) < LEAST_LATENTS:
            reason = (
                f"{len(scored.scores)} latents of {scored.model} have a {labels} score, and a "
                f"verdict needs {LEAST_LATENTS}."
            )
            return Finding(claim, labels, scored.model, "undecided", reason, n=len(scored.scores))
    return None


def _resampled_means(
    scored: Scored, values: Float[np.ndarray, "n"], seed: int
) -> Float[np.ndarray, "n_resamples"]:
    _, cluster = np.unique(scored.concept, return_inverse=True)
    n = int(cluster.max()) + 1
    sums, sizes = np.bincount(cluster, values, n), np.bincount(cluster, minlength=n)
    drawn = np.random.default_rng(seed).integers(0, n, (_N_RESAMPLES, n))
    return sums[drawn].sum(1) / sizes[drawn].sum(1)


def _interval(resampled: Float[np.ndarray, "n_resamples"]) -> tuple[float, float]:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return float(low), float(high)
