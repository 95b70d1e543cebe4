"""Class counts and tests under four nulls, beside the real ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from mm_sae_plugin.applications.evaluation.latent_tests import (
    LatentTests,
    against_nulls,
    latent_tests,
)
from mm_sae_plugin.errors import UserError, check_numbers
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.features.joined import JoinedFeatures
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.compute import compute_modality
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.intervals import score_values
from mm_sae_plugin.stats.labelling import label_features, untrained_features
from mm_sae_plugin.stats.null_stores import GaussianPairs, ShuffledPairs
from mm_sae_plugin.stats.sampled import sampled_pairs
from mm_sae_plugin.stats.scores import CARRIED, PAPER_SCORE
from mm_sae_plugin.study import Study

NULLS = {
    "swapped": "the two sides of every image's pairs are exchanged by a fair coin. A score of the "
    "codes then lies about 1/2. Carried dominance reads activations, and the modality gap tells a "
    "reader which pairs were exchanged; so what is exchanged is which side is a latent's own, by "
    "one coin a latent: what is cross-modal stays so, and the rest falls to either side alike.",
    "shuffled": "the captions of every image are given to another image. Means over images and "
    "over captions stay as they are, and with them every score of the codes but the paper's, which "
    "moves a little. Carried dominance falls away: the other side says nothing of any latent, so "
    "that no latent is cross-modal and whatever can be decided belongs to its own side.",
    "untrained": "an SAE of random weights, as sparse: what architecture and activations alone "
    "give. Both sides' activations tell of random directions as far as they go together.",
    "gaussian": "activations drawn from one Gaussian with the mean and covariance of the pairs: "
    "all that is linear is kept, concepts are not. Carried dominance reads linearly, so what it "
    "hears here comes of the covariance of the two sides and of the gap between them.",
}
"""Every null, and what it means for a score of the codes and for carried dominance."""


@dataclass(frozen=True)
class NullsConfig:
    """How the nulls are drawn."""

    n_pairs: int = 16_384
    """Most pairs that the nulls and the labels beside them are computed on, as whole images drawn
    at random; p-values that need no null pairs are of the whole store."""
    repeats: int = 3
    """Times that each null is drawn, at least 1."""
    level: float = 0.05
    """False discovery rate of the tests of latents, between 0 and 1."""
    seed: int = 0
    """Of the pairs that are drawn and of every null, at least 0."""

    def __post_init__(self) -> None:
        """Refuse settings that have no meaning."""
        check_numbers(self)
        if self.n_pairs < 2:
            raise UserError(f"n_pairs must be at least 2, not {self.n_pairs}.")
        if self.repeats < 1:
            raise UserError(f"repeats must be at least 1, not {self.repeats}.")
        if not 0 < self.level < 1:
            raise UserError(f"level must lie between 0 and 1, not {self.level}.")


@dataclass(frozen=True)
class Look:
    """What one look at pairs gives."""

    as_labelled: dict[str, int]
    """Latents of every class, by the score and rule that the SAE is labelled by."""
    by_paper: dict[str, int]
    """By the paper's score and rule, whose borders follow from the scores that it sees."""
    stands: dict[str, int]
    """Latents for which each test stands that means something there."""
    mean_scores: dict[str, float | None]
    """Mean over latents alive of carried dominance and of the paper's score, where they have one;
    None where none has."""


