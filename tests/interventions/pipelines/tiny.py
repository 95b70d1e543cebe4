"""A tiny pipeline of every supported class, and how each is called."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.interventions.pipelines import parts

STEPS = 3


def picture(seed: int = 0) -> Image.Image:
    """A picture of blocks in any colours."""
    blocks = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((parts.SIZE, parts.SIZE))


@dataclass(frozen=True)
class Case:
    """How to build a pipeline of a class, call it, and read what its denoiser is given."""

    build: Callable[[Path], Any]
    call: dict[str, Any]
    read: Callable[[dict[str, Any]], Tensor]
    more: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``steer_pipeline``."""


@torch.no_grad()
def draw(pipeline: Any, case: Case, **more: Any) -> np.ndarray:
    """Make a picture with the case's own seed."""
    given = dict(
        num_inference_steps=STEPS,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    )
    return np.asarray(pipeline(**(given | case.call | more)).images)


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _sized(**more: Any) -> dict[str, Any]:
    return dict(height=parts.SIZE, width=parts.SIZE) | more


def _kandinsky(name: str, in_channels: int = 4) -> Callable[[Path], Any]:
    def build(folder: Path) -> Any:
        import diffusers

        unet = parts.kandinsky_unet(in_channels=in_channels)
        return _quiet(getattr(diffusers, name)(unet, parts.scheduler(), parts.movq()))

    return build


def _combined(name: str, in_channels: int = 4) -> Callable[[Path], Any]:
    def build(folder: Path) -> Any:
        import diffusers

        return _quiet(
            getattr(diffusers, name)(
                unet=parts.kandinsky_unet(in_channels=in_channels),
                scheduler=parts.scheduler(),
                movq=parts.movq(),
                prior_prior=parts.prior(),
                prior_image_encoder=parts.vision_tower(folder),
                prior_text_encoder=parts.text_tower(folder),
                prior_tokenizer=parts.tokenizer(folder),
                prior_scheduler=parts.prior_scheduler(),
                prior_image_processor=parts.image_processor(folder),
            )
        )

    return build


def _sd(name: str, with_adapter: bool = True) -> Callable[[Path], Any]:
    def build(folder: Path) -> Any:
        import diffusers

        pipeline = getattr(diffusers, name)(
            vae=parts.vae(),
            text_encoder=parts.plain_text_tower(folder),
            tokenizer=parts.tokenizer(folder),
            unet=parts.unet(),
            scheduler=parts.scheduler(),
            safety_checker=None,
            feature_extractor=parts.image_processor(folder),
            image_encoder=parts.vision_tower(folder),
            requires_safety_checker=False,
        )
        if with_adapter:
            pipeline.load_ip_adapter(parts.ip_adapter(pipeline.unet), subfolder="", weight_name="")
        return _quiet(pipeline)

    return build


def _sdxl(name: str, with_adapter: bool = False) -> Callable[[Path], Any]:
    def build(folder: Path) -> Any:
        import diffusers

        pipeline = getattr(diffusers, name)(
            vae=parts.vae(),
            text_encoder=parts.plain_text_tower(folder),
            text_encoder_2=parts.text_tower(folder),
            tokenizer=parts.tokenizer(folder),
            tokenizer_2=parts.tokenizer(folder),
            unet=parts.unet(
                cross_attention_dim=2 * parts.WIDTH,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=parts.WIDTH + 6 * 8,
            ),
            scheduler=parts.scheduler(),
            feature_extractor=parts.image_processor(folder),
            image_encoder=parts.vision_tower(folder),
            add_watermarker=False,
        )
        if with_adapter:
            pipeline.load_ip_adapter(parts.ip_adapter(pipeline.unet), subfolder="", weight_name="")
        return _quiet(pipeline)

    return build


def _unclip(folder: Path) -> Any:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img import (
        StableUnCLIPImg2ImgPipeline,
    )
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
        StableUnCLIPImageNormalizer,
    )
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    noising: Any = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    torch.manual_seed(6)
    normalizer = StableUnCLIPImageNormalizer(parts.WIDTH)
    normalizer.mean.data.normal_()
    normalizer.std.data.uniform_(0.5, 2)
    return _quiet(
        StableUnCLIPImg2ImgPipeline(
            feature_extractor=parts.image_processor(folder),
            image_encoder=parts.vision_tower(folder),
            image_normalizer=normalizer,
            image_noising_scheduler=noising,
            tokenizer=parts.tokenizer(folder),
            text_encoder=parts.plain_text_tower(folder),
            unet=parts.unet(
                class_embed_type="projection",
                projection_class_embeddings_input_dim=2 * parts.WIDTH,
            ),
            scheduler=parts.scheduler(),
            vae=parts.vae(),
        )
    )


