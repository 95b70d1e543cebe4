"""The generator's training data: pictures, subjects, labels and embeddings, made once."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from mm_sae_plugin.factorworld.captions import write_caption
from mm_sae_plugin.factorworld.drawing.render import IMAGE_SIZE, subject_mask
from mm_sae_plugin.factorworld.embedded import EmbeddedCLIP, load_embedded
from mm_sae_plugin.factorworld.factors import FACTORS
from mm_sae_plugin.factorworld.world import FactorWorld, Scene

ABSENT = -100
"""The label of a factor that the picture does not show; ``cross_entropy`` ignores it."""
PATCH = 4
"""Side of a patch in pixels: the codec turns each patch into one latent position."""

_CHUNK = 1024
_BATCH = 512
# FactorWorld's own stream of the numbers that no factor governs.
_DRAWING_STREAM = 1


@dataclass(frozen=True)
class GeneratorData:
    """The first ``n`` pairs of a world, as memory maps that several trainings can share."""

    pictures: UInt8[np.ndarray, "n height width 3"]
    """The pictures."""
    subjects: UInt8[np.ndarray, "n rows columns"]
    """Number of pixels of each patch, 0 to 16, that belong to the subject."""
    labels: Int[np.ndarray, "n n_factors"]
    """Number of the drawn value of each factor, or ``ABSENT``."""
    images: Float[np.ndarray, "n d_joint"]
    """Unit-length image embeddings."""
    texts: Float[np.ndarray, "n d_joint"]
    """Unit-length embeddings of the captions."""

    def __len__(self) -> int:
        return len(self.pictures)


def make_data(world: FactorWorld, n_pairs: int, folder: Path, n_workers: int = 2) -> GeneratorData:
    """Draw and embed pairs 0 to ``n_pairs`` of a world, or reuse what ``folder`` holds of them."""
    home = folder / f"world-v{world.version}-{world.seed}-{n_pairs}"
    home.mkdir(parents=True, exist_ok=True)
    shape = (n_pairs, IMAGE_SIZE // PATCH, IMAGE_SIZE // PATCH)
    arrays = {
        "pictures": ((n_pairs, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
        "subjects": (shape, np.uint8),
        "labels": ((n_pairs, len(FACTORS)), np.int8),
        "images": ((n_pairs, 128), np.float32),
        "texts": ((n_pairs, 128), np.float32),
    }
    done = home / "complete"
    if not done.exists():
        maps = {
            name: np.lib.format.open_memmap(home / f"{name}.npy", mode="w+", dtype=d, shape=s)
            for name, (s, d) in arrays.items()
        }
        clip = load_embedded("factorworld")
        starts = range(0, n_pairs, _CHUNK)
        with ProcessPoolExecutor(n_workers) as pool:
            chunks = pool.map(
                _draw_chunk, *zip(*[(world, s, n_pairs) for s in starts], strict=True)
            )
            for start, chunk in zip(starts, tqdm(chunks, "drawing", len(starts)), strict=True):
                pictures, subjects, labels, captions = chunk
                rows = slice(start, start + len(pictures))
                maps["pictures"][rows], maps["subjects"][rows] = pictures, subjects
                maps["labels"][rows] = labels
                maps["images"][rows] = embed_pictures(clip, pictures).numpy()
                maps["texts"][rows] = embed_captions(clip, captions).numpy()
        for array in maps.values():
            array.flush()
        done.touch()
    return GeneratorData(**{n: np.load(home / f"{n}.npy", mmap_mode="r") for n in arrays})


def _draw_chunk(
    world: FactorWorld, start: int, n_pairs: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    scenes = [world.scene(index) for index in range(start, min(start + _CHUNK, n_pairs))]
    pictures = np.stack([np.asarray(world.draw(start + i)) for i in range(len(scenes))])
    masks = []
    for index, scene in enumerate(scenes, start):
        rng = np.random.default_rng((world.seed, index, _DRAWING_STREAM))
        masks.append(subject_mask(scene.kind, scene.drawn, rng))
    patches = np.stack(masks).reshape(len(scenes), -1, PATCH, IMAGE_SIZE // PATCH, PATCH)
    labels = np.stack([drawn_labels(scene) for scene in scenes])
    captions = [write_caption(scene.said) for scene in scenes]
    return pictures, patches.sum((2, 4), dtype=np.uint8), labels, captions


def drawn_labels(scene: Scene) -> Int[np.ndarray, "n_factors"]:
    """Return the number of the drawn value of each factor of ``FACTORS``, or ``ABSENT``."""
    return np.array(
        [
            factor.values.index(scene.drawn[name]) if name in scene.drawn else ABSENT
            for name, factor in FACTORS.items()
        ],
        dtype=np.int8,
    )


@torch.no_grad()
def embed_pictures(
    clip: EmbeddedCLIP, pictures: UInt8[np.ndarray, "n height width 3"]
) -> Float[Tensor, "n d_joint"]:
    """Return the unit-length embeddings of pictures, exactly as a user's picture is embedded."""
    from PIL import Image

    rows = []
    for start in range(0, len(pictures), _BATCH):
        batch = [clip.preprocess(Image.fromarray(p)) for p in pictures[start : start + _BATCH]]
        rows.append(clip.model.encode_image(torch.stack(batch)))  # pyright: ignore
    return F.normalize(torch.cat(rows), dim=-1)


@torch.no_grad()
def embed_captions(clip: EmbeddedCLIP, captions: list[str]) -> Float[Tensor, "n d_joint"]:
    """Return the unit-length embeddings of captions."""
    tokens = clip.tokenizer(captions)
    rows = [clip.model.encode_text(chunk) for chunk in tokens.split(_BATCH)]  # pyright: ignore
    return F.normalize(torch.cat(rows), dim=-1)


def batches(n: int, batch_size: int, seed: int, first: int = 0) -> Iterator[np.ndarray]:
    """Yield shuffled batches of row numbers for ever, beginning with batch ``first``.

    The order depends on ``seed`` alone, so that a resumed training can go on where it was. Rows of
    a batch are sorted, which a memory map reads faster.
    """
    per_epoch = n // batch_size
    for epoch in range(first // per_epoch, 1 << 40):
        order = np.random.default_rng((seed, epoch)).permutation(n)
        for number in range(first % per_epoch if epoch == first // per_epoch else 0, per_epoch):
            yield np.sort(order[number * batch_size : (number + 1) * batch_size])
