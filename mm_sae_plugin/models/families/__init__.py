"""Adapters, one per family of models: they say where each hook point lies."""

from torch import nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.families.base import Family


def family_of(clip: nn.Module) -> Family:
    """Return the adapter for a model.

    Raises
    ------
    UserError
        If no adapter knows the model's class.
    """
    # By the defining module's name rather than `isinstance`, so that wrapping a model of one
    # library never imports the other.
    for base in type(clip).__mro__:
        qualified = f"{base.__module__}.{base.__qualname__}"
        if qualified in _OPEN_CLIP_CLASSES:
            from mm_sae_plugin.models.families.open_clip import OpenCLIPFamily

            return OpenCLIPFamily.of(clip)
        if qualified == "transformers.models.clip.modeling_clip.CLIPModel":
            from mm_sae_plugin.models.families.transformers_clip import TransformersCLIPFamily

            return TransformersCLIPFamily()
        if qualified == "transformers.models.siglip.modeling_siglip.SiglipModel":
            from mm_sae_plugin.models.families.transformers_siglip import TransformersSiglipFamily

            return TransformersSiglipFamily()
    raise UserError(
        f"A {type(clip).__module__}.{type(clip).__qualname__} cannot be wrapped: give an open_clip "
        "CLIP, CustomTextCLIP or CoCa, or a transformers CLIPModel or SiglipModel (a compiled, "
        "scripted or data-parallel one must be unwrapped first)."
    )


_OPEN_CLIP_CLASSES = {
    "open_clip.model.CLIP",
    "open_clip.model.CustomTextCLIP",
    "open_clip.coca_model.CoCa",
}
