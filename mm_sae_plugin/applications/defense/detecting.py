"""All detectors on one task: fitted on some of its images, judged on others."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.defense.detection import DETECTORS, fit_detector
from mm_sae_plugin.applications.defense.evasion import Watched, evaluate_detection
from mm_sae_plugin.applications.defense.measuring import Posed, budget_of
from mm_sae_plugin.applications.defense.robustness_config import RobustnessConfig
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.features.feature_map import Decodable
from mm_sae_plugin.models import HookedCLIP

LEAST_IMAGES = 100
"""Of a task: a fifth of them sets the threshold."""
_FITTED, _KEPT_BACK = 0.4, 0.2
_BATCH = 64


def judge_detectors(
    model: HookedCLIP, feature_map: Decodable, posed: Posed, cfg: RobustnessConfig
) -> dict[str, dict[str, Any]]:
    """Return every detector's figures, in front of the undefended encoder.

    Two fifths of the images, as they are and attacked, fit the detectors, a fifth sets their
    thresholds, and as many of the rest as strong attacks are run on judge them.

    Parameters
    ----------
    model : HookedCLIP
    feature_map : Decodable
        Of its joint space.
    posed : Posed
        With at least ``LEAST_IMAGES`` images.
    cfg : RobustnessConfig
    """
    n = len(posed.labels)
    assert n >= LEAST_IMAGES
    victim = Victim(model, posed.classes)
    to_fit, to_set = round(_FITTED * n), round((_FITTED + _KEPT_BACK) * n)
    clean, attacked = (_vectors(victim, each) for each in (posed.images, posed.static))
    judged = slice(to_set, min(n, to_set + cfg.n_strong))
    found = {}
    for name in DETECTORS:
        detector = fit_detector(
            feature_map, clean[:to_fit], clean[to_fit:to_set], attacked[:to_fit], name
        )
        watched = Watched.of(victim, detector)
        images, labels = posed.images[judged], posed.labels[judged]
        result = evaluate_detection(watched, images, labels, budget_of(cfg), cfg.n_pgd, cfg.seed)
        found[name] = asdict(result)
    return found


@torch.no_grad()
def _vectors(victim: Victim, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
    return torch.cat([victim.vectors(part) for part in images.split(_BATCH)])
