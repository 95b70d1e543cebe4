"""Loading the models that are shipped inside the package."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.architecture import (
    build_model,
    build_preprocess,
    build_tokenizer,
    model_config,
)
from mm_sae_plugin.factorworld.tokenizer import WordTokenizer
from mm_sae_plugin.files import sha256_of_file

EMBEDDED_MODELS: tuple[str, ...] = (
    "factorworld",
    "factorworld-declip",
    "factorworld-biased",
    "factorworld-robust",
)
"""Names of the models inside the package: a plain CLIP, one with self-supervision, one with an
invented association of gender with occupation, for audits to find, and the plain one with an image
tower that withstands attacks."""

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
"""Where the weights, and a JSON card beside each, lie."""


@dataclass(frozen=True)
class EmbeddedCLIP:
    """A model of the package with all that is needed to use it."""

    name: str
    """One of ``EMBEDDED_MODELS``."""
    model: nn.Module
    """open_clip's ``CustomTextCLIP`` in evaluation mode, float32, on the CPU."""
    tokenizer: WordTokenizer
    """Maps captions to int64 token rows."""
    preprocess: Callable[[Image.Image], Tensor]
    """Maps an image to float32 pixels, [3, 48, 48]."""
    weights_id: str
    """``sha256:`` and the first 16 digits of the checksum of the weights file."""
    model_cfg: dict[str, Any]
    """The open_clip model configuration."""


def read_card(name: str) -> dict[str, Any]:
    """Return the model card: checksum, recipe, and the figures measured on held-out pairs."""
    return json.loads((WEIGHTS_FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def load_embedded(name: str) -> EmbeddedCLIP:
    """Load one of ``EMBEDDED_MODELS``.

    Raises
    ------
    UserError
        If there is no such model, or if its file does not have the checksum of its card.
    """
    from safetensors.torch import load_file

    if name not in EMBEDDED_MODELS:
        raise UserError(
            f"There is no embedded model '{name}'; choose one of {', '.join(EMBEDDED_MODELS)}."
        )
    path = WEIGHTS_FOLDER / f"{name}.safetensors"
    checksum = sha256_of_file(path)
    if checksum != read_card(name)["sha256"]:
        raise UserError(
            f"The weights file {path} is damaged: its checksum is not the one in its card; "
            "reinstall mm_sae_plugin."
        )
    model = build_model()
    model.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return EmbeddedCLIP(
        name=name,
        model=model.eval(),
        tokenizer=build_tokenizer(),
        preprocess=build_preprocess(),
        weights_id=f"sha256:{checksum[:16]}",
        model_cfg=model_config(),
    )