def _variation(folder: Path) -> Any:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_image_variation import (
        StableDiffusionImageVariationPipeline,
    )

    return _quiet(
        StableDiffusionImageVariationPipeline(
            vae=parts.vae(),
            image_encoder=parts.vision_tower(folder),
            unet=parts.unet(),
            scheduler=parts.scheduler(),
            safety_checker=None,  # pyright: ignore[reportArgumentType]
            feature_extractor=parts.image_processor(folder),
            requires_safety_checker=False,
        )
    )


def _added(name: str) -> Callable[[dict[str, Any]], Tensor]:
    return lambda given: given["added_cond_kwargs"][name]


def _adapter(given: dict[str, Any]) -> Tensor:
    return given["added_cond_kwargs"]["image_embeds"][0]


def _embeds(seed: int) -> Tensor:
    return 3 * torch.randn(2, parts.WIDTH, generator=torch.Generator().manual_seed(seed))


PROMPT = dict(prompt="a red car on the left")
MASK = Image.new("L", (parts.SIZE, parts.SIZE), 255)
_READY = _sized(image_embeds=_embeds(1), negative_image_embeds=_embeds(2))
_FROM = dict(image=picture(1), strength=1.0)
_CROP = dict(mask_image=MASK, image=picture(1))
_PRIOR = dict(prior_num_inference_steps=2)
_ADAPTER = dict(ip_adapter_image=picture(2))

CASES: dict[str, Case] = {
    "KandinskyV22Pipeline": Case(
        _kandinsky("KandinskyV22Pipeline"), _READY, _added("image_embeds")
    ),
    "KandinskyV22Img2ImgPipeline": Case(
        _kandinsky("KandinskyV22Img2ImgPipeline"), _READY | _FROM, _added("image_embeds")
    ),
    "KandinskyV22InpaintPipeline": Case(
        _kandinsky("KandinskyV22InpaintPipeline", 9),
        # It takes one picture alone.
        {name: v[:1] if isinstance(v, Tensor) else v for name, v in (_READY | _CROP).items()},
        _added("image_embeds"),
    ),
    "KandinskyV22CombinedPipeline": Case(
        _combined("KandinskyV22CombinedPipeline"),
        _sized(**PROMPT, **_PRIOR),
        _added("image_embeds"),
    ),
    "KandinskyV22Img2ImgCombinedPipeline": Case(
        _combined("KandinskyV22Img2ImgCombinedPipeline"),
        _sized(**PROMPT, **_PRIOR, **_FROM),
        _added("image_embeds"),
    ),
    "KandinskyV22InpaintCombinedPipeline": Case(
        _combined("KandinskyV22InpaintCombinedPipeline", 9),
        _sized(**PROMPT, **_PRIOR, **_CROP),
        _added("image_embeds"),
    ),
    "StableDiffusionPipeline": Case(
        _sd("StableDiffusionPipeline"), _sized(**PROMPT, **_ADAPTER), _adapter
    ),
    "StableDiffusionImg2ImgPipeline": Case(
        _sd("StableDiffusionImg2ImgPipeline"), {**PROMPT, **_FROM, **_ADAPTER}, _adapter
    ),
    "StableDiffusionInpaintPipeline": Case(
        _sd("StableDiffusionInpaintPipeline"), _sized(**PROMPT, **_CROP, **_ADAPTER), _adapter
    ),
    "StableDiffusionXLPipeline": Case(
        _sdxl("StableDiffusionXLPipeline"), _sized(**PROMPT), _added("text_embeds")
    ),
    "StableDiffusionXLImg2ImgPipeline": Case(
        _sdxl("StableDiffusionXLImg2ImgPipeline"), {**PROMPT, **_FROM}, _added("text_embeds")
    ),
    "StableDiffusionXLInpaintPipeline": Case(
        _sdxl("StableDiffusionXLInpaintPipeline"),
        _sized(**PROMPT, **_CROP, strength=1.0),
        _added("text_embeds"),
    ),
    "StableDiffusionXLPipeline with an adapter": Case(
        _sdxl("StableDiffusionXLPipeline", with_adapter=True),
        _sized(**PROMPT, **_ADAPTER),
        _adapter,
    ),
    "StableDiffusionXLPipeline beside an adapter": Case(
        _sdxl("StableDiffusionXLPipeline", with_adapter=True),
        _sized(**PROMPT, **_ADAPTER),
        _added("text_embeds"),
        more=dict(site="pooled_text"),
    ),
    "StableUnCLIPImg2ImgPipeline": Case(
        _unclip, _sized(**PROMPT, image=picture(3)), lambda given: given["class_labels"]
    ),
    "StableDiffusionImageVariationPipeline": Case(
        _variation,
        _sized(image=picture(3)),
        lambda given: given["encoder_hidden_states"],
    ),
}
"""Every supported class, and an SDXL with both of its sites."""
