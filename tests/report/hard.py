"""A hard case for the page: what real collections bring, which FactorWorld never does.

Hundreds of latents of which some fire on nearly everything, captions from nothing to 400 words in
several scripts, drawings on white, photograph-like pictures, and pictures that are gone.
"""

from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw

from mm_sae_plugin.stats import ModalityDominance, compute_modality, top_examples
from mm_sae_plugin.stats.config import RuleName
from mm_sae_plugin.stats.examples import TopExamples
from tests.stats.fakes import FakeStore, IdentityMap

N_DENSE, N_NEVER = 7, 40
SPECIAL = [
    "<script>alert('caught')</script> & \"quoted\" <b>bold</b> 'single'",
    "قطة سوداء تجلس على كرسي أحمر بجانب النافذة (صورة رقم 12)",
    "👩🏽‍🚀 an astronaut 🚀 and 👨‍👩‍👧‍👦 a family, naïve café",
    "黒い猫が赤い椅子に座っています。" * 40,
    "https://example.org/" + "a" * 400,
    "",
]
_SUBJECTS = ["cat", "lighthouse", "bicycle", "teapot", "umbrella", "violin", "cactus", "anchor"]
_FILLER = (
    "the drawing is a flat vector illustration with clean outlines on a plain white background "
    "made for schools and printed matter and it can be scaled to any size without loss"
)


class DrawingStore(FakeStore):
    """Clip art that is drawn when it is asked for; every fifth file is gone."""

    def open_image(self, row: int) -> Image.Image | None:
        if row % 5 == 0:
            return None
        wide, high = ((900, 300), (300, 900), (400, 400))[row % 3]
        if row % 7 == 0:
            noise = torch.randint(0, 256, (96, 96, 3), generator=torch.Generator().manual_seed(row))
            return Image.fromarray(noise.to(torch.uint8).numpy()).resize((wide, high))
        picture = Image.new("RGB", (wide, high), "white")
        pen = ImageDraw.Draw(picture)
        pen.ellipse((20, 20, wide - 20, high - 20), outline="black", width=8)
        pen.rectangle((wide // 3, high // 3, wide // 2, high // 2), fill=(row * 37 % 256, 90, 160))
        return picture


def caption_of(row: int) -> str:
    """A caption; the subject of a long one is named after a long preamble."""
    if row < 12 * len(SPECIAL):
        return SPECIAL[row % len(SPECIAL)]
    subject = _SUBJECTS[row % len(_SUBJECTS)]
    n_words = (8, 60, 400)[row % 3]
    filler = _FILLER.split()
    words = [filler[(row + i) % len(filler)] for i in range(n_words)]
    words[n_words * 2 // 3] = subject
    return " ".join(words)


@dataclass
class HardCase:
    """What a report is made from."""

    store: DrawingStore
    dominance: ModalityDominance
    examples: TopExamples


def hard_case(n_pairs: int = 1500, n_latents: int = 600, rule: RuleName = "interval") -> HardCase:
    generator = torch.Generator().manual_seed(0)
    # How often each latent fires on either side: from hardly ever to one row in five.
    rates = torch.rand(2, n_latents, generator=generator) ** 4 * 0.2
    rates[0, : n_latents // 4] = 0
    rates[:, :N_DENSE] = 0.97
    rates[:, -N_NEVER:] = 0
    codes = torch.rand(2, n_pairs, n_latents, generator=generator)
    fires = torch.rand(2, n_pairs, n_latents, generator=generator) < rates[:, None]
    image, text = codes * fires
    # Latents that follow a subject of the captions, or one of the special ones.
    for number in range(len(_SUBJECTS)):
        rows = torch.arange(n_pairs) % len(_SUBJECTS) == number
        rows[: 12 * len(SPECIAL)] = False
        text[:, N_DENSE + number] = rows * (1 + torch.rand(n_pairs, generator=generator))
    for number in range(len(SPECIAL)):
        rows = torch.arange(n_pairs) % len(SPECIAL) == number
        rows[12 * len(SPECIAL) :] = False
        text[:, N_DENSE + len(_SUBJECTS) + number] = rows * 1.0
    store = DrawingStore(
        image,
        text,
        torch.arange(n_pairs),
        captions=[caption_of(row) for row in range(n_pairs)],
        image_ids=[
            f"clip-art/drawings of things/{row:05d}_a rather long name.svg.png"
            for row in range(n_pairs)
        ],
    )
    feature_map = IdentityMap(n_latents)
    dominance = ModalityDominance.from_statistics(compute_modality(feature_map, store), rule=rule)
    return HardCase(store, dominance, top_examples(feature_map, store, range(n_latents)))


FACTS = {
    "model": "ViT-B-32 <laion2b_s34b_b79k>",
    "SAE": "topk",
    "hooks": "vision.hook_normalized · text.hook_normalized",
}
PROVENANCE = {
    "Data": {
        "pairs": "/data/collections/clip-art & drawings/captions.csv",
        "store key": "c7ac3123aa18" * 5,
    },
    "Training": {},
}
EVALUATION = {
    "explained_variance": {"image": 0.712, "text": 0.834},
    "l0": {"image": 32.0, "text": 31.4},
    "n_never_firing": 40,
    "n_never_firing_by_modality": {"image": 190, "text": 61},
}
SKIPPED = [(f"broken/{i}.png", f"cannot identify image file 'broken/{i}.png'") for i in range(31)]
