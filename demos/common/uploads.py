"""Pictures from a visitor: checked before anything decodes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.demos.common.errors import in_page
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs.images import DEFAULT_MAX_PIXELS, BadImage, ImageReader, TooManyPixels

if TYPE_CHECKING:
    import gradio as gr
    from PIL.Image import Image

MAX_UPLOAD_BYTES = 20 * 1024 * 1024
"""Larger files are refused."""
MAX_UPLOAD_PIXELS = DEFAULT_MAX_PIXELS
"""Pictures with more pixels are refused, as everywhere else."""


def picture_input(**settings: Any) -> gr.Image:
    """Make a ``gr.Image`` that hands the event's function a path for :func:`uploaded_picture`.

    Gradio's own would open the file first, and answer what is no picture with the word "Error".

    Parameters
    ----------
    **settings
        For ``gr.Image``; a label is needed.
    """
    import gradio as gr

    component = gr.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        show_label=True,
        **settings,
    )
    component.preprocess = _path_of
    return component


def uploaded_picture(
    path: str | Path | None,
    max_bytes: int = MAX_UPLOAD_BYTES,
    max_pixels: int = MAX_UPLOAD_PIXELS,
) -> Image:
    """Decode an uploaded picture to 8-bit RGB, upright, on white.

    Its size and its number of pixels are looked at first: a few kilobytes can unpack into
    gigabytes.

    Raises
    ------
    UserError
        If there is none, or it is too large, no picture or a damaged one.
    """
    if path is None:
        raise UserError("Choose a picture first.")
    try:
        n_bytes = Path(path).stat().st_size
    except OSError as error:
        raise UserError("The picture is not there any more: upload it again.") from error
    if n_bytes > max_bytes:
        raise UserError(
            f"The file has {n_bytes / 2**20:.1f} MB, more than the limit of "
            f"{max_bytes / 2**20:g} MB: make it smaller first."
        )
    try:
        return ImageReader(max_pixels=max_pixels).read(Path(path)).image
    except TooManyPixels as error:
        raise UserError(
            f"The picture has more than {max_pixels / 1e6:g} million pixels: make it smaller first."
        ) from error
    except BadImage as error:
        raise UserError(f"The picture cannot be used: {error}.") from error


def _path_of(payload: Any) -> str | None:
    if payload is None:
        return None
    # A script may send the bytes inside an address instead, past all limits.
    if payload.path is None:
        raise in_page("Upload the picture as a file.")
    return payload.path
