"""The registry of edit sites: where in which pipeline a vector of the joint space flows."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.interventions.pipelines.adapters import has_adapter, why_no_adapter
from mm_sae_plugin.modality import Modality


@dataclass(frozen=True)
class EditSite:
    """One place where a pipeline hands a joint vector to its denoiser, at every step anew."""

    name: str
    """How to ask for it where a pipeline has several."""
    pipelines: tuple[str, ...]
    """Classes of diffusers that have it; so have classes derived from them."""
    modality: Modality
    """What the vector embeds, `image` or `text`."""
    argument: str
    """Argument of the denoiser that holds it; dots reach into it."""
    shape: str
    """Shape of that tensor. Under guidance the batch is doubled, unconditional half first."""
    unconditional: str
    """What the unconditional half holds."""
    encoder: str
    """Part of the pipeline whose joint space it is; the SAE must be of the same encoder. Decoders
    that are given ready embeddings lack it."""
    text_encoder: str = ""
    """Part that brings the prompt into the same joint space; it must be of the same encoder, too.
    Empty where the prompt goes another way."""
    zero_unconditional: bool = False
    """Whether the unconditional half is always zero, so that there is nothing to edit."""


_SD = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
)
_SDXL = (
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
)

EDIT_SITES: tuple[EditSite, ...] = (
    EditSite(
        "kandinsky",
        (
            "KandinskyV22CombinedPipeline",
            "KandinskyV22Img2ImgCombinedPipeline",
            "KandinskyV22InpaintCombinedPipeline",
            "KandinskyV22Pipeline",
            "KandinskyV22Img2ImgPipeline",
            "KandinskyV22InpaintPipeline",
        ),
        "image",
        "added_cond_kwargs.image_embeds",
        "[batch, d_joint]",
        "the embedding of a blank picture, or of the negative prompt",
        "prior_image_encoder",
        "prior_text_encoder",
    ),
    EditSite(
        "ip_adapter",
        (*_SD, *_SDXL),
        "image",
        "added_cond_kwargs.image_embeds.0",
        "[batch, n_images, d_joint]",
        "zeros, unless embeddings are given",
        "image_encoder",
    ),
    EditSite(
        "pooled_text",
        _SDXL,
        "text",
        "added_cond_kwargs.text_embeds",
        "[batch, d_joint]",
        "the embedding of the negative prompt, or zeros without one",
        "text_encoder_2",
    ),
    EditSite(
        "unclip",
        ("StableUnCLIPImg2ImgPipeline",),
        "image",
        "class_labels",
        "[batch, 2 * d_joint], of which the second half says how noisy the first is",
        "zeros",
        "image_encoder",
        zero_unconditional=True,
    ),
    EditSite(
        "image_variation",
        ("StableDiffusionImageVariationPipeline",),
        "image",
        "encoder_hidden_states",
        "[batch, 1, d_joint]",
        "zeros",
        "image_encoder",
        zero_unconditional=True,
    ),
)
"""Every supported place; the first that a pipeline has is the one that is edited."""

_NOT_JOINT = {
    "FluxPriorReduxPipeline": (
        "it hands on the patch tokens of SigLIP's last layer, not the pooled vector that SigLIP "
        "compares with captions"
    ),
    "FluxPipeline": "its pooled text is CLIP's before the projection into the joint space",
    "StableDiffusion3Pipeline": (
        "its pooled_projections hold the embeddings of two encoders side by side, which no one SAE "
        "reads"
    ),
    "KandinskyV22PriorPipeline": (
        "it makes embeddings and no picture: steer the decoder that they are given to"
    ),
    "KandinskyV22PriorEmb2EmbPipeline": (
        "it makes embeddings and no picture: steer the decoder that they are given to"
    ),
}
"""Pipelines that somebody may well try, and why there is nothing to edit."""


def supported_pipelines() -> tuple[str, ...]:
    """Names of the pipeline classes that have an edit site."""
    return tuple(dict.fromkeys(name for site in EDIT_SITES for name in site.pipelines))


def find_site(pipeline: Any, name: str | None = None) -> EditSite:
    """Return where to edit a pipeline.

    Parameters
    ----------
    pipeline
        A pipeline of diffusers.
    name : str, optional
        Which of its sites, where it has several: an SDXL with an IP-Adapter has ``"ip_adapter"``
        and ``"pooled_text"``. By default the adapter where one is loaded.

    Raises
    ------
    UserError
        If the pipeline has none, with the reason.
    """
    classes = [kind.__name__ for kind in type(pipeline).__mro__]
    sites = [site for site in EDIT_SITES if set(site.pipelines) & set(classes)]
    if not sites:
        raise UserError(_unknown(pipeline, classes))
    unet = denoiser_of(pipeline)
    asked = [site for site in sites if site.name == name]
    if name is not None and not asked:
        names = " or ".join(repr(site.name) for site in sites)
        raise UserError(f"{classes[0]} has no edit site {name!r:.40}: choose {names}.")
    ready = [site for site in sites if site.name != "ip_adapter" or has_adapter(unet)]
    # A site that lacks its adapter is still the one to give the reason.
    site = (asked or ready or sites)[0]
    reason = why_no_adapter(unet) if site.name == "ip_adapter" else None
    if reason:
        raise UserError(f"{classes[0]} cannot be steered: {reason}.")
    return site


def decoder_of(pipeline: Any) -> Any:
    """Return the pipeline that denoises pictures: Kandinsky's combined ones hold one."""
    return getattr(pipeline, "decoder_pipe", pipeline)


def denoiser_of(pipeline: Any) -> nn.Module:
    """Return the network that denoises pictures; ``UserError`` where there is none."""
    unet = getattr(decoder_of(pipeline), "unet", None)
    if not isinstance(unet, nn.Module):
        raise UserError(
            f"{type(pipeline).__name__} lacks its unet, so it makes no pictures: load all its "
            "parts."
        )
    return unet


def _unknown(pipeline: Any, classes: list[str]) -> str:
    for name in classes:
        if name in _NOT_JOINT:
            return f"{name} has no place where a joint vector could be edited: {_NOT_JOINT[name]}."
    supported = supported_pipelines()
    nearest = get_close_matches(classes[0], supported, n=len(supported), cutoff=0.0)
    what = f"the class {classes[0]}" if hasattr(pipeline, "components") else kind_of(pipeline)
    return (
        f"It is not known where a joint vector flows in {what}: steer one of "
        f"{', '.join(nearest)}, or the place itself with steer(module, …)."
    )
