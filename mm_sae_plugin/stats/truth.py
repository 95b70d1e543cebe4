"""Check modality scores against a world whose factors have known rates.

A latent that follows a factor equally strongly on both sides fires on the image side as often as
the factor is drawn and on the text side as often as it is said. `ratio_of_means` and `frequency`
then have the expectation drawn / (drawn + said) and can be calibrated. `mean_of_ratios` cannot in
general: pairs in which both sides are active count 1/2 there, which pulls a graded factor away
(rates 1 and 0.4 give 0.8 instead of 0.71). So calibration is always that of a named score.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.engines import Engine
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.truth import (
    Rated,
    Rates,
    drawn_label,
    factor_labels,
    said_label,
)
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.stats.auroc import Auroc, auroc
from mm_sae_plugin.stats.calibration import Calibration, calibrate
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.interfaces import CodedPairs, PairedActivations, state_of_sides
from mm_sae_plugin.stats.intervals import score_values
from mm_sae_plugin.stats.label_sums import LabelSums, LabelTable
from mm_sae_plugin.stats.passes import Reading, run_pass
from mm_sae_plugin.stats.scores import CARRIED, SCORES, LabelScore


@dataclass(frozen=True)
class LatentTruth:
    """What one alive latent follows."""

    latent: int
    """Index of the latent."""
    side: str
    """`image` or `text`: the side on which it is more active."""
    factor: str
    """The factor that explains most of its code's variance there."""
    value: str
    """The factor's value at which it is most active; empty: where the factor is absent."""
    eta2: float
    """Correlation ratio: share of the variance explained, 0 to 1."""
    follows: bool
    """Whether `eta2` reaches the threshold; only such latents are counted below."""
    dominance: float
    """The factor's true dominance, drawn / (drawn + said)."""
    modality: str
    """The factor's true class: `ImgD`, `CrossD` (shared) or `TextD`."""


@dataclass(frozen=True)
class TruthCheck:
    """Scores against truth."""

    latents: list[LatentTruth]
    """Every alive latent, in ascending order."""
    score: LabelScore
    """The score that the classes come from."""
    min_eta2: float
    """Threshold of `follows`."""
    contrasts_by_score: dict[str, dict[str, Auroc]]
    """For every score that was taken: `ImgD_vs_TextD`, `ImgD_vs_shared`, `TextD_vs_shared`; 1 is
    perfect order, 1/2 is chance."""
    calibrations: dict[str, Calibration]
    """For every score that was taken: does a factor's median score equal its true dominance?"""
    calibration_score: LabelScore
    """The score whose calibration is the claim."""

    @property
    def contrasts(self) -> dict[str, Auroc]:
        """The contrasts of `score`."""
        return self.contrasts_by_score[self.score]

    @property
    def calibration(self) -> Calibration:
        """The calibration of `calibration_score`."""
        return self.calibrations[self.calibration_score]

    def by_latent(self) -> dict[int, LatentTruth]:
        """Latents that follow a factor, by index."""
        return {entry.latent: entry for entry in self.latents if entry.follows}

    def to_dict(self) -> dict[str, Any]:
        """Contrasts and calibrations as plain JSON, without the list of latents."""
        return {
            "score": self.score,
            "min_eta2": self.min_eta2,
            "n_alive": len(self.latents),
            "n_following": sum(entry.follows for entry in self.latents),
            "contrasts": {
                score: {name: asdict(value) for name, value in results.items()}
                for score, results in self.contrasts_by_score.items()
            },
            "calibration_score": self.calibration_score,
            "calibration": {name: c.to_dict() for name, c in self.calibrations.items()},
        }


class TruthSums:
    """An accumulator of all that a truth check asks of a feature map.

    Parameters
    ----------
    drawn, said : LabelTable
        What each pair's image shows and what its caption says, by factor.
    n_features : int
        Number of latents.
    """

    def __init__(self, drawn: LabelTable, said: LabelTable, n_features: int) -> None:
        self.image, self.text = LabelSums(drawn, n_features), LabelSums(said, n_features)
        self.n_features = n_features

    @classmethod
    def of(cls, store: PairedActivations, factors: Iterable[str], n_features: int) -> "TruthSums":
        """An empty accumulator for a store.

        Raises
        ------
        UserError
            If the store's labels are not those of known factors.
        """
        names = list(factors)
        missing = [label for label in factor_labels(names) if label not in store.labels]
        if missing:
            raise UserError(
                f"The store has no label {missing[0]!r}, so there is no truth to check against; "
                "labels of known factors come with `factorworld:N` pairs."
            )
        drawn, said = (
            LabelTable({name: store.labels[label_of(name)] for name in names})
            for label_of in (drawn_label, said_label)
        )
        return cls(drawn, said, n_features)

    def empty(self) -> "TruthSums":
        """An accumulator for the same store that has seen nothing."""
        return TruthSums(self.image.table, self.text.table, self.n_features)

    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass."""
        rows = pairs.rows.pair_index
        self.image.add(pairs.codes_image, pairs.active["image"], rows)
        self.text.add(pairs.codes_text, pairs.active["text"], rows)

    def merge(self, other: "TruthSums") -> "TruthSums":
        """Add the sums of other pairs; return `self`."""
        self.image.merge(other.image)
        self.text.merge(other.text)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The sums of both sides."""
        return state_of_sides({"image": self.image, "text": self.text})


