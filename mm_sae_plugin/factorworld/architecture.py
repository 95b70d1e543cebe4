"""The open_clip architecture of the embedded models, with its tokenizer and image transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from PIL import Image
from torch import Tensor, nn

from mm_sae_plugin.factorworld.captions import vocabulary
from mm_sae_plugin.factorworld.tokenizer import WordTokenizer

if TYPE_CHECKING:
    from open_clip.model import CustomTextCLIP

CONTEXT_LENGTH = 30
INPUT_SIZE = 48
PIXEL_MEAN = (0.5, 0.5, 0.5)
PIXEL_STD = (0.25, 0.25, 0.25)


def build_tokenizer() -> WordTokenizer:
    """Return the tokenizer over every word a FactorWorld caption can contain."""
    return WordTokenizer(vocabulary(), CONTEXT_LENGTH)


def model_config() -> dict[str, Any]:
    """Return the open_clip model configuration: a ViT and a text transformer, joint width 128."""
    return {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": INPUT_SIZE,
            "patch_size": 8,
            "width": 128,
            "layers": 4,
            "head_width": 32,
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": build_tokenizer().vocab_size,
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    }


def build_model() -> CustomTextCLIP:
    """Return an untrained model: open_clip's ``CustomTextCLIP`` with a convolutional stem.

    Three small convolutions take the place of the linear patch embedding, because they let a small
    transformer learn shapes much sooner (Xiao et al. 2021, arXiv 2106.14881).
    """
    from open_clip.model import CustomTextCLIP

    config = model_config()
    model = CustomTextCLIP(**config)
    width = config["vision_cfg"]["width"]
    stem = nn.Sequential(
        nn.Conv2d(3, width // 4, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(width // 4, width // 2, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
    )
    model.visual.add_module("conv1", stem)
    return model


def build_preprocess() -> Callable[[Image.Image], Tensor]:
    """Return open_clip's evaluation transform for the embedded models; it can be pickled."""
    from open_clip.transform import image_transform

    transform = image_transform(INPUT_SIZE, is_train=False, mean=PIXEL_MEAN, std=PIXEL_STD)
    return cast(Callable[[Image.Image], Tensor], transform)
