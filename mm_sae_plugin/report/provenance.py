"""Where a report comes from: data, encoder, SAE, training, labels, versions."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from mm_sae_plugin.activations.manifest import StoreManifest
from mm_sae_plugin.files import parse_json
from mm_sae_plugin.report.results import Provenance
from mm_sae_plugin.study import Study
from mm_sae_plugin.versions import versions

RUNNER_CFG = "runner_cfg.json"
"""SAELens' name of the file that holds the settings of a training."""


def provenance(study: Study, now: datetime | None = None) -> Provenance:
    """Say where everything on the page comes from.

    Parameters
    ----------
    study : Study
        What the page is about.
    now : datetime, optional
        The date on the page; by default this moment.
    """
    labels = study.labels
    return {
        "Data": _data(study.store.path, study.store.manifest),
        "SAE": _sae(study),
        "Training": _training(study.path),
        "Labels": {
            "score": labels.cfg.score,
            "rule": labels.cfg.rule,
            "confidence": f"{labels.cfg.confidence:g}",
            "images needed to be labelled": labels.cfg.min_activations,
            "computed on store": labels.store_key or "not recorded",
        },
        "This page": {
            "written": (now or datetime.now().astimezone()).strftime("%Y-%m-%d %H:%M %Z").strip(),
            **{name: found or "not installed" for name, found in versions().items()},
        },
    }


def _data(path: Path, manifest: StoreManifest) -> Mapping[str, object]:
    return {
        "pairs": manifest.source,
        "captions": f"{manifest.n_pairs:,}",
        "images": f"{manifest.n_images:,}",
        "could not be used": f"{len(manifest.skipped):,}",
        **_odd_pictures(manifest),
        "encoder": manifest.model_name,
        "weights": manifest.weights_id,
        "image hook": manifest.image_hook,
        "text hook": manifest.text_hook or "none",
        "precision": f"{manifest.dtype}, computed in {manifest.model_dtype}",
        "store": str(path),
        "store key": manifest.key,
    }


def _odd_pictures(manifest: StoreManifest) -> Mapping[str, object]:
    """What a reader would not expect of pictures, and should hear of where there are any."""
    # Stores of older versions did not look.
    facts, reader = manifest.pictures, manifest.reader
    if facts is None:
        return {}
    ground = f", laid on {reader.background}" if reader else ""
    told = {
        "pictures with transparent parts": (facts.n_with_alpha, ground),
        "pictures of one single colour": (facts.n_one_colour, ", on which nothing shows"),
    }
    return {name: f"{n:,}{what}" for name, (n, what) in told.items() if n}


def _sae(study: Study) -> Mapping[str, object]:
    cfg = study.sae.cfg
    metadata = cfg.metadata
    return {
        "folder": str(study.path),
        "architecture": cfg.architecture(),
        "trained as": metadata.training_architecture or "not recorded",
        "latents": f"{cfg.d_sae:,}",
        "width": cfg.d_in,
        "normalisation": metadata.normalization or "none",
        "trained on store": metadata.store_key or "not recorded",
        "SAELens": metadata.sae_lens_training_version or metadata.sae_lens_version or "unknown",
    }


def _training(folder: Path) -> Mapping[str, object]:
    """The settings of the training as they were recorded; empty where they were not."""
    try:
        content = parse_json((folder / RUNNER_CFG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # A folder of other origin has none, and the page is worth having without.
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        # As the file has it: true, not True.
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in content.items()
        if value is not None
    }
