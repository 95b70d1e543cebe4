"""Pipelines of diffusers by their folder or their name, each fault of one as a sentence."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mm_sae_plugin.errors import UserError, kind_of, one_line

_LONGEST = 200


def load_pipeline(pipeline: str | Path, device: str) -> Any:
    """Load a pipeline in half precision, on the CPU in single precision, without its progress bars.

    Parameters
    ----------
    pipeline : str or Path
        A folder, or the name of one at Hugging Face. That of a generator like the package's own is
        loaded as that is.
    device : str
        Where it is put.

    Raises
    ------
    UserError
        If there is none, or it lacks parts or weights.
    """
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    # Its classes must be known before a folder of theirs is loaded.
    from mm_sae_plugin.factorworld.generator.folder import (
        INDEX,
        load_generator,
        read_index,
        refuse_missing_weights,
    )

    if not isinstance(pipeline, str | os.PathLike):
        raise UserError(
            f"pipeline must be a folder or the name of one at Hugging Face, not "
            f"{kind_of(pipeline)}: hand a loaded one to Painter(study, pipeline)."
        )
    folder = Path(pipeline)
    if folder.exists():
        if not (folder / INDEX).is_file():
            raise UserError(f"There is no pipeline in {pipeline}: give a folder with a {INDEX}.")
        if _is_own(read_index(folder)):
            return load_generator(folder).to(device)
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.float16
    try:
        with _without_warnings():
            loaded = DiffusionPipeline.from_pretrained(pipeline, dtype=dtype)
    # What a folder that lacks a part, or a name that is none, ends in depends on the part.
    except Exception as error:
        raise UserError(
            f"The pipeline {pipeline} could not be loaded ({_clause(error)}): give a folder that "
            "save_pretrained wrote, or the name of one at Hugging Face that was fetched before."
        ) from error
    refuse_missing_weights(loaded, pipeline)
    loaded.set_progress_bar_config(disable=True)
    return loaded.to(device)


def _is_own(index: dict[str, Any]) -> bool:
    unet = index.get("unet")
    return isinstance(unet, list) and unet[-1:] == ["LayoutUNet"]


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep back what diffusers logs: what is wrong is said by our sentence."""
    from diffusers.utils import logging

    verbosity = logging.get_verbosity()
    try:
        logging.set_verbosity_error()
        yield
    finally:
        logging.set_verbosity(verbosity)


def _clause(error: BaseException) -> str:
    """The first sentence of another library's message, in whole words."""
    said = one_line(error).partition(". ")[0].rstrip(".:")
    if said.count("(") > said.count(")"):
        said = said.rpartition("(")[0]
    return textwrap.shorten(said, _LONGEST, placeholder=" …") or type(error).__name__
