"""Where the rows of a store lie on disk, and which captions belong to which image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from mm_sae_plugin.activations.manifest import StoreManifest
from mm_sae_plugin.activations.row_blocks import RowBlock, n_rows_of
from mm_sae_plugin.activations.tables import PAIRS_TABLE, iter_column


@dataclass(frozen=True)
class StoreLayout:
    """What a reader of single rows needs to know of a store; holds no rows."""

    images: Sequence[RowBlock]
    """Image rows of each shard."""
    texts: Sequence[RowBlock] | None
    """Caption rows of each shard; None for a store of images alone."""
    image_index: Int[Tensor, "n_pairs"] | None
    """Image row of each caption, int32 and never falling; None for a store of images alone."""

    @classmethod
    def of(cls, path: Path, manifest: StoreManifest) -> "StoreLayout":
        """Look at every shard's header and at the table of pairs.

        Raises
        ------
        UserError
            If a file of the store is gone or cannot be read.
        """
        shards = manifest.shards
        images = [RowBlock.find(path, shard, "image_rows") for shard in shards]
        if manifest.text_hook is None or manifest.n_pairs == 0:
            return cls(images, None, None)
        texts = [RowBlock.find(path, shard, "text_rows") for shard in shards]
        index = torch.empty(manifest.n_pairs, dtype=torch.int32)
        n_read = 0
        # Not the whole column at once: it would take twice its own memory for a moment.
        for part in iter_column(path / PAIRS_TABLE, "image_row"):
            index[n_read : n_read + len(part)] = torch.from_numpy(part)
            n_read += len(part)
        assert n_read == manifest.n_pairs == n_rows_of(texts)
        return cls(images, texts, index)

    @property
    def items(self) -> Sequence[RowBlock]:
        """What an epoch consists of: captions, each with its image; or the one tower's rows."""
        return self.images if self.texts is None else self.texts

    @property
    def n_items(self) -> int:
        """Length of an epoch."""
        return n_rows_of(self.items)

    @property
    def n_bytes_held(self) -> int:
        """Memory that the layout itself takes."""
        return 0 if self.image_index is None else self.image_index.nbytes
