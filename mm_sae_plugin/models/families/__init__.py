"""Adapters, one per family of models: they say where each hook point lies.

``_FAMILIES`` is the one place that a new family is entered in, beside the file that describes it.
"""

from collections.abc import Callable
from importlib import import_module

from torch import nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.families.base import Family

_HERE = "mm_sae_plugin.models.families."
_FAMILIES = {
    "open_clip.model.CLIP": ("open_clip", "OpenCLIPFamily"),
    "open_clip.model.CustomTextCLIP": ("open_clip", "OpenCLIPFamily"),
    "open_clip.coca_model.CoCa": ("open_clip", "OpenCLIPFamily"),
    "transformers.models.clip.modeling_clip.CLIPModel": (
        "transformers_clip",
        "TransformersCLIPFamily",
    ),
    "transformers.models.siglip.modeling_siglip.SiglipModel": (
        "transformers_siglip",
        "TransformersSiglipFamily",
    ),
}
"""Class of a model -> file and name of its adapter, whose ``of`` takes the model."""


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
        found = _FAMILIES.get(f"{base.__module__}.{base.__qualname__}")
        if found is not None:
            file, name = found
            of: Callable[[nn.Module], Family] = getattr(import_module(_HERE + file), name).of
            return of(clip)
    raise UserError(
        f"A {type(clip).__module__}.{type(clip).__qualname__} cannot be wrapped: give an open_clip "
        "CLIP, CustomTextCLIP or CoCa, or a transformers CLIPModel or SiglipModel (a compiled, "
        "scripted or data-parallel one must be unwrapped first)."
    )
