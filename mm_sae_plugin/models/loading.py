"""Finding a model by name: the embedded default, open_clip, or Hugging Face transformers.

Loaders return plain parts, which ``HookedCLIP`` puts together.
"""

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.embedded import EMBEDDED_MODELS
from mm_sae_plugin.models.open_clip_parts import OpenCLIPOptions, open_clip_parts
from mm_sae_plugin.models.parts import ModelParts
from mm_sae_plugin.models.transformers_parts import transformers_parts
from mm_sae_plugin.models.weights import WeightsId

_HF_PREFIX = "hf:"


def parts_of(
    name: str, pretrained: str | None = None, options: OpenCLIPOptions | None = None
) -> ModelParts:
    """Load the parts of any model; see :func:`~mm_sae_plugin.load_model`."""
    is_embedded = name in EMBEDDED_MODELS
    if not is_embedded and not name.startswith(_HF_PREFIX):
        return open_clip_parts(name, pretrained, options)
    if pretrained is not None:
        raise UserError(f"{name} brings its own weights: leave pretrained out.")
    if options is not None and options != OpenCLIPOptions():
        raise UserError(
            f"{name} brings its own tokenizer, image transform and activation function: leave "
            "tokenizer, preprocess and force_quick_gelu out."
        )
    if is_embedded:
        return embedded_parts(name)
    return transformers_parts(name.removeprefix(_HF_PREFIX))


def embedded_parts(name: str) -> ModelParts:
    """Load an embedded model."""
    from mm_sae_plugin.factorworld.embedded import load_embedded

    embedded = load_embedded(name)
    return ModelParts(
        embedded.model,
        embedded.tokenizer,
        embedded.preprocess,
        embedded.name,
        WeightsId(embedded.weights_id, embedded.weights_id),
    )
