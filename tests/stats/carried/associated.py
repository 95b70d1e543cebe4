"""Pairs in which one factor goes with another: a planted association of known strength."""

import numpy as np
import torch

from mm_sae_plugin.modality import Modality
from tests.stats.carried.worlds import World
from tests.stats.fakes import FakeStore


def associated_world(
    strength: float,
    n_values: int = 6,
    n_pairs: int = 12_000,
    noise: float = 0.05,
    n_others: int = 4,
    seed: int = 0,
) -> World:
    """A shared factor, one that is only drawn and copies it now and then, and shared ones beside.

    Latents: the first value of the copy, of the shared factor, and of each of the others.

    Parameters
    ----------
    strength : float
        Probability that the copy has the shared factor's value, and not one of its own: the
        correlation (φ) of two values of the same number.
    """
    rng = np.random.default_rng(seed)
    shared = rng.integers(0, n_values, n_pairs)
    copied = rng.random(n_pairs) < strength
    copy = np.where(copied, shared, rng.integers(0, n_values, n_pairs))
    others = [rng.integers(0, n_values, n_pairs) for _ in range(n_others)]
    return shown([copy, shared, *others], [False, True, *[True] * n_others], n_values, noise, rng)


def people(strength: float, n_pairs: int = 12_000, noise: float = 0.05, seed: int = 0) -> World:
    """Gender is drawn and never said, occupation both; half of the occupations lean to each gender.

    Latents: one gender, then every occupation.

    Parameters
    ----------
    strength : float
        0: occupations say nothing of gender; 1: they tell it. Its square is what they explain.
    """
    rng = np.random.default_rng(seed)
    occupation = rng.integers(0, 8, n_pairs)
    leaning = 0.5 + np.repeat([-0.5, 0.5], 4) * strength
    gender = (rng.random(n_pairs) < leaning[occupation]).astype(int)
    return shown([gender, occupation], [False, True], 8, noise, rng, latents=[0, *range(8, 16)])


def shown(
    values: list[np.ndarray],
    said: list[bool],
    n_values: int,
    noise: float,
    rng: np.random.Generator,
    latents: list[int] | None = None,
) -> World:
    """Pairs that always draw every factor, and say those that are said.

    Latents are the first value of each factor, or those given.
    """
    n_pairs, d = len(values[0]), len(values) * n_values
    sides: dict[Modality, np.ndarray] = {}
    bases: dict[Modality, torch.Tensor] = {}
    modalities: tuple[Modality, Modality] = ("image", "text")
    for modality in modalities:
        basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
        acts = noise * rng.normal(size=(n_pairs, d))
        for number, (value, told) in enumerate(zip(values, said, strict=True)):
            if modality == "image" or told:
                acts += basis[number * n_values + value]
        sides[modality] = acts
        bases[modality] = torch.from_numpy(basis).float()
    store = FakeStore(
        torch.from_numpy(sides["image"]).float(),
        torch.from_numpy(sides["text"]).float(),
        torch.arange(n_pairs),
    )
    rows = list(range(0, d, n_values)) if latents is None else latents
    return World(store, {modality: basis[rows] for modality, basis in bases.items()})
