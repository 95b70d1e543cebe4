"""The SAE beside other features of the same activations: how monosemantic, how split, how labelled.

All are judged by the same encoders on the same pictures, which are embedded once for each store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_sae_plugin.applications.claims.monosemantic import claim_c3
from mm_sae_plugin.applications.evaluation.comparators import COMPARATORS, Like
from mm_sae_plugin.applications.evaluation.comparison import (
    System,
    check_names,
    compare,
    same_pairs_of,
)
from mm_sae_plugin.applications.evaluation.comparison_config import OWN, QUICK, ComparisonConfig
from mm_sae_plugin.applications.evaluation.config import EvaluateConfig
from mm_sae_plugin.applications.evaluation.judges import embed_for
from mm_sae_plugin.applications.evaluation.monosemantic import (
    Monosemanticity,
    compare as compare_monosemanticity,
    run_monosemanticity,
)
from mm_sae_plugin.applications.evaluation.monosemantic_config import MonosemanticityConfig
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.independent import load_encoder
from mm_sae_plugin.models.load import load_model
from mm_sae_plugin.study import Study

if TYPE_CHECKING:
    from mm_sae_plugin.features.feature_map import FeatureMap
    from mm_sae_plugin.stats.interfaces import PairedActivations

RAW = "raw"
"""The model's own dimensions, which all others are compared with."""
_CLAIMED = (OWN, "ncl")
"""What the paper says it of: SAEs and non-negative contrastive heads."""


def check_rivals(study: Study, cfg: EvaluateConfig) -> None:
    """Refuse rivals and judges that cannot be had, before anything is measured.

    Raises
    ------
    UserError
        If a name is unknown, a model cannot be loaded, or the encoder of images is the one that is
        interpreted or reads no images.
    """
    names = _names(cfg)
    check_names(list(names), set(names), set(COMPARATORS))
    if cfg.image_encoder is not None:
        judge = load_encoder(cfg.image_encoder)
        judge.refuse_as_interpreted(study.store.manifest.weights_id)
        judge.refuse_without_images()
    if cfg.beside is not None:
        load_model(cfg.beside)


def compare_rivals(
    study: Study, cfg: EvaluateConfig
) -> tuple[dict[str, Any], Mapping[str, np.ndarray], list[dict[str, Any]]]:
    """Measure the SAE and its rivals.

    Returns
    -------
    record : dict
        ``systems`` (a row each), ``monosemanticity`` of the SAE in full, ``against_raw`` (each
        system less the raw dimensions).
    columns : mapping
        What is said of every latent of the SAE.
    claims : list of dict
        Findings on C3.

    Raises
    ------
    UserError
        If every latent is dead, or nothing can be measured.
    """
    labels = study.labels
    if not labels.alive.any():
        raise UserError(
            f"All {labels.n_features} latents are dead, so there is nothing to compare with other "
            "features: label again with fewer --min-activations, or train the SAE anew."
        )
    asked = MonosemanticityConfig(image_encoder=cfg.image_encoder, seed=cfg.seed)
    asked = asked.full() if cfg.full else asked
    judge = _Judge(study, asked)
    compared = compare(
        study,
        _names(cfg),
        ComparisonConfig(labels=labels.cfg, seed=cfg.seed),
        _of_other_model(study, cfg),
        judge,
    )
    if not compared.rows:
        raise UserError(compared.failed[OWN])
    found, raw = judge.found, judge.found.get(RAW)
    against = {
        name: compare_monosemanticity(one, raw)
        for name, one in found.items()
        if raw is not None and one is not raw and one.embedded is raw.embedded
    }
    model = study.store.manifest.model_name
    claims = [
        claim_c3(name, model, rows).record()
        for name, rows in against.items()
        if name.startswith(_CLAIMED)
    ]
    own = found.get(OWN)
    return (
        {
            **compared.record(),
            "monosemanticity": None if own is None else own.record(),
            "against_raw": against,
        },
        {} if own is None else own.columns(),
        claims,
    )


class _Judge:
    """Measures how monosemantic each system is, and remembers it."""

    def __init__(self, study: Study, cfg: MonosemanticityConfig) -> None:
        self._study, self._cfg = study, cfg
        self._embedded: dict[int, Any] = {}
        self.found: dict[str, Monosemanticity] = {}

    def __call__(
        self, name: str, feature_map: FeatureMap, store: PairedActivations
    ) -> dict[str, Any]:
        if id(store) not in self._embedded:
            self._embedded[id(store)] = embed_for(store, self._cfg)
        classes = self._study.labels.classes if name == OWN else None
        one = self.found[name] = run_monosemanticity(
            feature_map, store, self._cfg, self._embedded[id(store)], classes
        )
        return {measure["key"]: measure["mean"] for measure in one.record()["measures"]}


def _names(cfg: EvaluateConfig) -> tuple[str, ...]:
    if cfg.against:
        # Without what all are compared with, nothing could be said of them.
        return tuple(dict.fromkeys((OWN, RAW, *cfg.against)))
    return (OWN, *COMPARATORS) if cfg.full else QUICK


def _of_other_model(study: Study, cfg: EvaluateConfig) -> list[System]:
    """The dimensions of another model on the same pairs."""
    if cfg.beside is None:
        return []
    store = same_pairs_of(study, cfg.beside, cfg.out / "acts" / cfg.beside)
    like = Like.of(study.sae.cfg)
    return [System.built(RAW, store, like, cfg.seed, name=f"{RAW} {cfg.beside}")]
