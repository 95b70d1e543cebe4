"""Stores on disk with given rows, without a model that makes them."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from mm_sae_plugin.activations.manifest import ShardInfo, SideStatistics, StoreManifest
from mm_sae_plugin.activations.shards import write_tensors
from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.activations.tables import IMAGES_TABLE, PAIRS_TABLE, write_table
from mm_sae_plugin.activations.writer import STATISTICS
from mm_sae_plugin.files import sha256_of_file


def write_store(
    folder: Path, shards: Iterable[tuple[Tensor, Tensor | None, Tensor | None]], n_tokens: int = 1
) -> ActivationStore:
    """Write a store from shards of image rows, caption rows and each caption's image in the shard.

    A shard is forgotten once it is written, so a store may be larger than memory.
    """
    import pyarrow as pa

    folder.mkdir(parents=True)
    infos, index, sums = [], [], {"image": [], "text": []}
    n_rows, n_images = 0, 0
    images = torch.empty(0)
    for number, (images, texts, of_image) in enumerate(shards):
        tensors = {"image_rows": images} | ({} if texts is None else {"text_rows": texts})
        path = folder / f"shard-{number:05d}.safetensors"
        write_tensors(path, tensors)
        for side, rows in (("image", images), ("text", texts)):
            if rows is not None:
                sums[side].append(rows.double().sum(dim=0))
        n_new = len(images) // n_tokens
        n_pairs = 0 if texts is None else len(texts)
        if of_image is not None:
            index.append(of_image + n_images)
        infos.append(
            ShardInfo(
                path.name,
                sha256_of_file(path),
                path.stat().st_size,
                *(n_images, n_images + n_new, n_new, n_pairs),
            )
        )
        n_rows, n_images = n_rows + len(images), n_images + n_new
    rows_of_pairs = torch.cat(index).long() if index else torch.empty(0, dtype=torch.long)
    n_pairs = len(rows_of_pairs)
    write_table(folder / PAIRS_TABLE, pa.table({"image_row": rows_of_pairs.numpy()}))
    write_table(folder / IMAGES_TABLE, pa.table({"image_id": list(map(str, range(n_images)))}))
    counts = {"image": n_rows, "text": n_pairs}
    means = {
        f"mean_{side}": torch.stack(parts).sum(0) / counts[side]
        for side, parts in sums.items()
        if parts
    }
    write_tensors(folder / STATISTICS, means)
    width = images.shape[1]
    names = (IMAGES_TABLE, PAIRS_TABLE, STATISTICS)
    manifest = StoreManifest(
        key=f"written:{folder.name}",
        model_name="none",
        weights_id="none",
        image_hook="vision.hook_normalized",
        text_hook="text.hook_normalized" if n_pairs else None,
        token_mode="all" if n_tokens > 1 else None,
        dtype=str(images.dtype).removeprefix("torch."),
        model_dtype="float32",
        source="none",
        image_column="image",
        fingerprint="none",
        n_images=n_images,
        n_pairs=n_pairs,
        n_tokens=n_tokens,
        d_image=width,
        d_text=width if n_pairs else None,
        image_statistics=SideStatistics(n_rows, 1.0, 1.0, 0.0),
        text_statistics=SideStatistics(n_pairs, 1.0, 1.0, 0.0) if n_pairs else None,
        files={name: sha256_of_file(folder / name) for name in names},
        shards=infos,
        skipped=[],
    )
    manifest.save(folder)
    return ActivationStore.open(folder)
