"""One system of a comparison, measured: a row of the table."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.evaluation.comparison_config import ComparisonConfig
from mm_sae_plugin.engines import Engine
from mm_sae_plugin.factorworld import FACTORS
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.modality import MODALITIES
from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.interfaces import Accumulator, PairedActivations
from mm_sae_plugin.stats.labelling import is_truth_known, label_features
from mm_sae_plugin.stats.passes import Reading, run_pass
from mm_sae_plugin.stats.reconstruction import EvaluationSums
from mm_sae_plugin.stats.scores import CARRIED, PAPER_SCORE
from mm_sae_plugin.stats.splitting import SplitCheck, check_splits
from mm_sae_plugin.stats.truth import TruthSums

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Distribution:
    """How a score between 0 (text) and 1 (image) is spread over features."""

    n: int
    """Features that have the score."""
    mean: float | None
    """None where there are none."""
    quantiles: dict[str, float | None]
    """By name: `q05` to `q95`."""
    histogram: list[int]
    """Features in bins of equal width from 0 to 1."""

    @classmethod
    def of(cls, scores: Float[Tensor, "n"], n_bins: int) -> "Distribution":
        """Sum up scores; NaN counts as none."""
        values = scores[~scores.isnan()].double().numpy()
        histogram, _ = np.histogram(values, bins=n_bins, range=(0, 1))
        names = [f"q{round(100 * q):02d}" for q in _QUANTILES]
        found = np.quantile(values, _QUANTILES).tolist() if len(values) else [None] * len(names)
        return cls(
            len(values),
            float(values.mean()) if len(values) else None,
            dict(zip(names, found, strict=True)),
            histogram.tolist(),
        )


@dataclass(frozen=True)
class SystemRow:
    """What is said of one system."""

    name: str
    """What it is called."""
    model: str | None
    """The encoder whose activations its features are of; None where the store does not say."""
    n_features: int
    """Width of the codes."""
    n_alive: int
    """Features that are active for enough images to be labelled."""
    n_pairs: int
    """Pairs that it was measured on."""
    n_images: int
    """Their distinct images."""
    classes: dict[str, dict[str, int]]
    """Features of each modality class under three labels: `carried` (the config's score and rule),
    `paper_score` (the paper's score under the same rule), `paper` (the paper's score and rule)."""
    mds: Distribution
    """The paper's score over features alive."""
    carried: Distribution
    """Carried dominance over features alive of which something can be said."""
    n_partnered: int
    """Features alive that are parts of concepts split into partners, as estimated without truth."""
    explained_variance: dict[str, float | None] | None
    """By modality, at most 1; None for a system that cannot go back to activations."""
    l0: dict[str, float]
    """Mean number of active features, by modality, over pairs: an image counts once for each of its
    captions."""
    split: SplitCheck | None
    """Split rate against the truth; None where no truth is known."""
    monosemanticity: dict[str, Any] | None
    """What the callable found, if one was given."""
    seconds: dict[str, float | None]
    """What it took to `build`, `label` and `measure`; None for what was there already."""

    def record(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        plain = {
            **{n: v for n, v in asdict(self).items() if n not in ("split", "seconds")},
            "split": None if self.split is None else self.split.record(),
            "seconds": {n: None if s is None else round(s, 2) for n, s in self.seconds.items()},
        }
        return plain

    def flat(self) -> dict[str, Any]:
        """The figures that fit into one line."""
        split = None if self.split is None else self.split.record()
        variance = self.explained_variance or dict.fromkeys(MODALITIES)
        known = [s for s in self.seconds.values() if s is not None]
        return {
            "system": self.name,
            "model": self.model,
            "n_features": self.n_features,
            "n_alive": self.n_alive,
            **{f"carried_{name}": count for name, count in self.classes["carried"].items()},
            **{f"paper_{name}": count for name, count in self.classes["paper"].items()},
            "mds_mean": self.mds.mean,
            "mds_median": self.mds.quantiles["q50"],
            "ev_image": variance["image"],
            "ev_text": variance["text"],
            "l0_image": self.l0["image"],
            "l0_text": self.l0["text"],
            "split_rate": None if split is None else split["rate"],
            "split_low": None if split is None else split["interval"][0],
            "split_high": None if split is None else split["interval"][1],
            "n_followed": None if split is None else split["n_followed"],
            "n_values": None if split is None else split["n_values"],
            **{f"mono_{k}": v for k, v in (self.monosemanticity or {}).items() if _is_number(v)},
            "seconds": round(sum(known), 1),
        }


def measured(
    name: str,
    feature_map: FeatureMap,
    store: PairedActivations,
    cfg: ComparisonConfig,
    labels: ModalityDominance | None = None,
    monosemanticity: Callable[..., Mapping[str, Any]] | None = None,
    engine: Engine | None = None,
    build_seconds: float | None = None,
) -> SystemRow:
    """Label and measure one system.

    Parameters
    ----------
    name : str
        What the row is called.
    feature_map : FeatureMap
        The features.
    store : PairedActivations
        Raw activations of the model that they are of.
    cfg : ComparisonConfig
        How to label and measure.
    labels : ModalityDominance, optional
        Labels of the same map on the same store; used if they were made as `cfg` says.
    monosemanticity : callable, optional
        As in `compare`.
    engine : Engine, optional
        Where the passes run.
    build_seconds : float, optional
        What the map took to make.

    Raises
    ------
    UserError
        If the store holds no pairs, or is of another width than the map takes.
    """
    seconds: dict[str, float | None] = {"build": build_seconds, "label": None}
    started = time.perf_counter()
    if labels is None or labels.cfg != cfg.labels or labels.carried is None:
        labels = label_features(feature_map, store, cfg.labels, engine)
        seconds["label"] = time.perf_counter() - started
    started = time.perf_counter()
    sums = _sums(feature_map, store)
    taken: Mapping[str, Accumulator] = {}
    if sums:
        (taken,) = run_pass(store, [Reading(feature_map, sums)], engine)
    seconds["measure"] = time.perf_counter() - started
    monosemantic = None
    if monosemanticity is not None:
        started = time.perf_counter()
        monosemantic = dict(monosemanticity(name, feature_map, store))
        seconds["monosemanticity"] = time.perf_counter() - started
    manifest = getattr(store, "manifest", None)
    alive, statistics = labels.alive, labels.statistics
    assert labels.carried is not None
    truth = cast(TruthSums | None, taken.get("truth"))
    paper = labels.by_paper_score
    return SystemRow(
        name=name,
        model=None if manifest is None else str(manifest.model_name),
        n_features=feature_map.n_features,
        n_alive=int(alive.sum()),
        n_pairs=statistics.n_pairs,
        n_images=statistics.n_images,
        classes={
            "carried": _by_carried(labels).class_counts,
            "paper_score": paper.class_counts,
            "paper": _by_paper_rule(labels).class_counts,
        },
        mds=Distribution.of(paper.scores[alive], cfg.n_bins),
        carried=Distribution.of(labels.carried.scores[alive], cfg.n_bins),
        n_partnered=labels.n_split,
        explained_variance=_explained_variance(taken),
        l0=_l0(statistics),
        split=None if truth is None else check_splits(truth, alive, FACTORS, cfg.min_r2),
        monosemanticity=monosemantic,
        seconds=seconds,
    )


def _sums(feature_map: FeatureMap, store: PairedActivations) -> dict[str, Accumulator]:
    sums: dict[str, Accumulator] = {}
    if hasattr(feature_map, "decode"):
        sums["evaluation"] = EvaluationSums()
    source = getattr(getattr(store, "manifest", None), "source", "")
    if is_truth_known(store, source):
        sums["truth"] = TruthSums.of(store, FACTORS, feature_map.n_features)
    return sums


def _by_carried(labels: ModalityDominance) -> ModalityDominance:
    cfg = replace(labels.cfg, score=CARRIED)
    return ModalityDominance.from_config(labels.statistics, cfg, labels.carried)


def _by_paper_rule(labels: ModalityDominance) -> ModalityDominance:
    cfg = replace(labels.cfg, score=PAPER_SCORE, rule="paper")
    return ModalityDominance.from_config(labels.statistics, cfg, labels.carried)


def _explained_variance(taken: Mapping[str, Accumulator]) -> dict[str, float | None] | None:
    if "evaluation" not in taken:
        return None
    evaluation = cast(EvaluationSums, taken["evaluation"]).evaluation()
    return {
        modality: None if value != value else value
        for modality, value in evaluation.explained_variance.items()
    }


def _l0(statistics: ModalityStatistics) -> dict[str, float]:
    n = max(statistics.n_pairs, 1)
    return {m: float(statistics.channel(f"fires_{m}").sum()) / n for m in MODALITIES}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
