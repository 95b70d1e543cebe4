"""Which pipeline drew a picture: plain values for a manifest, and no path of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from mm_sae_plugin.models.weights import identify_weights


def pipeline_identity(pipeline: Any) -> dict[str, Any]:
    """Describe a pipeline, so that a picture of its can be drawn again.

    Every weight is read, which takes seconds where there are billions.

    Parameters
    ----------
    pipeline
        Of diffusers.

    Returns
    -------
    dict
        `class`; `source`, `embedded` for the package's own, else the name of the folder or the
        name at Hugging Face that it was loaded from, None where it was put together; and
        `weights`, part to the hash of its weights as they are loaded (None where some are kept
        elsewhere, as those of an offloaded part are).
    """
    parts = {n: part for n, part in pipeline.components.items() if isinstance(part, nn.Module)}
    return {
        "class": type(pipeline).__name__,
        "source": _source(pipeline),
        "weights": {name: _weights_id(part) for name, part in sorted(parts.items())},
    }


def _source(pipeline: Any) -> str | None:
    from mm_sae_plugin.factorworld.generator import GENERATOR_FOLDER

    origin = getattr(pipeline.config, "_name_or_path", None)
    if not origin:
        return None
    folder = Path(origin)
    if not folder.exists():
        return str(origin)
    is_embedded = folder.resolve() == GENERATOR_FOLDER.resolve()
    return "embedded" if is_embedded else folder.resolve().name


def _weights_id(part: nn.Module) -> str | None:
    if any(tensor.is_meta for tensor in part.state_dict().values()):
        return None
    return identify_weights(part).current
