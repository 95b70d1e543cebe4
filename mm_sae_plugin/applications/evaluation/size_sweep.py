"""The labels of SAEs of other sparsity and other sizes, trained on the same activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mm_sae_plugin.applications.evaluation.counterpart import counterpart
from mm_sae_plugin.applications.evaluation.stability_config import StabilityConfig
from mm_sae_plugin.applications.evaluation.survival import ClassSurvival
from mm_sae_plugin.engines import Engine
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.stats.reconstruction import PerModalityEvaluation
from mm_sae_plugin.stats.shares import Share
from mm_sae_plugin.study import Study
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from mm_sae_plugin.training.as_trained import has_k, varied


@dataclass(frozen=True)
class SizeResult:
    """One SAE of another size or sparsity."""

    parameter: str
    """What is varied: `k` or `d_sae`."""
    d_sae: int
    """Number of latents."""
    k: int
    """Active latents per row that it was trained for."""
    class_shares: dict[str, Share]
    """Of all its latents, by class."""
    evaluation: PerModalityEvaluation
    """Explained variance, L0 and latents that never fire, of each modality."""
    survival: ClassSurvival
    """What became of the latents of the SAE that is studied: its latents first."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "parameter": self.parameter,
            "d_sae": self.d_sae,
            "k": self.k,
            "class_shares": {name: share.record() for name, share in self.class_shares.items()},
            "evaluation": self.evaluation.to_dict(),
            "survival": self.survival.record(),
        }


def sweep_sizes(
    study: Study,
    training: MultimodalSAERunnerConfig,
    cfg: StabilityConfig,
    engine: Engine | None = None,
) -> tuple[SizeResult, ...]:
    """Train SAEs of other `k` and other `d_sae` from the same seed, and label them alike.

    Parameters
    ----------
    study : Study
        The SAE that is studied, labelled; its store is trained on.
    training : MultimodalSAERunnerConfig
        How it was trained.
    cfg : StabilityConfig
        The multiples of its `k` and `d_sae`, and how latents are matched with its own.
    engine : Engine, optional
        Where the passes run.
    """
    return tuple(
        _result(study, parameter, other, cfg, engine) for parameter, other in _others(training, cfg)
    )


def _others(
    training: MultimodalSAERunnerConfig, cfg: StabilityConfig
) -> Iterator[tuple[str, MultimodalSAERunnerConfig]]:
    d_sae, k = training.d_sae, training.k
    # Where a penalty decides on the sparsity, k does not.
    ks = [round(k * factor) for factor in cfg.l0_factors] if has_k(training) else []
    sizes = [round(d_sae * factor) for factor in cfg.size_factors]
    for other in dict.fromkeys(ks):
        if 1 <= other <= d_sae and other != k:
            yield "k", varied(training, k=other)
    for other in dict.fromkeys(sizes):
        if other >= k and other != d_sae:
            yield "d_sae", varied(training, d_sae=other)


def _result(
    study: Study,
    parameter: str,
    training: MultimodalSAERunnerConfig,
    cfg: StabilityConfig,
    engine: Engine | None,
) -> SizeResult:
    result = MultimodalSAETrainingRunner(training, study.store).run()
    found = counterpart(study, result, cfg, engine)
    return SizeResult(
        parameter=parameter,
        d_sae=training.d_sae,
        k=training.k,
        class_shares={
            name: Share.of(found.labels.class_counts[name], found.labels.n_features, cfg.confidence)
            for name in CLASSES
        },
        evaluation=result.evaluation,
        survival=found.survival,
    )
