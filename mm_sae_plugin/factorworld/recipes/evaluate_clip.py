"""What an embedded model knows: zero-shot accuracy, linear probes and the modality gap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.factorworld.architecture import build_tokenizer
from mm_sae_plugin.factorworld.captions import write_caption
from mm_sae_plugin.factorworld.factors import FACTORS, Factor
from mm_sae_plugin.factorworld.recipes.training_data import as_input, normalize_pixels
from mm_sae_plugin.factorworld.world import FactorWorld, Scene

if TYPE_CHECKING:
    from open_clip.model import CustomTextCLIP

HELD_OUT_SEED = 2_000
"""Seed of the world on which the figures of the model cards are measured."""
_PROMPT_SEED = 3_000
_PROMPTS = 64
_BATCH = 256
_RIDGE = 1e-2


@dataclass(frozen=True)
class HeldOut:
    """Held-out pairs with both unit-length embeddings."""

    scenes: list[Scene]
    """What is true of each pair."""
    image: Float[Tensor, "n d_joint"]
    """Image embeddings, unit length."""
    text: Float[Tensor, "n d_joint"]
    """Text embeddings, unit length."""
    factors: Mapping[str, Factor]
    """The table of their world."""


@torch.no_grad()
def embed_held_out(
    model: CustomTextCLIP,
    n_pairs: int,
    seed: int = HELD_OUT_SEED,
    factors: Mapping[str, Factor] = FACTORS,
) -> HeldOut:
    """Embed the first ``n_pairs`` pairs of a world that the model has not seen."""
    world = FactorWorld(seed, factors=factors)
    scenes = [world.scene(index) for index in range(n_pairs)]
    images = []
    for start in range(0, n_pairs, _BATCH):
        stop = min(start + _BATCH, n_pairs)
        pixels = np.stack([as_input(world.draw(index)) for index in range(start, stop)])
        images.append(model.encode_image(normalize_pixels(torch.from_numpy(pixels))))
    text = embed_texts(model, [scene.caption for scene in scenes])
    return HeldOut(scenes, F.normalize(torch.cat(images), dim=-1), text, factors)


@torch.no_grad()
def embed_texts(model: CustomTextCLIP, captions: list[str]) -> Float[Tensor, "n d_joint"]:
    """Return unit-length text embeddings."""
    tokens = build_tokenizer()(captions)
    rows = [model.encode_text(chunk) for chunk in tokens.split(_BATCH)]
    return F.normalize(torch.cat(rows), dim=-1)


def zero_shot_accuracy(model: CustomTextCLIP, held_out: HeldOut, factor: Factor) -> float:
    """Return the share of images whose value of ``factor`` is the nearest class embedding.

    The embedding of a value is the mean over captions that name it and differ in all else (prompt
    ensembling, Radford et al. 2021, section 3.1.4).
    """
    shown = [i for i, scene in enumerate(held_out.scenes) if factor.name in scene.drawn]
    world = FactorWorld(_PROMPT_SEED, factors=held_out.factors)
    prompts = (world.scene(i) for i in count())
    told = [s.said for s in islice((s for s in prompts if s.kind in factor.scenes), _PROMPTS)]
    classes = [
        embed_texts(model, [write_caption(said | {factor.name: value}) for said in told]).mean(0)
        for value in factor.values
    ]
    nearest = (held_out.image[shown] @ F.normalize(torch.stack(classes), dim=-1).T).argmax(1)
    truth = [factor.values.index(held_out.scenes[i].drawn[factor.name]) for i in shown]
    return float((nearest == torch.tensor(truth)).float().mean())


def probe_accuracy(held_out: HeldOut, factor: Factor, side: str) -> float:
    """Return the accuracy of a ridge probe for a factor on the second half of the pairs.

    The probe is fitted on the first half of the embeddings of one side (``image`` or ``text``),
    where that side carries the factor.
    """
    rows = held_out.image if side == "image" else held_out.text
    carried = [(s.drawn if side == "image" else s.said).get(factor.name) for s in held_out.scenes]
    index = [i for i, value in enumerate(carried) if value]
    truth = torch.tensor([factor.values.index(carried[i] or "") for i in index])
    features = F.pad(rows[index].double(), (0, 1), value=1.0)
    half = len(index) // 2
    fit, target = features[:half], F.one_hot(truth[:half], len(factor.values)).double()
    gram = fit.T @ fit + _RIDGE * torch.eye(fit.shape[1], dtype=torch.float64)
    guess = (features[half:] @ torch.linalg.solve(gram, fit.T @ target)).argmax(1)
    return float((guess == truth[half:]).float().mean())


def retrieval_accuracy(held_out: HeldOut, n: int = 256) -> float:
    """Return the share of the first ``n`` images whose own caption is the nearest of ``n``."""
    nearest = (held_out.image[:n] @ held_out.text[:n].T).argmax(1)
    return float((nearest == torch.arange(n)).float().mean())


def modality_gap(held_out: HeldOut) -> float:
    """Return the distance between the mean image and the mean text embedding, 0 to 2."""
    return float((held_out.image.mean(0) - held_out.text.mean(0)).norm())


def evaluate_clip(
    model: CustomTextCLIP, n_pairs: int = 4_000, factors: Mapping[str, Factor] = FACTORS
) -> dict:
    """Return every figure of the model card, measured on held-out pairs."""
    held_out = embed_held_out(model, n_pairs, factors=factors)
    rows = {}
    for name, factor in factors.items():
        row: dict[str, float] = {"chance": 1 / len(factor.values)}
        if factor.drawn:
            row["probe_image"] = probe_accuracy(held_out, factor, "image")
        if factor.said:
            row["probe_text"] = probe_accuracy(held_out, factor, "text")
        if factor.drawn and factor.said:
            row["zero_shot"] = zero_shot_accuracy(model, held_out, factor)
        rows[name] = {key: round(value, 4) for key, value in row.items()}
    return {
        "n_pairs": n_pairs,
        "world_seed": HELD_OUT_SEED,
        "retrieval_at_1_of_256": round(retrieval_accuracy(held_out), 4),
        "modality_gap": round(modality_gap(held_out), 4),
        "factors": rows,
    }