@dataclass(frozen=True)
class Nulls:
    """Labels and tests beside their nulls."""

    cfg: NullsConfig
    """How the nulls were drawn."""
    labels: ModalityDominance
    """The labels of the SAE, on the whole store."""
    n_pairs: int
    """Pairs that the nulls were computed on."""
    n_images: int
    """Images among them."""
    real: Look
    """The same pairs as they are."""
    nulls: dict[str, list[Look]]
    """One look for each repeat of each null."""
    tests: LatentTests
    """Every latent by itself."""

    def record(self) -> dict[str, Any]:
        """Counts under every null beside the real ones, as strict JSON."""
        cfg, stats = self.labels.cfg, self.labels.statistics
        return {
            "pairs": {
                "n_pairs": self.n_pairs,
                "n_images": self.n_images,
                "store_pairs": stats.n_pairs,
                "store_images": stats.n_images,
                "sampled": self.n_pairs < stats.n_pairs,
            },
            "seed": self.cfg.seed,
            "repeats": self.cfg.repeats,
            "score": cfg.score,
            "rule": cfg.rule,
            "n_latents": self.labels.n_features,
            "n_alive": int(self.labels.alive.sum()),
            "whole_store": {
                "as_labelled": self.labels.class_counts,
                "paper": _by_paper(self.labels).class_counts,
            },
            "real": self._row([self.real]),
            "nulls": {
                name: {"meaning": NULLS[name], **self._row(looks)}
                for name, looks in self.nulls.items()
            },
            "latents": self.tests.record(),
        }

    def mean_score(self, null: str, labels: str) -> float | None:
        """Mean score under a null, over its repeats; None where it was not drawn or has none."""
        found = [look.mean_scores.get(labels) for look in self.nulls.get(null, [])]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known else None

    def columns(self) -> dict[str, np.ndarray]:
        """P-values, q-values and verdicts, one per latent."""
        return self.tests.columns()

    def _row(self, looks: list[Look]) -> dict[str, Any]:
        return {
            "as_labelled": _class_ranges([look.as_labelled for look in looks]),
            "paper": _class_ranges([look.by_paper for look in looks]),
            "stands": _ranges([look.stands for look in looks]),
        }


def run_nulls(study: Study, cfg: NullsConfig | None = None, progress: bool = False) -> Nulls:
    """Put the labels of an SAE beside four nulls, and test every latent against them.

    Parameters
    ----------
    study : Study
        A labelled SAE and its store.
    cfg : NullsConfig, optional
        How the nulls are drawn.
    progress : bool
        Show progress bars.

    Raises
    ------
    UserError
        If every latent is dead, or the store holds a single image.
    """
    pairs = cast(PairedActivations, study.store)
    return nulls_of(study.feature_map, pairs, study.labels, cfg, progress)


def nulls_of(
    feature_map: FeatureMap,
    store: PairedActivations,
    labels: ModalityDominance,
    cfg: NullsConfig | None = None,
    progress: bool = False,
) -> Nulls:
    """As :func:`run_nulls`, for any feature map; random weights are tried on SAEs only."""
    cfg = cfg or NullsConfig()
    if not labels.alive.any():
        raise UserError(
            f"All {labels.n_features} latents are dead on this store, so there is nothing to hold "
            "against a null: give more pairs, or train the SAE anew."
        )
    pairs = sampled_pairs(store, cfg.n_pairs, cfg.seed)
    found = label_features(feature_map, pairs, labels.cfg, progress=progress)
    assert found.carried is not None and found.carried.p_value is not None
    nulls: dict[str, list[Look]] = {}
    for name, look in _looks(feature_map, pairs, found, cfg, progress):
        nulls.setdefault(name, []).append(look)
    return Nulls(
        cfg=cfg,
        labels=labels,
        n_pairs=len(pairs.image_index),
        n_images=found.statistics.n_images,
        real=_look(found, cfg.level),
        nulls=nulls,
        tests=against_nulls(
            labels,
            _by_paper(labels),
            found.carried.p_value,
            _concept_sums(feature_map, store, labels, progress),
            cfg.level,
        ),
    )


