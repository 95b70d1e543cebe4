"""The generator as a folder of diffusers parts: putting it together, and loading it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.factorworld.embedded import WEIGHTS_FOLDER, load_embedded
from mm_sae_plugin.factorworld.generator.codec import PatchCodec
from mm_sae_plugin.factorworld.generator.prior import JointPrior
from mm_sae_plugin.factorworld.generator.towers import (
    fast_tokenizer,
    image_processor,
    text_tower,
    vision_tower,
)
from mm_sae_plugin.factorworld.generator.unet import LayoutUNet
from mm_sae_plugin.files import parse_json, sha256_of_file, write_json_atomically

if TYPE_CHECKING:
    from diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_combined import (
        KandinskyV22CombinedPipeline,
    )

GENERATOR_FOLDER = WEIGHTS_FOLDER / "generator"
"""Where the shipped generator lies, as ``DiffusionPipeline.from_pretrained`` reads it."""

INDEX = "model_index.json"
"""The file in which a pipeline's folder says what it holds."""

CLIP_NAME = "factorworld"
"""The embedded CLIP whose joint space the generator draws from."""

DEFAULTS: dict[str, int | float] = {
    "height": 64,
    "width": 64,
    "num_inference_steps": 12,
    "guidance_scale": 2.0,
    "prior_num_inference_steps": 12,
    "prior_guidance_scale": 2.0,
}
"""Arguments of a call that the generator is made for; the pipeline's own are for larger models."""

NO_CALLBACK: dict[str, None] = {"callback_steps": None}
"""Arguments of every call of a combined Kandinsky pipeline: it hands its default on to its decoder,
which then warns that nobody should give it."""


def build_pipeline(
    codec: PatchCodec, unet: LayoutUNet, prior: JointPrior
) -> KandinskyV22CombinedPipeline:
    """Put trained parts together with the towers of the embedded CLIP."""
    from diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_combined import (
        KandinskyV22CombinedPipeline,
    )
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler

    clip = load_embedded(CLIP_NAME)
    # The pipeline names other classes, and asks only for what these answer.
    parts: dict[str, Any] = dict(
        unet=unet.eval(),
        scheduler=DPMSolverMultistepScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            # A solver that starts below the last step would start from too little noise.
            timestep_spacing="trailing",
        ),
        movq=codec.eval(),
        prior_prior=prior.eval(),
        prior_image_encoder=vision_tower(clip),
        prior_text_encoder=text_tower(clip),
        prior_tokenizer=fast_tokenizer(clip.tokenizer),
        # Standardised embeddings leave the range of -1 to 1, to which this scheduler clips.
        prior_scheduler=UnCLIPScheduler(prediction_type="sample", clip_sample=False),
        prior_image_processor=image_processor(),
    )
    return KandinskyV22CombinedPipeline(**parts)


def save_generator(pipeline: KandinskyV22CombinedPipeline, folder: Path) -> None:
    """Write a pipeline in half precision; it keeps the rounded weights, in float32."""
    pipeline.to(dtype=torch.float16).save_pretrained(folder)
    pipeline.to(dtype=torch.float32)
    # diffusers loads its parts in float32, and transformers as their configs say.
    for config in folder.glob("prior_*_encoder/config.json"):
        content = parse_json(config.read_text(encoding="utf-8"))
        write_json_atomically(config, content | {"dtype": "float32"})


def load_generator(folder: str | Path = GENERATOR_FOLDER) -> KandinskyV22CombinedPipeline:
    """Load the generator of the package, or one that was trained in the same way.

    Parameters
    ----------
    folder
        A folder that ``save_generator`` wrote.

    Returns
    -------
    A pipeline in float32 on the CPU, without a progress bar. Call it with ``**DEFAULTS``.

    Raises
    ------
    UserError
        If the folder is not there, lacks a part or some of its weights, or has a card beside it and
        other weights than the card says.
    """
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    if not (Path(folder) / INDEX).is_file():
        raise UserError(
            f"There is no generator in {folder}: give a folder with a {INDEX}, as "
            "`python -m mm_sae_plugin.factorworld.recipes.ship_generator` writes it of a training."
        )
    read_index(Path(folder))
    _check_weights(Path(folder))
    try:
        with _quietly():
            pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    # What a folder that lacks a part ends in depends on the part.
    except Exception as error:
        raise UserError(
            f"The generator in {folder} could not be loaded ({one_line(error)}): copy it again."
        ) from error
    refuse_missing_weights(pipeline, folder)
    pipeline.set_progress_bar_config(disable=True)
    return cast("KandinskyV22CombinedPipeline", pipeline)


def read_index(folder: Path) -> dict[str, Any]:
    """Return what a pipeline's folder says of its parts.

    Raises
    ------
    UserError
        If it says nothing of the kind.
    """
    try:
        index = parse_json((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        index = None
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise UserError(
            f"{folder / INDEX} does not say which pipeline this is: copy the folder again, or "
            "write it anew with save_pretrained."
        )
    return index


def refuse_missing_weights(pipeline: Any, folder: object) -> None:
    """Raise ``UserError`` where a part of a pipeline was loaded without some of its weights.

    diffusers only warns of them, and leaves them without values. Parts of transformers get values
    by chance instead, which is only seen by what they compute.
    """
    for name, part in pipeline.components.items():
        tensors = part.state_dict() if isinstance(part, nn.Module) else {}
        missing = [key for key, tensor in tensors.items() if tensor.is_meta]
        if missing:
            raise UserError(
                f"The {name} in {folder} lacks {len(missing)} of its {len(tensors)} weights, such "
                f"as {missing[0]}: copy the folder again."
            )


def card_of(folder: Path) -> Path:
    """Return where the card of a generator lies: checksums and training."""
    return folder.with_name(f"{folder.name}.json")


def _check_weights(folder: Path) -> None:
    if not card_of(folder).is_file():
        return
    card = parse_json(card_of(folder).read_text(encoding="utf-8"))
    for name, expected in card["sha256"].items():
        path = folder / name
        if not path.is_file() or sha256_of_file(path) != expected:
            raise UserError(
                f"The weights file {path} is missing or damaged: its checksum is not the one in "
                f"{card_of(folder).name} beside the folder; reinstall mm_sae_plugin, or ship the "
                "generator again."
            )


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep bars and warnings back: it loads in a second, and its own classes are meant."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries = (of_diffusers, of_transformers)
    verbosities = [library.get_verbosity() for library in libraries]
    with_bars = [library.is_progress_bar_enabled() for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity_error()
            library.disable_progress_bar()
        yield
    finally:
        for library, verbosity, with_bar in zip(libraries, verbosities, with_bars, strict=True):
            library.set_verbosity(verbosity)
            if with_bar:
                library.enable_progress_bar()
