"""What was computed, from what and with which versions: a JSON file to keep beside a result."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from PIL.Image import Image

from mm_sae_plugin.demos.common.keeping import place_for
from mm_sae_plugin.files import write_json_atomically
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.study import Study
from mm_sae_plugin.versions import versions


def manifest_of(
    study: Study | None,
    demo: str,
    asked: Mapping[str, Any],
    seed: int | None = None,
    edit: FeatureEdit | None = None,
    model: HookedCLIP | None = None,
) -> dict[str, Any]:
    """Describe a result so that it can be computed again.

    Parameters
    ----------
    study : Study, optional
        What it was computed with; None where no SAE had a part, and `model` is given.
    demo : str
        Name of the demo.
    asked : mapping
        What the visitor set: plain JSON values, hashes instead of pictures.
    seed : int, optional
        Where chance had a part.
    edit : FeatureEdit, optional
        Where codes were edited.
    model : HookedCLIP, optional
        What it was computed with where there is no study.
    """
    return {
        "format": "mm_sae_plugin manifest",
        "demo": demo,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "asked": dict(asked),
        "seed": seed,
        "edit": None if edit is None else edit.to_dict(),
        **_identity_of(study, model),
        "versions": versions("gradio", "diffusers"),
    }


def _identity_of(study: Study | None, model: HookedCLIP | None) -> dict[str, Any]:
    if study is None:
        assert model is not None
        told = {"name": model.cfg.model_name, "weights_id": model.weights_id}
        return {"sae": None, "store": None, "model": told}
    return {
        "sae": {"name": study.path.resolve().name, "sae_id": study.sae_id},
        "store": {"name": study.store.path.resolve().name, "key": study.store.manifest.key},
        "model": {
            "name": study.sae.cfg.metadata.model_name,
            "weights_id": study.weights_id,
        },
    }


def picture_hash(picture: Image) -> str:
    """SHA-256 of a picture's size and pixels, as a name for it that does not show it."""
    told = sha256(f"{picture.mode} {picture.size}".encode())
    told.update(picture.tobytes())
    return told.hexdigest()


def manifest_file(manifest: Mapping[str, Any]) -> str:
    """Write a manifest where Gradio may hand it out, and return its path."""
    path = place_for(f"{manifest['demo']}-manifest.json")
    write_json_atomically(path, manifest)
    return str(path)
