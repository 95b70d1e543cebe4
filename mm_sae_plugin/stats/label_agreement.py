"""How far the labels depend on the score, the rule, and whether the modality gap is there.

Every way of labelling is a function of sums that the labels hold already, so that all of them can
be compared without another pass.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, get_args

from mm_sae_plugin.engines import Engine
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.centred import centred
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.stats.config import CLASSES, RuleName
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.kappa_interval import Kappa, kappa_with_interval
from mm_sae_plugin.stats.labelling import label_features
from mm_sae_plugin.stats.scores import CARRIED, SCORES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class WayOfLabelling:
    """One way of giving all latents a class, and what came out."""

    score: str
    """Which score is classified."""
    rule: str
    """`paper` or `interval`."""
    is_centred: bool
    """Whether each modality's mean was removed before encoding."""
    classes: tuple[str, ...]
    """One of `config.CLASSES` per latent."""

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return f"{self.score}, {self.rule}{', centred' if self.is_centred else ''}"

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of latents of every class, zeros included."""
        counts = Counter(self.classes)
        return {name: counts[name] for name in CLASSES}


@dataclass(frozen=True)
class LabelAgreement:
    """Every way of labelling against every other."""

    ways: tuple[WayOfLabelling, ...]
    """Raw ones first, in the order of the scores."""
    kappas: dict[tuple[int, int], Kappa]
    """By the places of two ways in `ways`, the smaller first; over latents alive in both."""
    default: int
    """Place of the way in which the latents were labelled."""

    def kappa(self, one: int, other: int) -> Kappa:
        """Agreement of two different ways, in whatever order."""
        return self.kappas[min(one, other), max(one, other)]

    def table(self) -> "pd.DataFrame":
        """Kappa of every way (rows) with every way (columns); 1 on the diagonal."""
        import pandas as pd

        names = [way.name for way in self.ways]
        values = [
            [1.0 if i == j else self.kappa(i, j).value for j in range(len(names))]
            for i in range(len(names))
        ]
        return pd.DataFrame(values, index=names, columns=names, dtype=float)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "default": self.ways[self.default].name,
            "ways": [
                {
                    "name": way.name,
                    "score": way.score,
                    "rule": way.rule,
                    "centred": way.is_centred,
                    "class_counts": way.class_counts,
                    "kappa_with_default": None
                    if place == self.default
                    else self.kappa(place, self.default).record(),
                }
                for place, way in enumerate(self.ways)
            ],
            "kappas": [
                {"first": self.ways[i].name, "second": self.ways[j].name, **kappa.record()}
                for (i, j), kappa in self.kappas.items()
            ],
        }


def label_agreement(
    labels: ModalityDominance, centred_labels: ModalityDominance | None = None, seed: int = 0
) -> LabelAgreement:
    """Label by every score and both rules, and compare each way with each.

    Parameters
    ----------
    labels : ModalityDominance
        The labels as they are; their tau, cut-offs, confidence and smallest number of firings are
        kept for all ways.
    centred_labels : ModalityDominance, optional
        The same latents with each modality's mean removed, as :func:`label_centred` gives them.
    seed : int
        Of the bootstrap over latents.
    """
    ways = _ways(labels, is_centred=False)
    if centred_labels is not None:
        assert centred_labels.n_features == labels.n_features
        ways += _ways(centred_labels, is_centred=True)
    own = labels.cfg.score, labels.cfg.rule
    default = next(place for place, way in enumerate(ways) if (way.score, way.rule) == own)
    kappas = {
        (i, j): kappa_of_living(ways[i].classes, ways[j].classes, seed=seed)
        for i, j in combinations(range(len(ways)), 2)
    }
    return LabelAgreement(tuple(ways), kappas, default)


def label_centred(
    feature_map: FeatureMap,
    store: PairedActivations,
    labels: ModalityDominance,
    engine: Engine | None = None,
) -> ModalityDominance:
    """Label again with both modalities moved to their common midpoint: two passes over the store.

    Raises
    ------
    UserError
        If the labels do not hold the modalities' means.
    """
    means = labels.statistics.mean_acts
    if means is None:
        raise UserError(
            "These labels do not hold the means of the activations, which are to be removed: label "
            "the SAE again (`mm-sae mds`)."
        )
    return label_features(centred(feature_map, means), store, labels.cfg, engine)


def kappa_of_living(
    first: Sequence[str], second: Sequence[str], confidence: float = 0.95, seed: int = 0
) -> Kappa:
    """Cohen's kappa of the classes of latents that are `Dead` in neither."""
    alive = [pair for pair in zip(first, second, strict=True) if "Dead" not in pair]
    return kappa_with_interval(
        [one for one, _ in alive], [other for _, other in alive], confidence, seed=seed
    )


def _ways(labels: ModalityDominance, is_centred: bool) -> list[WayOfLabelling]:
    scores = [CARRIED, *SCORES] if labels.carried is not None else [*SCORES]
    ways = []
    for score in scores:
        for rule in get_args(RuleName):
            cfg = replace(labels.cfg, score=score, rule=rule)
            again = ModalityDominance.from_config(labels.statistics, cfg, labels.carried)
            ways.append(WayOfLabelling(score, rule, is_centred, tuple(again.classes)))
    return ways
