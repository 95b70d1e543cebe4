"""Pictures of noise and how a tiny model takes them; light, since worker processes import it."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mm_sae_plugin.pairs import BadImage, ListedPairs, PairRecord

SIZE = 16
CTX = 6


def tokenize(captions: list[str]) -> torch.Tensor:
    """Map every caption to token ids by a hash of its words."""
    rows = torch.zeros(len(captions), CTX, dtype=torch.long)
    for row, caption in zip(rows, captions, strict=True):
        words = caption.split()[: CTX - 1]
        ids = [1 + sha256(word.encode()).digest()[0] % 40 for word in words]
        row[: len(ids) + 1] = torch.tensor([*ids, 49])
    return rows


def preprocess(image: Image.Image) -> torch.Tensor:
    """Map an image to pixels."""
    pixels = np.asarray(image.resize((SIZE, SIZE)), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)


@dataclass(frozen=True)
class NoiseOpener:
    """Pictures of noise by number; some are missing, some interrupt, each is logged."""

    missing: frozenset[int] = frozenset()
    interrupt_at: int | None = None
    log: str | None = None

    def open_image(self, image_key):
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{image_key}\n")
        if image_key in self.missing:
            raise BadImage("it is missing")
        if image_key == self.interrupt_at:
            raise KeyboardInterrupt
        noise = np.random.default_rng(int(image_key)).integers(0, 256, (20, 24, 3))
        return Image.fromarray(noise.astype(np.uint8))


def noise_pairs(n_images=50, captions_each=1, fingerprint="noise", captions=None, **opener):
    """Return a source of noise; the captions of one image stand far apart."""
    records = [
        PairRecord(image, f"image {image} said {c}", f"id-{image}", {"which": str(c)})
        for c in range(captions_each)
        for image in range(n_images)
    ]
    if captions:
        records = [
            PairRecord(r.image_key, captions.get(r.caption, r.caption), r.image_id, r.labels)
            for r in records
        ]
    return ListedPairs("noise", fingerprint, records, NoiseOpener(**opener))


def opened(log: Path) -> list[int]:
    return [int(image) for image in log.read_text().split()]
