"""Reading a complete store of activations."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.activations.manifest import StoreManifest, refuse_no_store
from mm_sae_plugin.activations.partitions import Partition, rechunk
from mm_sae_plugin.activations.shards import check_file, check_shard, read_shard
from mm_sae_plugin.activations.tables import (
    IMAGES_TABLE,
    PAIRS_TABLE,
    read_table,
    repeated_strings,
)
from mm_sae_plugin.activations.writer import STATISTICS
from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.pairs import ImageKey, ImageOpener, ImageReader, open_images

if TYPE_CHECKING:
    from PIL.Image import Image

_LABEL = "label."


class ActivationStore:
    """Activations of distinct images and of their captions, in one fixed order.

    Captions of one image stand together, and images stand in the order in which the source first
    names them. Rows come back in float32 whatever the precision on disk.

    Open one with :meth:`open`; :func:`mm_sae_plugin.extract` makes one.
    """

    def __init__(self, path: Path, manifest: StoreManifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> "ActivationStore":
        """Open a complete store.

        Parameters
        ----------
        path
            Its folder.
        verify
            Compare every file with its checksum, which reads them all once.

        Raises
        ------
        UserError
            If it is no store, not complete, empty, or damaged; the damaged file is named.
        """
        from tqdm import tqdm

        path = Path(path)
        refuse_no_store(path)
        manifest = StoreManifest.load(path)
        if manifest.n_images == 0:
            raise UserError(f"The activation store {path} is empty: extract it again.")
        if verify:
            for name, checksum in manifest.files.items():
                check_file(path / name, checksum)
            for shard in tqdm(manifest.shards, desc="verify", unit="shard", delay=2, leave=False):
                check_shard(path, shard)
        return cls(path, manifest)

    def __repr__(self) -> str:
        m = self.manifest
        return (
            f"ActivationStore({str(self.path)!r}, {m.model_name}, {m.n_images:,} images, "
            f"{m.n_pairs:,} captions)"
        )

    def image_rows(self) -> Float[Tensor, "n_image_rows d_image"]:
        """Return one row per distinct image, or ``n_tokens`` rows per image, in float32."""
        return self._rows("image", self.manifest.n_images * self.manifest.n_tokens)

    def text_rows(self) -> Float[Tensor, "n_pairs d_text"]:
        """Return one row per caption, in float32.

        Raises
        ------
        UserError
            If the store holds images alone.
        """
        self._check_text()
        return self._rows("text", self.manifest.n_pairs)

    def iter_image_rows(self, chunk: int) -> Iterator[Float[Tensor, "rows d_image"]]:
        """Yield the image rows in order, ``chunk`` at a time, one shard in memory."""
        parts = (read_shard(self.path, shard, ("image_rows",)) for shard in self.manifest.shards)
        for (rows,) in rechunk(parts, chunk):
            yield rows.float()

    def iter_pairs(
        self, chunk: int
    ) -> Iterator[
        tuple[Float[Tensor, "batch d_image"], Float[Tensor, "batch d_text"], Int[Tensor, "batch"]]
    ]:
        """Yield pairs in order, ``chunk`` at a time, one shard in memory.

        Yields
        ------
        tuple
            Image activations (repeated for each caption), text activations, both float32, and the
            row of the image.
        """
        for part in self.partitions(self.manifest.n_pairs):
            for acts_image, acts_text, image_index, _ in part.iter_pairs(chunk):
                yield acts_image, acts_text, image_index

    def partitions(self, n_pairs: int) -> list[Partition]:
        """Cut the pairs into consecutive parts that can be sent to other processes.

        Parameters
        ----------
        n_pairs
            Pairs in each part but the last; at least 1. A part may begin or end between two
            captions of one image.

        Raises
        ------
        UserError
            If the store holds images alone.
        """
        self._check_text()
        assert n_pairs >= 1
        total = self.manifest.n_pairs
        starts = range(0, total, n_pairs)
        # Other processes may stand in other folders.
        path = self.path.absolute()
        return [Partition(path, start, min(start + n_pairs, total)) for start in starts]

    @cached_property
    def image_index(self) -> Int[Tensor, "n_pairs"]:
        """Row of each caption's image."""
        return torch.from_numpy(self._pairs.column("image_row").to_numpy().copy())

    @cached_property
    def captions(self) -> list[str]:
        """The captions."""
        return self._pairs.column("caption").to_pylist()

    @cached_property
    def labels(self) -> dict[str, list[str]]:
        """Labels by name, one value per caption."""
        return {
            name.removeprefix(_LABEL): repeated_strings(self._pairs.column(name))
            for name in self._pairs.column_names
            if name.startswith(_LABEL)
        }

    @cached_property
    def image_ids(self) -> list[str]:
        """Name of each distinct image."""
        return self._images.column("image_id").to_pylist()

    @cached_property
    def image_keys(self) -> list[ImageKey]:
        """What the source opens each distinct image by."""
        return self._images.column("image_key").to_pylist()

    @cached_property
    def means(self) -> dict[str, Float[Tensor, "d"]]:
        """Mean row of each modality, ``"image"`` and ``"text"``, in float64."""
        from safetensors.torch import load_file

        means = load_file(self.path / STATISTICS)
        return {name.removeprefix("mean_"): mean for name, mean in means.items()}

    def open_image(self, row: int) -> "Image | None":
        """Return a distinct image as the model saw it, or None when it or the source is gone.

        Parameters
        ----------
        row
            Which, from 0 to ``n_images - 1``.

        Raises
        ------
        UserError
            If there is no such image.
        """
        self._check_row(row)
        if self._opener is None:
            return None
        # Reports show what is there; whatever is wrong with one picture must not end them.
        try:
            return self._opener.open_image(self.image_keys[row])
        except Exception:
            return None

    @cached_property
    def _opener(self) -> ImageOpener | None:
        try:
            reader = self.manifest.reader or ImageReader()
            return open_images(
                self.manifest.source,
                self.manifest.image_column,
                max_pixels=reader.max_pixels,
                background=reader.background,
            )
        except UserError:
            return None

    @cached_property
    def _pairs(self) -> Any:
        return read_table(self.path / PAIRS_TABLE)

    @cached_property
    def _images(self) -> Any:
        return read_table(self.path / IMAGES_TABLE)

    def _check_text(self) -> None:
        if self.manifest.text_hook is None:
            raise UserError(
                f"{self.path} holds images alone: extract with a text hook to have pairs."
            )

    def _check_row(self, row: Any) -> None:
        last = self.manifest.n_images - 1
        is_number = hasattr(row, "__index__") and not isinstance(row, bool)
        if not is_number or not 0 <= row <= last:
            given = row if is_number else kind_of(row)
            raise UserError(f"{self.path} has the images 0 to {last}, not {given}.")

    def _rows(self, side: str, n_rows: int) -> Float[Tensor, "n_rows d"]:
        width = self.manifest.d_image if side == "image" else self.manifest.d_text
        assert width is not None
        rows = torch.empty(n_rows, width)
        start = 0
        for shard in self.manifest.shards:
            (part,) = read_shard(self.path, shard, (f"{side}_rows",))
            rows[start : start + len(part)] = part
            start += len(part)
        assert start == n_rows, (start, n_rows)
        return rows
