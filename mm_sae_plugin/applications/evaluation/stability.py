"""Do labels depend on what nobody means by them: the seed, the score, a setting, the size?

A label that changes with the seed of the SAE says something of that seed. So the SAE is trained
again, its latents are matched with the new ones, and the share of those that keep their class is
told wherever the labels are.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np

from mm_sae_plugin.applications.evaluation.counterpart import counterpart
from mm_sae_plugin.applications.evaluation.size_sweep import SizeResult, sweep_sizes
from mm_sae_plugin.applications.evaluation.stability_config import StabilityConfig
from mm_sae_plugin.applications.evaluation.survival import (
    ALIVE,
    DECIDED,
    ClassSurvival,
    SurvivalAtCosine,
    survival_by_cosine,
)
from mm_sae_plugin.engines import Engine
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.feature_matching import FeatureMatching
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.label_agreement import LabelAgreement, label_agreement, label_centred
from mm_sae_plugin.stats.label_sweeps import SettingResult, sweep_min_activations, sweep_tau
from mm_sae_plugin.stats.stability_note import SeedNote, StabilityNote, labels_id
from mm_sae_plugin.study import Study
from mm_sae_plugin.training import MultimodalSAERunnerConfig, TrainingResult, train_seeds
from mm_sae_plugin.training.as_trained import config_as_trained


@dataclass(frozen=True)
class SeedResult:
    """The SAE again, from another seed."""

    seed: int
    """Of its weights and of the order of its pairs."""
    classes: tuple[str, ...]
    """Of its latents, by the rule of the labels."""
    matching: FeatureMatching
    """A latent of it for each of the SAE that is studied."""
    survival: ClassSurvival
    """What became of the classes."""
    by_cosine: tuple[SurvivalAtCosine, ...]
    """The same at other borders of the cosine, of latents with a modality class."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        by_cosine = [each.record() for each in self.by_cosine]
        return {"seed": self.seed, **self.survival.record(), "by_cosine": by_cosine}

    def columns(self, min_cosine: float) -> dict[str, np.ndarray]:
        """Partner, cosine and class there of each latent; what is not known is -1, NaN and ''."""
        partner = self.matching.partner.numpy()
        classes = np.array([*self.classes, ""], dtype=object)[partner]
        return {
            f"seed_{self.seed}_partner": partner,
            f"seed_{self.seed}_cosine": self.matching.cosine.numpy(),
            f"seed_{self.seed}_class": classes,
            f"seed_{self.seed}_matched": self.matching.within(min_cosine).numpy(),
        }


@dataclass(frozen=True)
class Stability:
    """What the labels of an SAE depend on."""

    cfg: StabilityConfig
    """What was asked."""
    classes: tuple[str, ...]
    """The labels that it is about."""
    seeds: tuple[SeedResult, ...]
    """SAEs trained from other seeds; none where it is not known how the SAE was trained."""
    agreement: LabelAgreement
    """All scores, both rules, raw and centred."""
    settings: tuple[SettingResult, ...]
    """Other tau, other smallest numbers of firings."""
    sizes: tuple[SizeResult, ...]
    """Other sparsities and sizes."""
    same_activations: bool | None
    """Whether the other seeds saw what the SAE was trained on; None where none was trained."""
    untrained_reason: str | None
    """Why no SAE was trained; None where some were, or none was asked for."""
    seconds: dict[str, float]
    """What each part took."""

    def note(self) -> StabilityNote | None:
        """What is to be kept beside the labels; None where no other seed was trained."""
        if not self.seeds:
            return None
        notes = []
        for each in self.seeds:
            alive, decided = each.survival.groups[ALIVE], each.survival.groups[DECIDED]
            notes.append(
                SeedNote(
                    seed=each.seed,
                    n_alive=alive.of_alive.n,
                    n_alive_kept=alive.of_alive.count,
                    n_decided=decided.of_alive.n,
                    n_decided_matched=decided.of_matched.n,
                    n_decided_kept=decided.of_matched.count,
                    chance=decided.chance,
                )
            )
        return StabilityNote(
            tuple(notes), self.cfg.min_cosine, labels_id(self.classes), self.cfg.confidence
        )

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        note = self.note()
        return {
            "config": asdict(self.cfg),
            "sentence": None if note is None else note.sentence(),
            "seeds": [each.record() for each in self.seeds],
            "same_activations": self.same_activations,
            "untrained_reason": self.untrained_reason,
            "agreement": self.agreement.record(),
            "settings": [each.record() for each in self.settings],
            "sizes": [each.record() for each in self.sizes],
            "seconds": self.seconds,
        }

    def columns(self) -> dict[str, np.ndarray]:
        """Per latent: its partner under each other seed, with cosine and class, and how often its
        class survived (NaN for dead latents)."""
        columns: dict[str, np.ndarray] = {}
        own = np.array(self.classes, dtype=object)
        survived = np.zeros(len(own))
        for each in self.seeds:
            one = each.columns(self.cfg.min_cosine)
            columns |= one
            is_same = one[f"seed_{each.seed}_class"] == own
            survived += is_same & one[f"seed_{each.seed}_matched"]
        if self.seeds:
            share = np.where(own == "Dead", np.nan, survived / len(self.seeds))
            columns["class_survival"] = share
        return columns


