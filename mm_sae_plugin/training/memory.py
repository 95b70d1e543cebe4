"""Whether a store is read whole or streamed, and through how much memory."""

import os
from pathlib import Path

from mm_sae_plugin.activations.chunks import Chunks, chunks_within, least_bytes
from mm_sae_plugin.activations.layout import StoreLayout
from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.errors import UserError

GB = 10**9
DEFAULT_STREAM_GB = 2.0
"""What a store that is too large is streamed through unless the config says otherwise: more does
not mix better, and the same on every machine gives the same order there."""

# While rows in memory are normalised, there are those of the store, those that come out, and one
# side once more.
_NORMALIZED_COPIES = 2.5
# Its order in an epoch, and its image.
_BYTES_PER_PAIR = 24
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def fits_whole(store: ActivationStore, max_memory_gb: float | None, normalizes: bool) -> bool:
    """Whether a store is to be read into memory as a whole.

    Parameters
    ----------
    store : ActivationStore
        The store.
    max_memory_gb : float, optional
        What it may take; half of this machine's memory if nothing is said.
    normalizes : bool
        Whether the rows will be normalised, which takes more for a moment.
    """
    limit = machine_memory() / 2 if max_memory_gb is None else max_memory_gb * GB
    return _bytes_whole(store, normalizes) <= limit


def streamed(
    store: ActivationStore, max_memory_gb: float | None, batch_size: int
) -> tuple[StoreLayout, Chunks]:
    """Cut a store into chunks for streaming.

    Parameters
    ----------
    store : ActivationStore
        The store.
    max_memory_gb : float, optional
        What its activations may take; at most 2 if nothing is said.
    batch_size : int
        Rows of a batch; a chunk has at least one batch.

    Raises
    ------
    UserError
        If that is too little for one batch, or a file of the store cannot be read.
    """
    layout = StoreLayout.of(store.path, store.manifest)
    gigabytes = max_memory_gb or min(DEFAULT_STREAM_GB, machine_memory() / 2 / GB)
    max_bytes = int(gigabytes * GB)
    n_items = -(-batch_size // 2) if layout.texts is not None else batch_size
    chunks = chunks_within(layout, max_bytes)
    least = least_bytes(layout, n_items)
    if chunks is None or (chunks.capacity < n_items and max_bytes < least):
        raise UserError(
            f"max_memory_gb = {gigabytes:g} is too little to read batches of {batch_size} rows "
            f"from {store.path}: give at least {_rounded_up(least)}, or a smaller "
            "train_batch_size_samples."
        )
    return layout, chunks


def machine_memory() -> int:
    """Return the bytes of memory that this machine has, or that its container may use."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUP_LIMITS):
        try:
            limits.append(int(path.read_text()))
        # There is no such group, or it says "max".
        except (OSError, ValueError):
            continue
    return min(limits)


def _bytes_whole(store: ActivationStore, normalizes: bool) -> float:
    manifest = store.manifest
    n_numbers = manifest.n_images * manifest.n_tokens * manifest.d_image
    n_numbers += manifest.n_pairs * (manifest.d_text or 0)
    copies = _NORMALIZED_COPIES if normalizes else 1
    largest_shard = max((shard.n_bytes for shard in manifest.shards), default=0)
    return 4 * n_numbers * copies + manifest.n_pairs * _BYTES_PER_PAIR + largest_shard


def _rounded_up(n_bytes: int) -> str:
    # Three digits, so that what is said is surely enough.
    digits = max(0, len(str(n_bytes)) - 3)
    return f"{-(-n_bytes // 10**digits) * 10**digits / GB:.12g}"
