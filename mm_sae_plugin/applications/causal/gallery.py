"""The pairs that everything is measured on: images, their captions, and prompts for what is known.

The vectors are computed once; a removal of latents is then a product of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, islice
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.embedding import embed_pictures, embed_texts
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS, FactorWorld
from mm_sae_plugin.factorworld.captions import write_caption
from mm_sae_plugin.factorworld.factors import Factor
from mm_sae_plugin.factorworld.truth import drawn_label, said_label
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.labelling import is_truth_known
from mm_sae_plugin.study import Study

GALLERY_SEED = 12_000
"""Seed of the world that pairs are drawn from: no model was trained and no card measured on it."""
_PROMPT_SEED = 12_001
_LEAST_IMAGES = 20
# Pairs of a store that are read at a time.
_CHUNK = 8192


@dataclass(frozen=True)
class Question:
    """A factor, and which value of it images show and captions say."""

    factor: Factor
    """What is asked about, and how often either side really has it."""
    shown: Int[Tensor, "n_images"]
    """int64: number of the value that each image shows; -1 where it shows none."""
    said: Int[Tensor, "n_captions"]
    """int64: number of the value that each caption says; -1 where it says none."""
    prompts: slice
    """Rows of the gallery's prompts, as many for each value, value after value; none where no
    caption ever says the factor."""

    @property
    def is_asked(self) -> bool:
        """Whether images are asked for their value: captions must have words for it."""
        return bool(self.factor.drawn and self.factor.said)


@dataclass(frozen=True)
class Gallery:
    """Pairs of one model, as vectors of its joint space."""

    source: str
    """Where the pairs come from, in words."""
    is_held_out: bool
    """Whether the latents were labelled on other pairs."""
    images: Float[Tensor, "n_images d"]
    """Unit-length vectors, each image once."""
    captions: Float[Tensor, "n_captions d"]
    """Unit-length vectors, image after image."""
    image_of: Int[Tensor, "n_captions"]
    """int64: the image of each caption; every image has at least one."""
    prompts: Float[Tensor, "n_prompts d"]
    """Unit-length vectors of the prompts of all questions; none where no factors are known."""
    questions: tuple[Question, ...] = ()
    """Every known factor; empty where none are known."""

    @property
    def asked(self) -> list[Question]:
        """Factors whose value images are asked for, zero-shot."""
        return [one for one in self.questions if one.is_asked]

    @classmethod
    def of_world(cls, model: HookedCLIP, n_images: int, n_prompts: int, seed: int) -> Gallery:
        """Draw pairs of FactorWorld, and write prompts that differ in nothing but a value.

        Parameters
        ----------
        model : HookedCLIP
            What embeds them.
        n_images : int
            Images, each with one caption.
        n_prompts : int
            Prompts for each value of each factor that captions ever say.
        seed : int
            Of the world.
        """
        world = FactorWorld(seed)
        pairs = [world.pair(index) for index in range(n_images)]
        questions, prompts = [], []
        for name, factor in FACTORS.items():
            written = _prompts(factor, n_prompts)
            rows = slice(len(prompts), len(prompts) + len(written))
            prompts += written
            shown = _numbers([pair.labels[drawn_label(name)] for pair in pairs], factor)
            said = _numbers([pair.labels[said_label(name)] for pair in pairs], factor)
            questions.append(Question(factor, shown, said, rows))
        return cls(
            f"FactorWorld, seed {seed}",
            True,
            embed_pictures(model, [pair.image for pair in pairs]),
            embed_texts(model, [pair.caption for pair in pairs]),
            torch.arange(n_images),
            embed_texts(model, prompts),
            tuple(questions),
        )

    @classmethod
    def of_store(cls, store: PairedActivations, n_images: int, seed: int) -> Gallery:
        """Draw images of a store, with all their captions.

        Parameters
        ----------
        store : PairedActivations
            Activations of the joint space.
        n_images : int
            How many, or as many as there are.
        seed : int
            Of the draw.

        Raises
        ------
        UserError
            If the store has too few images with captions.
        """
        index = torch.as_tensor(store.image_index)
        captioned = torch.unique(index)
        if len(captioned) < _LEAST_IMAGES:
            raise UserError(
                f"The store holds {len(captioned)} images with captions: what removing latents "
                f"costs is measured on {_LEAST_IMAGES} at least, so extract more pairs."
            )
        rng = np.random.default_rng(seed)
        drawn = rng.choice(len(captioned), min(n_images, len(captioned)), replace=False)
        rows = captioned[torch.from_numpy(np.sort(drawn))]
        position = torch.full((int(captioned.max()) + 1,), -1)
        position[rows] = torch.arange(len(rows))
        images, captions, image_of = _read(store, position)
        # Image after image, wherever the captions of one lie.
        order = image_of.argsort(stable=True)
        image_of, captions = image_of[order], captions[order]
        first = torch.ones(len(image_of), dtype=torch.bool)
        first[1:] = image_of.diff() != 0
        return cls(
            "the pairs that the latents were labelled on",
            False,
            normalize(images[order][first], dim=1),
            normalize(captions, dim=1),
            image_of,
            captions[:0],
        )


def gallery_of(study: Study, n_images: int, n_prompts: int, seed: int) -> Gallery:
    """Return fresh pairs where the study's are of FactorWorld, else some of its own.

    Raises
    ------
    UserError
        If there is no encoder to embed fresh pairs with, or too few pairs.
    """
    store = cast(PairedActivations, study.store)
    source = study.store.manifest.source
    if not is_truth_known(store, source):
        return Gallery.of_store(store, n_images, seed)
    # A store may be of any seed, this one too.
    is_taken = source.endswith(f":{GALLERY_SEED}")
    return Gallery.of_world(study.model, n_images, n_prompts, GALLERY_SEED + 2 * is_taken)


def _read(
    store: PairedActivations, position: Int[Tensor, "n"]
) -> tuple[Float[Tensor, "n_pairs d"], Float[Tensor, "n_pairs d"], Int[Tensor, "n_pairs"]]:
    """Read the pairs of images that have a position, chunk by chunk: a store may be large."""
    parts = []
    for acts_image, acts_text, index in store.iter_pairs(_CHUNK):
        wanted = position[index] >= 0
        parts.append(
            (acts_image[wanted].float(), acts_text[wanted].float(), position[index[wanted]])
        )
    images, captions, image_of = (torch.cat(column) for column in zip(*parts, strict=True))
    return images, captions, image_of


def _prompts(factor: Factor, n_prompts: int) -> list[str]:
    """Write captions for each value in turn, that differ in nothing else."""
    if not factor.said:
        return []
    scenes = map(FactorWorld(_PROMPT_SEED).scene, count())
    said = (scene.said for scene in scenes if scene.kind in factor.scenes)
    told = list(islice(said, n_prompts))
    return [write_caption(one | {factor.name: value}) for value in factor.values for one in told]


def _numbers(values: list[str], factor: Factor) -> Int[Tensor, "n"]:
    return torch.tensor([factor.values.index(v) if v else -1 for v in values])
