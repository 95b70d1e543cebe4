"""A whole causal check of a labelled SAE."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from mm_sae_plugin.applications.causal.arms import LEVEL, PAPER, Arm, arms_of
from mm_sae_plugin.applications.causal.claim import Claim, claim_c4
from mm_sae_plugin.applications.causal.config import CausalConfig
from mm_sae_plugin.applications.causal.costs import BASES, CostRow, CostTable, cost_rows
from mm_sae_plugin.applications.causal.gallery import Gallery, gallery_of
from mm_sae_plugin.applications.causal.outcomes import ZERO_SHOT, Measures
from mm_sae_plugin.applications.causal.removing import Removing
from mm_sae_plugin.applications.causal.resampling import Estimate, Resamples
from mm_sae_plugin.applications.causal.steerability import Steerability, steerability
from mm_sae_plugin.applications.causal.targets import (
    Targets,
    targets_of_examples,
    targets_of_truth,
)
from mm_sae_plugin.factorworld import FACTORS
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.matched_sets import TOLERANCE
from mm_sae_plugin.stats.scores import PAPER_SCORE
from mm_sae_plugin.stats.truth import truth_check
from mm_sae_plugin.study import Study
from mm_sae_plugin.study.site import check_site


@dataclass(frozen=True)
class Causal:
    """What removing latents costs, and what adding them does."""

    cfg: CausalConfig
    """What was asked for."""
    source: str
    """Where the gallery comes from."""
    is_held_out: bool
    """Whether the latents were labelled on other pairs."""
    n_images: int
    """Images of the gallery."""
    n_captions: int
    """Captions of it."""
    n_queries: dict[str, int]
    """Measure to the number of queries that it is of."""
    rows: list[CostRow]
    """The model as it is, what the SAE reconstructs, then every set that has latents, side by
    side."""
    empty: dict[str, str]
    """Sets that have no latents, and why nothing is told of them."""
    claims: list[Claim]
    """C4, for either way to label and every way to count."""
    steerability: Steerability
    """What adding each latent does."""
    classes: list[str]
    """Modality class of each latent, by the labels' own score."""

    def row(self, name: str, side: str = "both") -> CostRow | None:
        """Return the row of a set on a side; None where it has no latents."""
        found = [row for row in self.rows if (row.name, row.side) == (name, side)]
        return found[0] if found else None

    def by_kind(self) -> dict[str, dict[str, Estimate]]:
        """Return, of each set removed on both sides, what zero-shot accuracy loses or gains.

        Returns
        -------
        dict
            Set to the true modality of the factors that are asked about (``ImgD``, ``CrossD``,
            ``TextD``) to the difference: a label that says what a latent does costs its own kind,
            and no other. Empty where no factors are known.
        """
        kinds = [name for name in self.n_queries if name.startswith(f"{ZERO_SHOT}_")]
        return {
            row.name: {
                kind.removeprefix(f"{ZERO_SHOT}_"): row.measures[kind].difference for kind in kinds
            }
            for row in self.rows
            if kinds and row.side == "both" and row.n_latents
        }

    def record(self) -> dict[str, Any]:
        """Return everything but the columns as plain JSON, without NaN."""
        return {
            "settings": asdict(self.cfg),
            "gallery": {
                "source": self.source,
                "is_held_out": self.is_held_out,
                "n_images": self.n_images,
                "n_captions": self.n_captions,
            },
            "n_queries": self.n_queries,
            "ties": "pessimistic: of equals the right one comes last",
            "random_sets": {"n": self.cfg.n_random, "tolerance": TOLERANCE},
            "coactivation_level": LEVEL,
            "cost_per": list(BASES),
            "rows": [row.record() for row in self.rows],
            "empty": self.empty,
            "by_kind": {
                name: {kind: one.record() for kind, one in kinds.items()}
                for name, kinds in self.by_kind().items()
            },
            "claim_c4": [claim.record() for claim in self.claims],
            "steerability": self.steerability.record(self.classes),
        }

    def columns(self) -> dict[str, np.ndarray]:
        """Return a column for each figure of a latent; NaN (and "") where unknown."""
        return self.steerability.columns()


def run_causal(study: Study, cfg: CausalConfig | None = None) -> Causal:
    """Measure what removing latents costs, judge C4 by it, and see how each latent steers.

    Parameters
    ----------
    study : Study
        Labelled; its SAE must be of the joint space of both towers (``hook_normalized``).
    cfg : CausalConfig, optional
        How much is measured.

    Raises
    ------
    UserError
        If the SAE is of another site or has no labels, the store or the encoder cannot be opened,
        or the store has too few images.
    """
    cfg = cfg or CausalConfig()
    check_site(study)
    labels, feature_map = study.labels, study.feature_map
    gallery = gallery_of(study, cfg.n_images, cfg.n_prompts, cfg.seed)
    n_images, measures = len(gallery.images), Measures(gallery)
    resamples = Resamples.draw(n_images, cfg.n_random, cfg.n_resamples, cfg.confidence, cfg.seed)
    arms = arms_of(labels)
    table = CostTable(Removing(feature_map, gallery), measures, resamples)
    rows = cost_rows(table, arms, labels, cfg.seed)
    judged = {"": labels.cfg.score}
    if labels.cfg.score != PAPER_SCORE:
        judged[PAPER] = PAPER_SCORE
    targets = _targets(study, gallery, cfg)
    return Causal(
        cfg,
        gallery.source,
        gallery.is_held_out,
        n_images,
        len(gallery.captions),
        measures.n_queries,
        rows,
        {arm.name: _why_empty(arm) for arm in arms if not arm.mask.any()},
        claim_c4(rows, cfg.confidence, n_images, judged),
        steerability(feature_map, gallery.images, targets, cfg.steer_share, resamples),
        list(labels.classes),
    )


def _targets(study: Study, gallery: Gallery, cfg: CausalConfig) -> Targets:
    feature_map, labels = study.feature_map, study.labels
    store = cast(PairedActivations, study.store)
    if gallery.questions:
        truth = truth_check(feature_map, store, labels, FACTORS).latents
        return targets_of_truth(feature_map, gallery, truth, cfg.confidence)
    return targets_of_examples(feature_map, store, gallery, labels.alive, cfg.n_top, cfg.confidence)


def _why_empty(arm: Arm) -> str:
    return f"No latent is in this set by {arm.score}, so nothing is removed."
