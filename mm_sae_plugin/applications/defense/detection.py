"""Detectors of adversarial images: a suspicion of each image's vector, mostly from its SAE codes.

SAEgis (arXiv 2605.07447), as we read it, ranks latents by how much more they fire on attacked
images than on clean ones, and flags an image on which the first of them fire strongly: that is
`attack latents`. Beside it stand a logistic regression on all codes, which weighs them itself, the
reconstruction error, which needs no attacked image, and the same regression on the vectors as they
are, which says whether the codes were needed at all. All have gradients, so that an attack can go
through them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.feature_map import Decodable

Score = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n"]]
"""From unit-length joint vectors to a suspicion, with gradients."""
ATTACK_LATENTS, LOGISTIC = "attack latents", "logistic"
RECONSTRUCTION_ERROR, LOGISTIC_ON_VECTORS = "reconstruction error", "logistic on vectors"
DETECTORS = (ATTACK_LATENTS, LOGISTIC, RECONSTRUCTION_ERROR, LOGISTIC_ON_VECTORS)
"""Every detector; `reconstruction error` is fitted on clean images alone."""
N_ATTACK_LATENTS = 16
"""How many latents `attack latents` adds up."""
INVERSE_PENALTY = 0.1
"""Of the logistic regressions, on features in units of the spread of all of them together."""


@dataclass(frozen=True)
class Detector:
    """A suspicion, and from where on an image is flagged."""

    name: str
    """One of ``DETECTORS``."""
    score: Score
    """In standard deviations of clean images, above their mean."""
    threshold: float
    """Images above it are flagged."""


def fit_detector(
    feature_map: Decodable,
    clean: Float[Tensor, "n d"],
    held_out: Float[Tensor, "m d"],
    attacked: Float[Tensor, "k d"] | None = None,
    name: str = LOGISTIC,
    false_positives: float = 0.05,
) -> Detector:
    """Fit a detector, and set its threshold on clean images that it was not fitted on.

    Parameters
    ----------
    feature_map : Decodable
        Of the image side of the joint space.
    clean : float
        Unit-length vectors of clean images.
    held_out : float
        Those of other clean images, for the threshold.
    attacked : float, optional
        Those of attacked images; `reconstruction error` needs none.
    name : str
        One of ``DETECTORS``.
    false_positives : float
        Share of the held-out clean images above the threshold, at most.

    Raises
    ------
    UserError
        If there is no such detector, it lacks attacked images, or there are too few held-out ones
        to tell the share.
    """
    if name not in DETECTORS:
        raise UserError(f"There is no detector {name!r:.60}: choose from {', '.join(DETECTORS)}.")
    if not 0 < false_positives < 1:
        raise UserError(
            f"The share of false positives must lie between 0 and 1, not {false_positives:g}."
        )
    if len(held_out) * false_positives < 1:
        raise UserError(
            f"{len(held_out):,} held-out images cannot tell a share of {false_positives:g}: give "
            f"at least {ceil(1 / false_positives):,}."
        )
    if name != RECONSTRUCTION_ERROR and (attacked is None or not len(attacked)):
        raise UserError(
            f"The detector {name!r} is fitted on clean and on attacked images: give both, or "
            f"choose {RECONSTRUCTION_ERROR!r}."
        )
    raw = _fitted(feature_map, clean, attacked, name)
    with torch.no_grad():
        of_clean = raw(held_out)
    mean, spread = of_clean.mean(), of_clean.std()
    # Where clean images all score alike, units are as they are.
    spread = torch.where(spread > 0, spread, 1.0)

    def score(rows: Tensor) -> Tensor:
        return (raw(rows) - mean) / spread

    standardised = (of_clean - mean) / spread
    threshold = standardised.quantile(1 - false_positives, interpolation="higher")
    return Detector(name, score, float(threshold))


def _fitted(
    feature_map: Decodable,
    clean: Float[Tensor, "n d"],
    attacked: Float[Tensor, "k d"] | None,
    name: str,
) -> Score:
    def codes(rows: Tensor) -> Tensor:
        return feature_map.encode(rows, "image").to(rows.device)

    def error(rows: Tensor) -> Tensor:
        return (rows - feature_map.decode(codes(rows), "image").to(rows)).norm(dim=1)

    if name == RECONSTRUCTION_ERROR:
        return error
    assert attacked is not None
    features = codes if name != LOGISTIC_ON_VECTORS else lambda rows: rows
    with torch.no_grad():
        of_clean, of_attacked = features(clean), features(attacked)
    weights = (_attack_latents if name == ATTACK_LATENTS else _logistic)(of_clean, of_attacked)
    return lambda rows: features(rows) @ weights


def _attack_latents(
    clean: Float[Tensor, "n f"], attacked: Float[Tensor, "k f"]
) -> Float[Tensor, "f"]:
    """Return 1 for the latents that attacks raise most, among those that they raise at all."""
    raised = attacked.mean(0) - clean.mean(0)
    most = raised.topk(min(N_ATTACK_LATENTS, len(raised))).indices
    return torch.zeros_like(raised).index_fill(0, most, 1.0) * (raised > 0)


def _logistic(clean: Float[Tensor, "n f"], attacked: Float[Tensor, "k f"]) -> Float[Tensor, "f"]:
    """Return the weights of a logistic regression; its intercept goes with the mean.

    Features are not standardised one by one: latents that seldom fire would get large weights, and
    a clean image on which one of them does would look worse than all attacked ones.
    """
    from sklearn.linear_model import LogisticRegression

    features = torch.cat([clean, attacked]).cpu().double().numpy()
    unit = features.std()
    is_attacked = [False] * len(clean) + [True] * len(attacked)
    fitted = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=1000)
    fitted.fit(features / unit, is_attacked)
    return torch.from_numpy(fitted.coef_[0] / unit).to(clean)
