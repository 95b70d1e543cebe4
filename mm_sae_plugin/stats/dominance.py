"""`ModalityDominance`: every latent's score, interval and class, computed from the sums."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.agreement import cohen_kappa
from mm_sae_plugin.stats.carried.concepts import Concept, concepts
from mm_sae_plugin.stats.carried.result import CarriedDominance
from mm_sae_plugin.stats.config import CLASSES, ModalityConfig
from mm_sae_plugin.stats.intervals import firing_rates, score_intervals, score_values
from mm_sae_plugin.stats.moments import second_row
from mm_sae_plugin.stats.rules import label
from mm_sae_plugin.stats.scores import CARRIED, PAPER_SCORE
from mm_sae_plugin.stats.storage import read_labels, write_labels
from mm_sae_plugin.stats.table import statistics_columns

if TYPE_CHECKING:
    import pandas as pd

_LETTERS = {name: "-" if name == "Dead" else name[0] for name in CLASSES}
# In front of the names of the sums, beside which other tensors are saved.
_SUMS = "statistics."


@dataclass(frozen=True)
class ModalityDominance:
    """Scores, intervals and classes of all latents under one rule."""

    cfg: ModalityConfig
    """The score, the rule and their parameters."""
    statistics: ModalityStatistics
    """The sums that everything here is computed from."""
    scores: Float[Tensor, "n_features"]
    """float64: 0 all text, 1 all image; NaN where a latent never fires, and where `carried` cannot
    be decided."""
    intervals: Float[Tensor, "n_features 2"]
    """float64: low and high end at `cfg.confidence`, clustered by image."""
    coverage: Float[Tensor, "n_features"]
    """float64: share of the pairs on which the latent fires on at least one side."""
    n_active: Int[Tensor, "n_features"]
    """int64: number of images on whose pairs the latent fires on at least one side."""
    classes: list[str]
    """One of `config.CLASSES` per latent."""
    low: float
    """Border below which a latent is text-dominant."""
    high: float
    """Border above which a latent is image-dominant."""
    gap_cosine: Float[Tensor, "n_features"] | None = None
    """Cosine of each latent's decoder direction with mean_I − mean_T, where it is known."""
    centred_classes: list[str] | None = None
    """Classes when each modality's mean is removed before encoding, where it was computed; of the
    paper's score where `carried` is classified."""
    carried: CarriedDominance | None = None
    """Dominance by what the other side carries, with partners and concepts, where it was
    computed."""
    store_key: str | None = None
    """Key of the store that the pairs came from, where it is known."""

    @classmethod
    def from_statistics(cls, stats: ModalityStatistics, **settings: Any) -> "ModalityDominance":
        """Score and classify by the codes alone.

        `settings` are the fields of `ModalityConfig`, with the paper's score for a default.

        Raises
        ------
        UserError
            If a setting has no meaning, or captions of one image were not contiguous.
        """
        return cls.from_config(stats, ModalityConfig(**{"score": PAPER_SCORE, **settings}))

    @classmethod
    def from_config(
        cls,
        stats: ModalityStatistics,
        cfg: ModalityConfig,
        carried: CarriedDominance | None = None,
    ) -> "ModalityDominance":
        """Score and classify as a `ModalityConfig` says.

        Raises
        ------
        UserError
            If `carried` is to be classified and is not given.
        """
        n_active = stats.second()[second_row("active_images", "either")].to(torch.int64)
        alive = n_active >= cfg.min_activations
        if cfg.score == CARRIED:
            if carried is None:
                raise UserError(
                    "Carried dominance does not follow from the codes alone: label a store with "
                    "`Study.label`, or choose another score."
                )
            scores, intervals = carried.scores, carried.intervals
        else:
            scores = score_values(stats, cfg.score)
            intervals = score_intervals(stats, cfg.score, cfg.confidence)
            alive &= ~torch.isnan(scores)
        labels = label(scores, intervals, alive, cfg)
        return cls(
            cfg=cfg,
            statistics=stats,
            scores=scores,
            intervals=intervals,
            coverage=firing_rates(stats, cfg.confidence)["either"][0],
            n_active=n_active,
            classes=labels.classes,
            low=labels.low,
            high=labels.high,
            carried=carried,
        )

    @cached_property
    def by_paper_score(self) -> "ModalityDominance":
        """The same statistics, rule and borders, with the paper's score classified."""
        return ModalityDominance.from_config(
            self.statistics, replace(self.cfg, score=PAPER_SCORE), self.carried
        )

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa of the classes and those by the paper's score, over latents alive.

        1 is perfect agreement, 0 that of chance; None where it has no meaning.
        """
        pairs = zip(self.classes, self.by_paper_score.classes, strict=True)
        alive = [pair for pair in pairs if "Dead" not in pair]
        return cohen_kappa([a for a, _ in alive], [b for _, b in alive])

    @cached_property
    def concepts(self) -> dict[int, Concept]:
        """Concepts that are split into several latents alive, by the smallest of them."""
        if self.carried is None:
            return {}
        gathered = concepts(
            self._living_concept(self.carried),
            self.carried.scores,
            self.carried.intervals,
            self.n_active.to(torch.float64),
        )
        return {concept.latents[0]: concept for concept in gathered.values()}

    def _living_concept(self, carried: CarriedDominance) -> Int[Tensor, "n_features"]:
        """Concepts of latents alive; dead ones are too rare for anything to be said of them."""
        return torch.where(self.alive, carried.concept, torch.arange(self.n_features))

    def concept_of(self, latent: int) -> Concept | None:
        """The split concept that a latent is part of; None for one that stands alone."""
        return self._concept_by_latent.get(latent)

    @cached_property
    def _concept_by_latent(self) -> dict[int, Concept]:
        return {k: concept for concept in self.concepts.values() for k in concept.latents}

    @property
    def n_split(self) -> int:
        """Latents that are parts of split concepts."""
        return len(self._concept_by_latent)

    @property
    def n_undecidable(self) -> int:
        """Latents alive of whose carried dominance nothing can be said."""
        return 0 if self.carried is None else int((~self.carried.decidable & self.alive).sum())

    @property
    def n_by_association(self) -> int:
        """Latents alive that are carried by association only."""
        return 0 if self.carried is None else int((self.carried.associated & self.alive).sum())

    def partner_of(self, latent: int) -> int | None:
        """The latent that fires for the same thing on the other side, if one is known."""
        partner = -1 if self.carried is None else int(self.carried.partner[latent])
        return None if partner < 0 else partner

    def concept_class(self, concept: Concept) -> str:
        """Class of a concept by its carried score, between the borders of the latents' carried
        scores; where another score is classified, by the interval rule."""
        by_carried = self.cfg.score == CARRIED
        cfg = self.cfg if by_carried else replace(self.cfg, rule="interval")
        borders = (self.low, self.high) if by_carried else cfg.cutoffs
        score = torch.tensor([concept.score], dtype=torch.float64)
        ends = torch.tensor([concept.interval], dtype=torch.float64)
        alive = torch.ones(1, dtype=torch.bool)
        return label(score, ends, alive, cfg, borders).classes[0]

    @property
    def n_features(self) -> int:
        """Number of latents."""
        return len(self.classes)

    @property
    def alive(self) -> Bool[Tensor, "n_features"]:
        """Which latents are not `Dead`."""
        return ~self.are("Dead")

    def are(self, name: str) -> Bool[Tensor, "n_features"]:
        """Which latents are of one class."""
        return torch.tensor([one == name for one in self.classes], dtype=torch.bool)

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of latents of every class, zeros included."""
        counts = Counter(self.classes)
        return {name: counts[name] for name in CLASSES}

    def latents(self, name: str) -> list[int]:
        """Indices of the latents of one class, in ascending order."""
        return self.are(name).nonzero()[:, 0].tolist()

    def strongest(self, name: str, n: int) -> list[int]:
        """The `n` latents of a class that best stand for it, best first.

        An image (text) latent is strong when the cautious end of its interval is high (low), a
        cross-modal one when the whole interval is close to the middle, since a high score on few
        pairs is weak evidence.
        """
        low, high = self.intervals[:, 0], self.intervals[:, 1]
        keys = {
            "ImgD": -low,
            "TextD": high,
            "CrossD": torch.maximum((low - 0.5).abs(), (high - 0.5).abs()),
        }
        key = keys.get(name, -self.coverage)
        # Ties (many latents at exactly 0 or 1) go to the latent that is seen more often.
        order = sorted(self.latents(name), key=lambda i: (float(key[i]), -float(self.coverage[i])))
        return order[:n]

    def with_gap(self, gap_cosine: Float[Tensor, "n_features"]) -> "ModalityDominance":
        """Copy that also carries each latent's cosine with the modality gap."""
        return replace(self, gap_cosine=gap_cosine)

    def with_centred(self, centred: "ModalityDominance") -> "ModalityDominance":
        """Copy that also carries the classes computed from centred activations."""
        return replace(self, centred_classes=list(centred.classes))

    def from_store(self, store_key: str | None) -> "ModalityDominance":
        """Copy that also names the store that the pairs came from."""
        return replace(self, store_key=store_key)

    def table(self) -> "pd.DataFrame":
        """One row per latent: every score with its interval, rates, classes, nulls."""
        import pandas as pd

        columns: dict[str, object] = {
            "latent": range(self.n_features),
            "class": self.classes,
            "mds": self.scores.numpy(),
            "mds_low": self.intervals[:, 0].numpy(),
            "mds_high": self.intervals[:, 1].numpy(),
            "n_active_images": self.n_active.numpy(),
            "class_paper": self.by_paper_score.classes,
            **statistics_columns(self.statistics, self.cfg),
        }
        if self.gap_cosine is not None:
            columns["gap_cosine"] = self.gap_cosine.to(torch.float64).numpy()
        if self.centred_classes is not None:
            columns["class_centred"] = self.centred_classes
        if self.carried is not None:
            columns |= self.carried.columns()
            columns["concept"] = self._living_concept(self.carried).numpy()
        return pd.DataFrame(columns)

    def metadata(self) -> dict[str, Any]:
        """The compact record that goes into `cfg.metadata.modality` of an SAE folder.

        It holds one letter a latent and no number: SAELens prints the whole configuration.
        """
        return {
            **asdict(self.cfg),
            "cutoffs": list(self.cfg.cutoffs),
            "low": _rounded(self.low),
            "high": _rounded(self.high),
            "n_pairs": self.statistics.n_pairs,
            "n_images": self.statistics.n_images,
            "store_key": self.store_key,
            "class_counts": self.class_counts,
            "legend": {letter: name for name, letter in _LETTERS.items()},
            "classes": "".join(_LETTERS[name] for name in self.classes),
        }

    def save(self, sae_dir: str | Path) -> None:
        """Write `modality.safetensors` and `modality.parquet`, and note the classes in `cfg.json`.

        The folder stays loadable by plain SAELens.

        Raises
        ------
        UserError
            If the folder holds no `cfg.json`, or an SAE of another size.
        """
        tensors = {
            f"{_SUMS}{name}": tensor for name, tensor in self.statistics.state_dict().items()
        }
        tensors["scores"], tensors["intervals"] = self.scores, self.intervals
        tensors["classes"] = _class_numbers(self.classes)
        if self.gap_cosine is not None:
            tensors["gap_cosine"] = self.gap_cosine
        if self.centred_classes is not None:
            tensors["centred_classes"] = _class_numbers(self.centred_classes)
        if self.carried is not None:
            tensors |= self.carried.state_dict()
        write_labels(Path(sae_dir), self.n_features, tensors, self.table(), self.metadata())

    @classmethod
    def load(cls, sae_dir: str | Path) -> "ModalityDominance":
        """Read back what `save` wrote.

        Raises
        ------
        UserError
            If the folder holds no modality statistics.
        """
        tensors, record = read_labels(Path(sae_dir))
        names = ("score", "rule", "tau", "confidence", "min_activations")
        low, high = record["cutoffs"]
        cfg = ModalityConfig(**{name: record[name] for name in names}, cutoffs=(low, high))
        sums = {n.removeprefix(_SUMS): t for n, t in tensors.items() if n.startswith(_SUMS)}
        carried = CarriedDominance.from_state_dict(tensors)
        dominance = cls.from_config(ModalityStatistics.from_state_dict(sums), cfg, carried)
        centred = tensors.get("centred_classes")
        return replace(
            dominance,
            gap_cosine=tensors.get("gap_cosine"),
            centred_classes=None if centred is None else [CLASSES[i] for i in centred.tolist()],
            # Labels of older versions do not say.
            store_key=record.get("store_key"),
        )


def _class_numbers(classes: list[str]) -> Tensor:
    return torch.tensor([CLASSES.index(name) for name in classes], dtype=torch.uint8)


def _rounded(value: float) -> float | None:
    return None if value != value else round(value, 4)
