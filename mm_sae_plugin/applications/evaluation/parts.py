"""The parts of an evaluation: each takes a study and gives a record, and columns of latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mm_sae_plugin.applications.evaluation.config import EvaluateConfig
from mm_sae_plugin.study import Study


@dataclass(frozen=True)
class Measured:
    """What a part found."""

    record: dict[str, Any]
    """Strict JSON."""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """One value a latent, by name."""
    claims: list[dict[str, Any]] = field(default_factory=list)
    """Findings on the paper's claims, as their records."""


def _nulls(study: Study, cfg: EvaluateConfig) -> Measured:
    from mm_sae_plugin.applications.claims.claim import Labels
    from mm_sae_plugin.applications.claims.distribution import Scored, claim_c1
    from mm_sae_plugin.applications.evaluation.nulls import NullsConfig, run_nulls

    found = run_nulls(study, NullsConfig(seed=cfg.seed))
    model = study.store.manifest.model_name
    kinds: tuple[Labels, Labels] = ("carried", "paper")
    claims = [
        claim_c1(
            Scored.of(model, study.labels, labels),
            found.mean_score("untrained", labels),
            labels,
            cfg.seed,
        ).record()
        for labels in kinds
    ]
    return Measured(found.record(), found.columns(), claims)


def _stability(study: Study, cfg: EvaluateConfig) -> Measured:
    from mm_sae_plugin.applications.evaluation.stability import run_stability
    from mm_sae_plugin.applications.evaluation.stability_config import StabilityConfig

    asked = StabilityConfig(seed=cfg.seed)
    found = run_stability(study, asked.full() if cfg.full else asked)
    note = found.note()
    if note is not None:
        # Whoever shows the labels can then say how many of them another seed would give, too.
        note.save(study.path)
    return Measured(found.record(), found.columns())


def _causal(study: Study, cfg: EvaluateConfig) -> Measured:
    from mm_sae_plugin.applications.causal.config import CausalConfig
    from mm_sae_plugin.applications.causal.run import run_causal
    from mm_sae_plugin.applications.claims.removal import findings_c4

    asked = CausalConfig(seed=cfg.seed)
    asked = asked.full() if cfg.full else asked
    found = run_causal(study, asked)
    claims = findings_c4(found, study.store.manifest.model_name)
    return Measured(found.record(), found.columns(), [claim.record() for claim in claims])


def _monosemanticity(study: Study, cfg: EvaluateConfig) -> Measured:
    from mm_sae_plugin.applications.evaluation.rivals import compare_rivals

    return Measured(*compare_rivals(study, cfg))


PART_OF: dict[str, Callable[[Study, EvaluateConfig], Measured]] = {
    "nulls": _nulls,
    "stability": _stability,
    "causal": _causal,
    "monosemanticity": _monosemanticity,
}
"""Name of each part to what measures it."""
