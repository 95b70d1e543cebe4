"""Another toolkit's SAE as an SAE folder."""

from functools import partial
from pathlib import Path
from typing import Any

from sae_lens import SAE

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import plain_write_errors
from mm_sae_plugin.modality import TOWERS
from mm_sae_plugin.saes.converters.prisma import prisma_converter
from mm_sae_plugin.saes.converters.saev import saev_converter
from mm_sae_plugin.saes.converters.settings import hook_metadata
from mm_sae_plugin.saes.folder_files import CFG_FILENAME, WEIGHTS_FILENAME, written

CONVERTERS = {"prisma": prisma_converter, "saev": saev_converter}
"""Toolkit to the converter that reads its files."""


def convert_sae(
    source: str | Path,
    kind: str,
    out: str | Path,
    *,
    model_name: str | None = None,
    hook_name: str | None = None,
    subtract_b_dec: bool | None = None,
) -> Path:
    """Write another toolkit's SAE as an SAE folder, which SAELens and ``Study.open`` read.

    Parameters
    ----------
    source : str or Path
        Prisma's folder or weights file, or saev's ``sae.pt``.
    kind : str
        ``"prisma"`` or ``"saev"``.
    out : str or Path
        A new or empty folder.
    model_name : str, optional
        The model it was trained on, as ``load_model`` takes it; saev's files do not say.
    hook_name : str, optional
        The hook it was trained at, such as ``"vision.blocks.10.hook_resid_post"``; saev's files do
        not say.
    subtract_b_dec : bool, optional
        For saev's files of schema 1; see :func:`~.saev.saev_converter`.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    UserError
        If the source cannot be read, the folder is not empty or cannot be written, or an argument
        makes no sense.
    """
    if kind not in CONVERTERS:
        raise UserError(f"There is no converter {kind!r}: choose one of {', '.join(CONVERTERS)}.")
    if hook_name is not None and hook_name.split(".")[0] not in TOWERS.values():
        raise UserError(
            f"The hook {hook_name!r} is of no tower: give its full name, such as "
            "'vision.blocks.10.hook_resid_post'."
        )
    options: dict[str, Any] = {}
    if subtract_b_dec is not None:
        if kind != "saev":
            raise UserError("subtract_b_dec is for saev's files: leave it out.")
        options["subtract_b_dec"] = subtract_b_dec
    folder = Path(out)
    with plain_write_errors(folder):
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty: give a new folder.")
    sae = SAE.load_from_disk(source, converter=partial(CONVERTERS[kind], **options))
    noted = {} if hook_name is None else hook_metadata(hook_name)
    for name, value in {**noted, **({"model_name": model_name} if model_name else {})}.items():
        sae.cfg.metadata[name] = value
    with plain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with written(folder, WEIGHTS_FILENAME, CFG_FILENAME):
            sae.save_model(folder)
    return folder