def run_stability(
    study: Study,
    cfg: StabilityConfig | None = None,
    training: MultimodalSAERunnerConfig | None = None,
    engine: Engine | None = None,
) -> Stability:
    """Ask what the labels of an SAE depend on.

    Further SAEs are trained as its folder says that it was, on the study's store. Where the folder
    does not say it, and `training` does not either, everything else is measured.

    Parameters
    ----------
    study : Study
        A labelled SAE with its store.
    cfg : StabilityConfig, optional
        What is trained and varied.
    training : MultimodalSAERunnerConfig, optional
        How the SAE was trained, for a folder that does not say; its `seed` is the SAE's.
    engine : Engine, optional
        Where the passes run; one thread by default.

    Raises
    ------
    UserError
        If all latents are dead.
    """
    cfg, labels = cfg or StabilityConfig(), study.labels
    if not bool(labels.alive.any()):
        raise UserError(
            f"All latents of {study.path} are dead, so there is no class that could survive: label "
            "it on more pairs, or with a smaller min_activations (`mm-sae mds`)."
        )
    store = cast(PairedActivations, study.store)
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        now = time.perf_counter()
        seconds[name], started = round(now - started, 2), now

    moved = label_centred(study.feature_map, store, labels, engine)
    agreement = label_agreement(labels, moved, cfg.seed)
    lap("agreement")
    settings = sweep_tau(labels, cfg.taus, cfg.seed)
    settings += sweep_min_activations(labels, cfg.min_activations, cfg.seed)
    lap("settings")
    training, reason = _training(study, cfg, training)
    seeds: tuple[SeedResult, ...] = ()
    sizes: tuple[SizeResult, ...] = ()
    if training is not None:
        seeds = _other_seeds(study, training, cfg, engine)
        lap("seeds")
        sizes = sweep_sizes(study, training, cfg, engine)
        lap("sizes")
    return Stability(
        cfg=cfg,
        classes=tuple(labels.classes),
        seeds=seeds,
        agreement=agreement,
        settings=settings,
        sizes=sizes,
        same_activations=_same_activations(study) if seeds else None,
        untrained_reason=reason,
        seconds=seconds,
    )


def _training(
    study: Study, cfg: StabilityConfig, given: MultimodalSAERunnerConfig | None
) -> tuple[MultimodalSAERunnerConfig | None, str | None]:
    """How to train again, or why it cannot be done."""
    if not (cfg.n_seeds or cfg.l0_factors or cfg.size_factors):
        return None, None
    # In memory, whatever the training that is given wrote.
    places = {"acts": None, "out": None, "checkpoint_path": None, "n_checkpoints": 0}
    if given is not None:
        return replace(given, **places, resume=False, overwrite=False), None
    try:
        return config_as_trained(study.path, study.device), None
    except UserError as error:
        return None, str(error)


def _other_seeds(
    study: Study,
    training: MultimodalSAERunnerConfig,
    cfg: StabilityConfig,
    engine: Engine | None,
) -> tuple[SeedResult, ...]:
    seeds = [training.seed + 1 + i for i in range(cfg.n_seeds)]
    if not seeds:
        return ()
    trained = train_seeds(training, seeds, study.store)
    return tuple(_seed_result(study, seed, trained[seed], cfg, engine) for seed in seeds)


def _seed_result(
    study: Study, seed: int, trained: TrainingResult, cfg: StabilityConfig, engine: Engine | None
) -> SeedResult:
    found = counterpart(study, trained, cfg, engine)
    by_cosine = survival_by_cosine(
        study.labels.classes, found.labels.classes, found.matching, cfg.cosines, cfg.confidence
    )
    return SeedResult(seed, tuple(found.labels.classes), found.matching, found.survival, by_cosine)


def _same_activations(study: Study) -> bool:
    return study.sae.cfg.metadata.store_key == study.store.manifest.key
