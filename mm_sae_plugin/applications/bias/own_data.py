"""Pictures of one's own as vectors, beside who is in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from mm_sae_plugin.activations.decoding import decoded_batches, default_num_workers
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.own_table import OwnTable
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs.images import BadImage
from mm_sae_plugin.pairs.openers import FileOpener

if TYPE_CHECKING:
    from PIL.Image import Image

    from mm_sae_plugin.models import HookedCLIP

_BATCH = 64
UNREADABLE = "its picture cannot be read"
"""A reason to leave a row out."""
TWIN_UNREADABLE = "its twin's picture cannot be read"
"""Another."""


@dataclass(frozen=True)
class OwnData:
    """What an audit needs of the user's own pictures, n of them."""

    images: Float[Tensor, "n d"]
    """Their unit-length joint vectors, float32 on the CPU."""
    groups: Groups
    """Who is in them."""
    source: Path
    """The table."""
    layout: str | None
    """Whose layout the table has, where no group column was named."""
    columns: dict[str, str]
    """What is held, to the column that holds it."""
    left_out: dict[str, int]
    """Why rows of the table were left out, to how many."""
    unreadable: dict[str, str]
    """Path of each picture that cannot be read, to the reason."""
    paths: tuple[str, ...]
    """Path of each picture, as in the table."""
    folder: Path
    """Where relative paths start."""
    gone: tuple[str, ...] = ()
    """Targets of which no picture can be read."""

    def open_image(self, row: int) -> Image:
        """Return a picture in RGB.

        Raises
        ------
        UserError
            If it is gone since.
        """
        try:
            return FileOpener(self.folder).open_image(self.paths[row])
        except BadImage as error:
            raise UserError(f"{self.paths[row]} cannot be read any more: {error}.") from error

    @property
    def told(self) -> dict[str, object]:
        """Where the pictures come from, as plain JSON values."""
        # Those that cannot be read are named, and so are not counted again.
        left_out = {why: n for why, n in self.left_out.items() if why != UNREADABLE}
        return {
            "name": self.source.name,
            "layout": self.layout,
            "columns": self.columns,
            "left_out": left_out,
            "unreadable": self.unreadable,
            "gone": list(self.gone),
        }


def embed_own(model: HookedCLIP, table: OwnTable, progress: bool = False) -> OwnData:
    """Embed the pictures of a table, some at a time; those that cannot be read are left out.

    Parameters
    ----------
    model : HookedCLIP
    table : OwnTable
        As it was read and checked.
    progress : bool
        Show a bar.

    Raises
    ------
    UserError
        If none can be read, or those left do not make an audit any more.
    """
    assert model.preprocess is not None
    rows = np.arange(len(table.images))
    batches = [[table.images[row] for row in part] for part in _parts(rows)]
    decoded = decoded_batches(
        FileOpener(table.folder), model.preprocess, batches, default_num_workers(len(rows))
    )
    vectors, unreadable = [], {}
    bar = tqdm(decoded, "embedding", len(batches), disable=not progress, unit="batch")
    for batch, names in zip(bar, batches, strict=True):
        unreadable |= {names[at]: why for at, why in batch.bad.items()}
        if batch.pixels is not None:
            with torch.no_grad():
                vectors.append(model.encode_image(batch.pixels.to(model.device, model.dtype), True))
    if not vectors:
        name, why = next(iter(unreadable.items()))
        raise UserError(
            f"None of the {len(rows)} pictures of {table.path.name} can be read; the first is "
            f"{name!r:.80} ({why}): its path starts at {table.folder}."
        )
    readable = np.array([name not in unreadable for name in table.images])
    kept = readable & _has_whole_twin(table.groups, readable)
    images = torch.cat(vectors).float().cpu()[torch.from_numpy(kept[readable])]
    left_out = dict(table.left_out)
    for why, which in ((UNREADABLE, ~readable), (TWIN_UNREADABLE, readable & ~kept)):
        if which.any():
            left_out[why] = int(which.sum())
    groups = _only(table, kept, len(unreadable))
    return OwnData(
        images,
        groups,
        table.path,
        table.layout,
        table.columns,
        left_out,
        unreadable,
        tuple(np.array(table.images)[kept].tolist()),
        table.folder,
        tuple(sorted({*(table.groups.target or ())} - {*(groups.target or ())})),
    )


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH)]


def _has_whole_twin(groups: Groups, readable: np.ndarray) -> np.ndarray:
    if groups.twin is None:
        return readable
    n_left = Counter(np.array(groups.twin)[readable].tolist())
    return np.array([n_left[name] == 2 for name in groups.twin])


def _only(table: OwnTable, kept: np.ndarray, n_unreadable: int) -> Groups:
    def of(column: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if column is None else tuple(np.array(column)[kept].tolist())

    groups = table.groups
    try:
        return replace(
            groups,
            group=of(groups.group) or (),
            target=of(groups.target),
            identity=of(groups.identity),
            twin=of(groups.twin),
        )
    except UserError as error:
        lost = "one picture" if n_unreadable == 1 else f"{n_unreadable} pictures"
        raise UserError(
            f"Without the {lost} of {table.path.name} that cannot be read: {error}"
        ) from error