def truth_check(
    feature_map: FeatureMap,
    store: PairedActivations,
    dominance: ModalityDominance,
    factors: Mapping[str, Rated | tuple[float, float]],
    min_eta2: float = 0.2,
    calibration_score: LabelScore = "ratio_of_means",
    tolerance: float = 0.07,
    engine: Engine | None = None,
) -> TruthCheck:
    """Take a pass over a store and check its latents; see :func:`check_sums`.

    Raises
    ------
    UserError
        If the store's labels are not those of known factors.
    """
    sums = TruthSums.of(store, factors, feature_map.n_features)
    (taken,) = run_pass(store, [Reading(feature_map, {"truth": sums})], engine)
    filled = taken["truth"]
    assert isinstance(filled, TruthSums)
    return check_sums(filled, dominance, factors, min_eta2, calibration_score, tolerance)


def check_sums(
    sums: TruthSums,
    dominance: ModalityDominance,
    factors: Mapping[str, Rated | tuple[float, float]],
    min_eta2: float = 0.2,
    calibration_score: LabelScore = "ratio_of_means",
    tolerance: float = 0.07,
) -> TruthCheck:
    """Compare every alive latent's score with the rates of the factor that it follows.

    Parameters
    ----------
    sums : TruthSums
        Of the pass that `dominance` was computed from, or one just like it.
    dominance : ModalityDominance
        Scores and classes; its score ranks the contrasts.
    factors : mapping of name to `Factor` or (drawn, said)
        The known rates.
    min_eta2 : float
        A latent follows a factor when the factor explains at least this share of its variance; a
        latent for a conjunction of two factors follows neither.
    calibration_score : str
        The score whose calibration is reported first.
    tolerance : float
        Largest distance of a factor's median score from its true dominance.
    """
    rates = {name: Rates.of(factor) for name, factor in factors.items()}
    image_sums, text_sums = sums.image, sums.text
    image_total, text_total = dominance.statistics.sides("ratio_of_means")
    eta2_image = torch.stack([image_sums.correlation_ratio(name) for name in rates])
    eta2_text = torch.stack([text_sums.correlation_ratio(name) for name in rates])
    names = list(rates)
    latents = []
    for latent in dominance.alive.nonzero()[:, 0].tolist():
        on_image = bool(image_total[latent] >= text_total[latent])
        eta2 = (eta2_image if on_image else eta2_text)[:, latent]
        factor = names[int(eta2.argmax())]
        latents.append(
            LatentTruth(
                latent=latent,
                side="image" if on_image else "text",
                factor=factor,
                value=(image_sums if on_image else text_sums).top_value(factor, latent),
                eta2=float(eta2.max()),
                follows=float(eta2.max()) >= min_eta2,
                dominance=rates[factor].dominance,
                modality=rates[factor].modality,
            )
        )
    following = [entry for entry in latents if entry.follows]
    return TruthCheck(
        latents=latents,
        score=dominance.cfg.score,
        min_eta2=min_eta2,
        contrasts_by_score={
            score: contrasts(following, values, dominance.cfg.confidence)
            for score, values in _values(dominance).items()
        },
        calibrations={
            score: calibrate(
                values.numpy(),
                {
                    name: [
                        e.latent
                        for e in following
                        if e.factor == name and not values[e.latent].isnan()
                    ]
                    for name in rates
                },
                rates,
                tolerance,
            )
            for score, values in _values(dominance).items()
        },
        calibration_score=calibration_score,
    )


def _values(dominance: ModalityDominance) -> dict[str, Float[Tensor, "n_features"]]:
    """Every score that is known of the latents."""
    values = {score: score_values(dominance.statistics, score) for score in SCORES}
    if dominance.carried is not None:
        values[CARRIED] = dominance.carried.scores
    return values


def contrasts(
    following: Iterable[LatentTruth], scores: Float[Tensor, "n_features"], confidence: float
) -> dict[str, Auroc]:
    """Tell apart what images, both sides and captions dominate; latents without a score count not.

    Parameters
    ----------
    following : iterable of LatentTruth
        The latents to compare.
    scores : float64, 0 all text to 1 all image
        Of all latents; NaN where there is none.
    confidence : float
        Of the intervals, between 0 and 1.
    """
    scored = [(e.modality, float(scores[e.latent])) for e in following]
    groups = {
        modality: np.array([score for m, score in scored if m == modality and score == score])
        for modality in ("ImgD", "CrossD", "TextD")
    }
    return {
        "ImgD_vs_TextD": auroc(groups["ImgD"], groups["TextD"], confidence),
        "ImgD_vs_shared": auroc(groups["ImgD"], groups["CrossD"], confidence),
        # Text is at the low end, so that the right order is again 1.
        "TextD_vs_shared": auroc(-groups["TextD"], -groups["CrossD"], confidence),
    }
