"""FactorWorld as tensors: drawn once into a file, tokenized, batched in hard-negative groups."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from mm_sae_plugin.factorworld.architecture import (
    INPUT_SIZE,
    PIXEL_MEAN,
    PIXEL_STD,
    build_tokenizer,
)
from mm_sae_plugin.factorworld.world import FactorWorld

_CHUNK = 1024


@dataclass(frozen=True)
class DrawnPairs:
    """Images and tokens of the first ``n`` pairs of a world."""

    images: np.ndarray
    """uint8, [n, 48, 48, 3]; a memory map, so that two trainings share it."""
    tokens: Int[Tensor, "n context"]
    """int64 token rows."""


def draw_pairs(world: FactorWorld, n_pairs: int, cache: Path, n_workers: int = 2) -> DrawnPairs:
    """Draw pairs 0 to ``n_pairs`` at the models' input size, or reuse what ``cache`` holds."""
    name = f"world-v{world.version}-{world.seed}-{world.group_size}-{world.redraw}-{n_pairs}"
    path = cache / f"{name}.npy"
    cache.mkdir(parents=True, exist_ok=True)
    starts = range(0, n_pairs, _CHUNK)
    if not path.exists():
        shape = (n_pairs, INPUT_SIZE, INPUT_SIZE, 3)
        partial = path.with_suffix(f".{os.getpid()}.partial.npy")
        images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        with ProcessPoolExecutor(n_workers) as pool:
            chunks = pool.map(
                _draw_chunk, *zip(*[(world, s, n_pairs) for s in starts], strict=True)
            )
            for start, chunk in zip(starts, tqdm(chunks, "drawing", len(starts)), strict=True):
                images[start : start + len(chunk)] = chunk
        images.flush()
        partial.rename(path)
    tokenizer = build_tokenizer()
    captions = [world.scene(index).caption for index in tqdm(range(n_pairs), "captions")]
    return DrawnPairs(np.load(path, mmap_mode="r"), tokenizer(captions))


def _draw_chunk(world: FactorWorld, start: int, n_pairs: int) -> np.ndarray:
    stop = min(start + _CHUNK, n_pairs)
    return np.stack([as_input(world.draw(index)) for index in range(start, stop)])


def as_input(image: Image.Image) -> np.ndarray:
    """Return an image at the models' input size: uint8, [48, 48, 3]."""
    return np.asarray(image.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BICUBIC))


def normalize_pixels(
    images: UInt8[Tensor, "batch height width 3"],
) -> Float[Tensor, "batch 3 height width"]:
    """Return float32 pixels with the models' mean and standard deviation."""
    mean, std = torch.tensor(PIXEL_MEAN) * 255, torch.tensor(PIXEL_STD) * 255
    return ((images.float() - mean) / std).permute(0, 3, 1, 2).contiguous()


def batches_of_groups(
    n_pairs: int, batch_size: int, group_size: int, seed: int
) -> Iterator[Int[Tensor, "batch"]]:
    """Yield shuffled batches of pair indices for ever, whole groups at a time.

    The order depends on ``seed`` alone, so that a resumed training can skip what it has seen.
    """
    assert n_pairs % group_size == 0 and batch_size % group_size == 0
    generator = torch.Generator().manual_seed(seed)
    members = torch.arange(group_size)
    groups_per_batch = batch_size // group_size
    while True:
        order = torch.randperm(n_pairs // group_size, generator=generator)
        for start in range(0, len(order) - groups_per_batch + 1, groups_per_batch):
            groups = order[start : start + groups_per_batch]
            yield (groups[:, None] * group_size + members).flatten()
