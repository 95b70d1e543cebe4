"""Pictures, captions and numbers of latents that are given by hand, checked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.pairs.images import DEFAULT_MAX_PIXELS, BadImage, ImageReader, TooManyPixels

if TYPE_CHECKING:
    from PIL.Image import Image


def refuse_no_latent(latent: int, n_features: int) -> None:
    """Raise ``UserError`` for a number that is no latent's."""
    if not 0 <= latent < n_features:
        raise UserError(
            f"There is no latent {latent}: this SAE has {n_features:,}, numbered from 0 to "
            f"{n_features - 1}."
        )


def pictures(images: Any) -> list[Image]:
    """Open pictures that are given as such or as paths; ``UserError`` for anything else."""
    from PIL.Image import Image

    if isinstance(images, str | os.PathLike | Image):
        raise UserError(
            f"images must be several pictures, not {kind_of(images)}: give one as images=[…]."
        )
    # A tensor or an array holds pixels, not pictures.
    if not isinstance(images, Iterable) or hasattr(images, "shape"):
        raise UserError(
            f"images must be a list of PIL images or of paths, not {kind_of(images)}: encode "
            "ready pixels with study.model, and its activations with study.feature_map."
        )
    return [_picture(image) for image in images]


def _picture(image: Any) -> Image:
    from PIL.Image import Image

    if isinstance(image, Image):
        return image
    if not isinstance(image, str | os.PathLike):
        raise UserError(f"A picture must be a PIL image or a path, not {kind_of(image)}.")
    try:
        return ImageReader().read(Path(image)).image
    except TooManyPixels as error:
        raise UserError(
            f"{image} has more than {DEFAULT_MAX_PIXELS / 1e6:g} million pixels: make it smaller "
            "first."
        ) from error
    except BadImage as error:
        raise UserError(f"{image} cannot be used: {error}.") from error


def captions_of(texts: Any) -> list[str]:
    """List captions, or the one that is given; ``UserError`` for anything else."""
    captions = [texts] if isinstance(texts, str) else texts
    if not isinstance(captions, Iterable):
        raise UserError(f"texts must be a list of captions, not {kind_of(texts)}.")
    captions = list(captions)
    for caption in captions:
        if not isinstance(caption, str):
            raise UserError(
                f"texts must hold strings, not {kind_of(caption)}: give pictures as images=[…]."
            )
    return captions


def refuse_empty(text: Any, what: str = "caption") -> None:
    """Raise ``UserError`` for a caption without a word; :meth:`Study.codes` takes it all the same.

    What an encoder says of nothing is asked for where a prompt is left out on purpose, and hardly
    where somebody asks what a caption fires.
    """
    if isinstance(text, str) and not text.strip():
        raise UserError(f"The {what} is empty: give at least one word.")


def checked_latents(given: Any, n_features: int) -> tuple[int, ...]:
    """Return latents that are given by number, ascending, each once.

    Raises
    ------
    UserError
        If there are none, or one that the SAE does not have.
    """
    # Of a tensor of no dimensions, too.
    given = given.tolist() if isinstance(given, Tensor) else given
    numbers = [given] if isinstance(given, Integral) else given
    if isinstance(numbers, str | bytes) or not isinstance(numbers, Iterable):
        raise UserError(f"latents must be whole numbers, not {kind_of(given)}.")
    latents = set()
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, Integral):
            raise UserError(f"latents must be whole numbers, not {number!r:.40}.")
        refuse_no_latent(int(number), n_features)
        latents.add(int(number))
    if not latents:
        raise UserError("No latent was given: give latents=[…] with at least one.")
    return tuple(sorted(latents))
