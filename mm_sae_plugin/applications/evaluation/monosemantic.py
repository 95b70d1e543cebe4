"""`run_monosemanticity`: how monosemantic the features of any map are, beside their numbers.

Claim C3 of Yan et al. 2025 says that the features of an SAE are more monosemantic than the raw
dimensions of the model; `compare` puts two maps side by side on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Bool, Float

from mm_sae_plugin.applications.evaluation.judges import embed_for
from mm_sae_plugin.applications.evaluation.monosemantic_config import MonosemanticityConfig
from mm_sae_plugin.engines import Engine
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.modality import MODALITIES, Modality
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.stats.examples import ExampleRows
from mm_sae_plugin.stats.interfaces import Accumulator, PairedActivations
from mm_sae_plugin.stats.monosemanticity.cross import CrossSums
from mm_sae_plugin.stats.monosemanticity.embedded import EmbeddedPairs, EmbeddedRows
from mm_sae_plugin.stats.monosemanticity.estimate import Estimate, Interval, mean_interval
from mm_sae_plugin.stats.monosemanticity.pairwise import PairwiseSums
from mm_sae_plugin.stats.monosemanticity.top import top_similarity
from mm_sae_plugin.stats.passes import Reading, run_pass

if TYPE_CHECKING:
    from mm_sae_plugin.activations import ActivationStore

_CROSS = "cross"
_EXAMPLES = "examples"


@dataclass(frozen=True)
class Measure:
    """One measure of one modality, for every feature."""

    name: str
    """`ms`, `embsim` or `winrate`."""
    side: str
    """`image`, `text`, or `cross` for what fires on both."""
    n_top: int | None
    """Strongest samples compared; None for the score, which takes all."""
    chance: float
    """What a feature that fires on anything has."""
    n_rows: int
    """Images or captions; images across modalities."""
    estimate: Estimate
    """The values."""

    @property
    def key(self) -> str:
        """Name of its column: `ms_image`, `embsim_text_20`."""
        return "_".join(str(part) for part in (self.name, self.side, self.n_top) if part)


@dataclass(frozen=True)
class Monosemanticity:
    """How alike is what each feature fires on, by the judgement of other encoders."""

    cfg: MonosemanticityConfig
    """Settings."""
    embedded: EmbeddedPairs
    """The samples."""
    measures: list[Measure]
    """Images first, then captions, then both; the score first, then by number of samples."""
    classes: list[str] | None = None
    """Modality class of each feature, where they are labelled."""

    @cached_property
    def by_key(self) -> dict[str, Measure]:
        """The measures by their column."""
        return {measure.key: measure for measure in self.measures}

    def record(self) -> dict[str, Any]:
        """Means over features, with intervals, counts and what chance gives; strict JSON.

        The intervals are over images: what other images of the same source would give of the same
        features.
        """
        judges = {"image": self.embedded.image, "text": self.embedded.text}
        if self.embedded.joint is not None:
            judges[_CROSS] = self.embedded.joint[0]
        return {
            "settings": {**asdict(self.cfg), "tops": list(self.cfg.tops)},
            "encoders": {side: _judge(rows) for side, rows in judges.items()},
            "n_images": len(self.embedded.store.image_ids),
            "n_captions": len(self.embedded.store.captions),
            "n_pictures_missing": self.embedded.n_missing,
            "measures": [self._described(measure) for measure in self.measures],
        }

    def columns(self) -> dict[str, np.ndarray]:
        """Values, ends of intervals and counts for every feature; NaN where nothing is known."""
        columns: dict[str, np.ndarray] = {}
        for measure in self.measures:
            ends = measure.estimate.intervals(self.cfg.confidence)
            columns |= {
                measure.key: measure.estimate.values,
                f"{measure.key}_low": ends[:, 0],
                f"{measure.key}_high": ends[:, 1],
                f"{measure.key}_n": measure.estimate.n_active,
            }
        return columns

    def _described(self, measure: Measure) -> dict[str, Any]:
        everywhere = np.ones(len(measure.estimate.values), dtype=bool)
        by_class = {} if self.classes is None else {c: self._of_class(c) for c in CLASSES}
        return {
            "key": measure.key,
            "measure": measure.name,
            "side": measure.side,
            "n_top": measure.n_top,
            "n_rows": measure.n_rows,
            "chance": _json(measure.chance),
            **self._mean(measure, everywhere),
            "by_class": {name: self._mean(measure, chosen) for name, chosen in by_class.items()},
        }

    def _of_class(self, name: str) -> Bool[np.ndarray, "n_features"]:
        assert self.classes is not None
        return np.array([given == name for given in self.classes], dtype=bool)

    def _mean(self, measure: Measure, chosen: Bool[np.ndarray, "n_features"]) -> dict[str, Any]:
        mean = measure.estimate.mean(chosen, self.cfg.confidence)
        n_features = int((chosen & ~np.isnan(measure.estimate.values)).sum())
        return {**_interval(mean), "n_features": n_features}


def run_monosemanticity(
    feature_map: FeatureMap,
    store: ActivationStore | PairedActivations,
    cfg: MonosemanticityConfig | None = None,
    embedded: EmbeddedPairs | None = None,
    classes: Sequence[str] | None = None,
    engine: Engine | None = None,
    progress: bool = False,
) -> Monosemanticity:
    """Measure the monosemanticity of every feature in one pass.

    Parameters
    ----------
    feature_map : FeatureMap
        An SAE, raw dimensions, or anything else that encodes both modalities.
    store : ActivationStore or PairedActivations
        Raw activations of what it encodes.
    cfg : MonosemanticityConfig, optional
        Which encoders judge, and how.
    embedded : EmbeddedPairs, optional
        What :func:`embed_for` returned for this store and config, so that pictures are embedded
        once for many maps.
    classes : sequence of str, optional
        Modality class of each feature, for means by class.
    engine : Engine, optional
        Where the pass runs; one thread by default.
    progress : bool
        Show progress bars.

    Raises
    ------
    UserError
        If an encoder is the one that is interpreted or cannot be loaded, no picture is found, or
        there are fewer samples than the largest m.
    """
    cfg = cfg or MonosemanticityConfig()
    embedded = embedded or embed_for(store, cfg, progress)
    n_features = feature_map.n_features
    assert classes is None or len(classes) == n_features
    judged = {"image": embedded.image, "text": embedded.text}
    sides: dict[Modality, EmbeddedRows] = {
        side: rows for side in MODALITIES if (rows := judged[side]) is not None
    }
    sums: dict[str, Accumulator] = {
        side: PairwiseSums(side, rows, n_features) for side, rows in sides.items()
    }
    if embedded.joint is not None:
        sums[_CROSS] = CrossSums(embedded.joint, n_features)
    sums[_EXAMPLES] = ExampleRows.of(embedded.store, max(cfg.tops))
    (taken,) = run_pass(embedded.store, [Reading(feature_map, sums)], engine, progress=progress)

    measures = []
    examples = cast(ExampleRows, taken[_EXAMPLES])
    for side, rows in sides.items():
        pairwise = cast(PairwiseSums, taken[side])
        score = pairwise.estimate(cfg.min_active)
        measures.append(Measure("ms", side, None, pairwise.chance(), rows.n_used, score))
        for top in top_similarity(examples, side, rows, n_features, cfg.tops, cfg.seed):
            measures += [
                Measure("embsim", side, top.n_top, 0.0, rows.n_used, top.embsim),
                Measure("winrate", side, top.n_top, 0.5, rows.n_used, top.winrate),
            ]
    if embedded.joint is not None:
        cross = cast(CrossSums, taken[_CROSS])
        score, n_rows = cross.estimate(cfg.min_active), embedded.joint[0].n_used
        measures.append(Measure("ms", _CROSS, None, cross.chance(), n_rows, score))
    return Monosemanticity(cfg, embedded, measures, None if classes is None else list(classes))


def compare(first: Monosemanticity, second: Monosemanticity) -> list[dict[str, Any]]:
    """How much more monosemantic the features of one map are than those of another, on average.

    Both must have been measured on the same embedded pairs: what the draw of images does to both
    alike then cancels.

    Returns
    -------
    list of dict
        For each measure, the difference of the means over features, its interval over images,
        numbers of features, and the verdict `more`, `less` or `undecided`; strict JSON.
    """
    assert first.embedded is second.embedded and first.measures and second.measures
    return [
        _difference(measure, second.by_key[measure.key], first.cfg.confidence)
        for measure in first.measures
        if measure.key in second.by_key
    ]


def _difference(ours: Measure, theirs: Measure, confidence: float) -> dict[str, Any]:
    means: list[float] = []
    folds: list[Float[np.ndarray, "n_folds"]] = []
    numbers = []
    for measure in (ours, theirs):
        known = ~np.isnan(measure.estimate.values)
        means.append(measure.estimate.mean(known, confidence).value)
        folds.append(measure.estimate.means_without_fold(known))
        numbers.append(int(known.sum()))
    low, high = ours.estimate.bounds
    span = (low - high, high - low)
    gap = mean_interval(means[0] - means[1], folds[0] - folds[1], confidence, span)
    verdict = "more" if gap.low > 0 else "less" if gap.high < 0 else "undecided"
    return {
        "key": ours.key,
        "means": [_json(mean) for mean in means],
        "n_features": numbers,
        "difference": _json(gap.value),
        "low": _json(gap.low),
        "high": _json(gap.high),
        "verdict": verdict,
    }


def _judge(rows: EmbeddedRows | None) -> dict[str, str] | None:
    return None if rows is None else {"name": rows.encoder, "weights_id": rows.identity}


def _interval(interval: Interval) -> dict[str, float | None]:
    return {
        "mean": _json(interval.value),
        "low": _json(interval.low),
        "high": _json(interval.high),
    }


def _json(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
