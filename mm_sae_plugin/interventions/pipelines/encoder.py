"""Whether an SAE belongs to the encoder whose joint space a pipeline works in."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions.pipelines.sites import EditSite
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.models.hook_names import JOINT_SITES
from mm_sae_plugin.models.weights import identify_weights
from mm_sae_plugin.study import Study

_LEAST_COSINE = 0.99
"""Half precision in one of two copies of an encoder leaves more than 0.999; two different encoders
agree by chance only."""
_N_PROBES = 2

# An encoder is compared once with a study's, since a large one takes seconds.
_same: WeakKeyDictionary[nn.Module, WeakSet[HookedCLIP]] = WeakKeyDictionary()


def check_pipeline_encoder(
    study: Study,
    site: EditSite,
    pipeline: Any,
    encoder: nn.Module | None,
    device: torch.device,
) -> None:
    """Refuse an SAE of another encoder than the pipeline's.

    A pipeline holds one tower or two, often in half precision and in another library's layout than
    the whole CLIP that the SAE was trained on, so ids of weights cannot be compared. Instead both
    encoders are asked: random pixels (or random tokens) go through the study's and the pipeline's,
    and the embeddings must be the same up to rounding (cosine 0.99). So is the text tower that
    brings the prompt into the same joint space. That is done once for a pair of encoders while both
    live; weights that are changed in place afterwards are not noticed.
    Where the pipeline holds no encoder and none is given, a warning says that nobody checked.

    Raises
    ------
    UserError
        If the SAE has no such modality, is not in the joint space, or is of another encoder; both
        are named.
    """
    _check_joint(study, site.modality)
    encoder = encoder or _part(pipeline, site.encoder)
    text_encoder = _part(pipeline, site.text_encoder)
    if text_encoder is not None:
        _check_tower(study, "text", pipeline, text_encoder, device)
    if encoder is not None:
        _check_tower(study, site.modality, pipeline, encoder, device)
        return
    warnings.warn(
        f"{type(pipeline).__name__} holds no encoder, so whether the SAE in {study.path} is of "
        "the encoder that its embeddings come from was not checked: give it, encoder=….",
        UserWarning,
        stacklevel=4,
    )


def _part(pipeline: Any, name: str) -> nn.Module | None:
    found = getattr(pipeline, name, None) if name else None
    return found if isinstance(found, nn.Module) else None


def _check_tower(
    study: Study, modality: Modality, pipeline: Any, encoder: nn.Module, device: torch.device
) -> None:
    model = study.model
    if model in _same.get(encoder, ()):
        return
    cosine = _agreement(model, encoder, modality, study, device)
    if cosine is None or cosine < _LEAST_COSINE:
        agree = (
            "" if cosine is None else f"; on the same input they agree to a cosine of {cosine:.2f}"
        )
        raise UserError(
            f"The SAE in {study.path} was trained on {model.cfg.model_name} ({model.weights_id}), "
            f"but the {modality} encoder of {type(pipeline).__name__} is {_name(encoder)}"
            f"{agree}: use an SAE of that encoder."
        )
    _same.setdefault(encoder, WeakSet()).add(model)


def _check_joint(study: Study, modality: Modality) -> None:
    hook = study.hook_names[modality]
    if hook is None and study.hook_names["image"] is not None:
        raise UserError(
            f"The SAE in {study.path} was trained without {modality} activations, and {modality} "
            "embeddings flow in this pipeline: train one on both modalities."
        )
    if hook is not None and hook.rpartition(".")[2] not in JOINT_SITES:
        raise UserError(
            f"The SAE in {study.path} sits at {hook!r}, and pipelines hand on vectors of the joint "
            "space: only an SAE at hook_proj or hook_normalized edits them."
        )


@torch.no_grad()
def _agreement(
    model: HookedCLIP, encoder: nn.Module, modality: Modality, study: Study, device: torch.device
) -> float | None:
    """Lowest cosine of two encoders' embeddings of one input; None where none fits both."""
    probe = _pixels(model, encoder) if modality == "image" else _tokens(model, encoder)
    if probe is None:
        return None
    # By the family, past what hooks anybody has set.
    encode = model.family.encode_image if modality == "image" else model.family.encode_text
    with study.lock:
        ours = encode(model.clip, probe.to(model.device))
    if modality == "image":
        probe = probe.to(next(encoder.parameters()).dtype)
    output = encoder(probe.to(device))
    theirs = getattr(output, f"{modality}_embeds", None)
    if theirs is None or theirs.shape != ours.shape:
        return None
    return float(F.cosine_similarity(ours.float().cpu(), theirs.float().cpu(), dim=-1).min())


def _pixels(model: HookedCLIP, encoder: nn.Module) -> Float[Tensor, "probe 3 height width"] | None:
    size = getattr(getattr(encoder, "config", None), "image_size", None)
    height, width = model.cfg.image_size
    if size is None or (size, size) != (height, width):
        return None
    generator = torch.Generator().manual_seed(0)
    return torch.randn(_N_PROBES, 3, height, width, generator=generator).to(model.dtype)


def _tokens(model: HookedCLIP, encoder: nn.Module) -> Int[Tensor, "probe ctx"] | None:
    config: Any = getattr(encoder, "config", None)
    tables = [part for part in model.clip.modules() if isinstance(part, nn.Embedding)]
    length, n_words = (getattr(config, n, 0) for n in ("max_position_embeddings", "vocab_size"))
    if length != model.cfg.context_length or n_words not in {t.num_embeddings for t in tables}:
        return None
    # A config that says 2 is an old one and means the last word.
    end = n_words - 1 if config.eos_token_id == 2 else config.eos_token_id
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, end, (_N_PROBES, length), generator=generator)
    for row in range(_N_PROBES):
        tokens[row, -1 - row] = end
    return tokens


def _name(encoder: nn.Module) -> str:
    origin = getattr(getattr(encoder, "config", None), "_name_or_path", "")
    origin = f"{origin}, " if origin else ""
    return f"{type(encoder).__name__} ({origin}{identify_weights(encoder).current})"
