"""What a user gives a model, pictures and captions in any form, made ready or refused."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from mm_sae_plugin.errors import UserError, kind_of, one_line
from mm_sae_plugin.models.config import HookedCLIPConfig

Tokenizer = Callable[[list[str]], Int[Tensor, "n ctx"]]
Preprocess = Callable[[Any], Float[Tensor, "3 height width"]]


def as_pixels(images: Any, preprocess: Preprocess | None) -> Float[Tensor, "batch 3 height width"]:
    """Return a batch of pixels.

    Parameters
    ----------
    images
        Pixels already, floating point ``[batch, 3, height, width]``, or a list of PIL images.
    preprocess
        Turns one PIL image into pixels.

    Raises
    ------
    UserError
        If it is neither, naming the remedy.
    """
    if isinstance(images, Tensor):
        return _checked_pixels(images)
    if isinstance(images, Image.Image):
        raise UserError("images must be several pictures: give one as images=[picture].")
    if isinstance(images, str | bytes) or not isinstance(images, Iterable):
        raise UserError(
            f"images must be a tensor or a list of PIL images, not {kind_of(images)}: "
            "give captions as texts=…, and open files with PIL.Image.open."
        )
    pictures = list(images)
    if not pictures:
        raise UserError("images is empty: give at least one picture.")
    for picture in pictures:
        if isinstance(picture, Tensor):
            raise UserError("images is a list of tensors: give torch.stack(images).")
        if not isinstance(picture, Image.Image):
            raise UserError(
                f"images must hold PIL images, not {kind_of(picture)}: give captions as "
                "texts=…, open files with PIL.Image.open and arrays with PIL.Image.fromarray."
            )
    if preprocess is None:
        raise UserError("This model has no preprocess: give images as a tensor.")
    return torch.stack([preprocess(picture) for picture in pictures])


def as_tokens(texts: Any, tokenizer: Tokenizer | None) -> Int[Tensor, "batch ctx"]:
    """Return a batch of token ids.

    Parameters
    ----------
    texts
        Token ids already, ``[batch, ctx]``, or one caption, or a list of captions.
    tokenizer
        Turns captions into token ids.

    Raises
    ------
    UserError
        If it is none of these, naming the remedy.
    """
    if isinstance(texts, Tensor):
        if texts.ndim == 2 and not texts.is_floating_point():
            return texts
        one = " (one caption: add the batch with texts[None])" if texts.ndim == 1 else ""
        raise UserError(
            f"texts must be token ids [batch, ctx], not {texts.dtype} {list(texts.shape)}{one}: "
            "give strings, or the output of model.tokenizer."
        )
    captions = [texts] if isinstance(texts, str) else texts
    if isinstance(captions, Image.Image) or not isinstance(captions, Iterable):
        raise UserError(
            f"texts must be captions or token ids, not {kind_of(texts)}: give pictures as "
            "images=[…]."
        )
    captions = list(captions)
    if not captions:
        raise UserError("texts is empty: give at least one caption.")
    wrong = next((caption for caption in captions if not isinstance(caption, str)), None)
    if wrong is not None or None in captions:
        raise UserError(
            f"texts must hold strings, not {kind_of(wrong)}: give pictures as images=[…], "
            "and token ids as one tensor."
        )
    if tokenizer is None:
        raise UserError("This model has no tokenizer: give texts as a tensor of token ids.")
    return tokenizer(captions)


@contextmanager
def size_explained(inputs: Tensor, cfg: HookedCLIPConfig) -> Iterator[None]:
    """Run a tower on its input; what it raises at a size that is not its own becomes a sentence.

    Which other sizes a tower takes, only the tower itself knows: convolutional ones and some of
    timm's take many.

    Parameters
    ----------
    inputs
        Pixels, or token ids.
    cfg
        The model, with the sizes that it is built for.

    Raises
    ------
    UserError
        Naming both sizes.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        is_image = inputs.is_floating_point()
        usual = cfg.image_size if is_image else (cfg.context_length,)
        given = tuple(inputs.shape[-len(usual) :])
        if given == usual:
            raise
        wanted, got = (" × ".join(map(str, size)) for size in (usual, given))
        what, remedy = (
            f"texts must be {wanted} tokens long",
            "strings, or what model.tokenizer makes",
        )
        if is_image:
            what = f"images must be {wanted} pixels"
            remedy = "PIL images, or what model.preprocess makes of them"
        raise UserError(
            f"{what} for {cfg.model_name}, not {got} ({one_line(error)}): give {remedy}."
        ) from error


def _checked_pixels(images: Tensor) -> Float[Tensor, "batch 3 height width"]:
    if images.ndim == 4 and images.shape[1] == 3 and images.is_floating_point():
        return images
    if images.ndim == 4 and images.shape[1] == 3:
        raise UserError(
            f"images must be what model.preprocess makes of pictures, not {images.dtype} values: "
            "give PIL images in a list, or preprocess them."
        )
    remedy = "stack the outputs of model.preprocess."
    if images.ndim == 3:
        remedy = "add the batch to one picture with images[None], or give a list of PIL images."
    elif images.ndim == 2 and not images.is_floating_point():
        remedy = "give token ids as texts=…"
    raise UserError(f"images must be [batch, 3, height, width], not {list(images.shape)}: {remedy}")