def _looks(
    feature_map: FeatureMap,
    pairs: PairedActivations,
    found: ModalityDominance,
    cfg: NullsConfig,
    progress: bool,
) -> Iterator[tuple[str, Look]]:
    """Every null with a look at it, as often as is asked for."""

    def labelled(seen: FeatureMap, by: PairedActivations) -> Look:
        return _look(label_features(seen, by, found.cfg, progress=progress), cfg.level)

    # The seed of the sample is not used again.
    for seed in range(cfg.seed + 1, cfg.seed + 1 + cfg.repeats):
        swapped = compute_modality(feature_map, pairs, swap_seed=seed, progress=progress)
        yield "swapped", _swapped(found, swapped, seed, cfg.level)
        yield "shuffled", labelled(feature_map, ShuffledPairs(pairs, seed))
        if isinstance(feature_map, SAEFeatureMap):
            yield "untrained", labelled(untrained_features(feature_map, pairs, seed), pairs)
        yield "gaussian", labelled(feature_map, GaussianPairs(pairs, seed))


def _look(labels: ModalityDominance, level: float) -> Look:
    return Look(
        as_labelled=labels.class_counts,
        by_paper=_by_paper(labels).class_counts,
        stands={name: int(t.stands(level).sum()) for name, t in latent_tests(labels).items()},
        mean_scores=_mean_scores(labels),
    )


def _mean_scores(labels: ModalityDominance) -> dict[str, float | None]:
    scores = {"paper": score_values(labels.statistics, PAPER_SCORE)}
    if labels.carried is not None:
        scores["carried"] = labels.carried.scores
    known = {name: values[labels.alive & ~values.isnan()] for name, values in scores.items()}
    return {name: float(values.mean()) if len(values) else None for name, values in known.items()}


def _swapped(
    found: ModalityDominance, swapped: ModalityStatistics, seed: int, level: float
) -> Look:
    """Labels of exchanged codes; where carried dominance is classified, of exchanged sides."""
    of_codes = replace(found.cfg, score=found.cfg.code_score)
    look = _look(ModalityDominance.from_config(swapped, of_codes), level)
    # Both sides of a pair fire as they did, whichever is called the image.
    look = replace(look, stands={"swap": look.stands["swap"]})
    if found.cfg.score != CARRIED:
        return look
    return replace(look, as_labelled=_counts_of_exchanged(found.classes, seed))


def _counts_of_exchanged(classes: list[str], seed: int) -> dict[str, int]:
    other = {"ImgD": "TextD", "TextD": "ImgD"}
    coins = np.random.default_rng(seed).random(len(classes)) < 0.5
    names = [
        other.get(name, name) if coin else name for name, coin in zip(classes, coins, strict=True)
    ]
    return {name: names.count(name) for name in CLASSES}


def _by_paper(labels: ModalityDominance) -> ModalityDominance:
    """The paper's score with the paper's rule."""
    cfg = replace(labels.cfg, score=PAPER_SCORE, rule="paper")
    return ModalityDominance.from_config(labels.statistics, cfg)


def _concept_sums(
    feature_map: FeatureMap, store: PairedActivations, labels: ModalityDominance, progress: bool
) -> ModalityStatistics | None:
    """Sums of the split concepts of the labels, each firing where any of its latents does."""
    groups = [concept.latents for concept in labels.concepts.values()]
    if not groups:
        return None
    return compute_modality(JoinedFeatures(feature_map, groups), store, progress=progress)


def _class_ranges(counts: list[dict[str, int]]) -> dict[str, dict[str, float | None]]:
    """Mean and range of every class, and its mean share among latents that are not dead: under a
    null more of them may be.
    """
    alive = [sum(count.values()) - count["Dead"] for count in counts]
    shares = {
        name: float(np.mean([c[name] / max(n, 1) for c, n in zip(counts, alive, strict=True)]))
        for name in CLASSES
        if name != "Dead"
    }
    ranges = _ranges(counts)
    return {name: {**ranges[name], "share_of_alive": shares.get(name)} for name in CLASSES}


def _ranges(counts: Sequence[Mapping[str, int]]) -> dict[str, dict[str, float]]:
    """Mean and range of every count over repeats."""
    return {
        name: {
            "mean": float(np.mean([count[name] for count in counts])),
            "low": min(count[name] for count in counts),
            "high": max(count[name] for count in counts),
        }
        for name in counts[0]
    }
