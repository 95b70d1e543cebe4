"""Any score with intervals against the dominance of the factors that latents follow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.factorworld.truth import Rated, Rates
from mm_sae_plugin.stats.auroc import Auroc
from mm_sae_plugin.stats.calibration import Calibration, calibrate
from mm_sae_plugin.stats.truth import LatentTruth, contrasts


@dataclass(frozen=True)
class ScoreCheck:
    """One score of the latents that follow a factor; those without a score are only counted."""

    min_eta2: float
    """Share of a latent's variance that its factor explains at least."""
    n_following: int
    """Latents that follow a factor."""
    n_undecidable: int
    """Those of them for which the score says nothing (NaN); left out of all below."""
    n: dict[str, int]
    """Scored latents by the true class of their factor: `ImgD`, `CrossD`, `TextD`."""
    contrasts: dict[str, Auroc]
    """`ImgD_vs_TextD`, `ImgD_vs_shared`, `TextD_vs_shared`: 1 is perfect order, 1/2 is chance."""
    within: float | None
    """Share of the scored latents within the tolerance of their factor's true dominance."""
    coverage: float | None
    """Share of the scored latents whose interval holds their factor's true dominance."""
    calibration: Calibration
    """Median score and true dominance, factor by factor."""


def check_scores(
    latents: Iterable[LatentTruth],
    scores: Float[Tensor, "n_features"],
    intervals: Float[Tensor, "n_features 2"],
    factors: Mapping[str, Rated | tuple[float, float]],
    min_eta2: float = 0.5,
    tolerance: float = 0.07,
    confidence: float = 0.95,
) -> ScoreCheck:
    """Compare a score of every latent with the known rates of the factor that it follows.

    Parameters
    ----------
    latents : iterable of LatentTruth
        What each alive latent follows, as a `TruthCheck` holds it.
    scores : float64, 0 all text to 1 all image
        NaN where nothing can be said.
    intervals : float64
        Low and high end of each score.
    factors : mapping of name to `Factor` or (drawn, said)
        The known rates.
    min_eta2 : float
        A latent follows a factor when the factor explains at least this share of its variance.
    tolerance : float
        Largest distance from the true dominance that counts as `within`.
    confidence : float
        Of the intervals of the contrasts.
    """
    rates = {name: Rates.of(factor) for name, factor in factors.items()}
    following = [entry for entry in latents if entry.eta2 >= min_eta2]
    scored = [entry for entry in following if not torch.isnan(scores[entry.latent])]
    index = [entry.latent for entry in scored]
    truth = torch.tensor([entry.dominance for entry in scored], dtype=torch.float64)
    near = (scores[index] - truth).abs() <= tolerance
    held = (intervals[index, 0] <= truth) & (truth <= intervals[index, 1])
    followers = {name: [entry.latent for entry in scored if entry.factor == name] for name in rates}
    return ScoreCheck(
        min_eta2=min_eta2,
        n_following=len(following),
        n_undecidable=len(following) - len(scored),
        n={
            modality: sum(entry.modality == modality for entry in scored)
            for modality in ("ImgD", "CrossD", "TextD")
        },
        contrasts=contrasts(scored, scores, confidence),
        within=float(near.double().mean()) if scored else None,
        coverage=float(held.double().mean()) if scored else None,
        calibration=calibrate(scores.numpy(), followers, rates, tolerance),
    )
