"""What each way of moving a prompt's vector does to the pictures that are drawn of it.

A prompt says the shared factors of one scene; the reference is the picture of another. *Control* is
the share of the reference's shared factors, of those in which the two scenes differ, that the drawn
picture shows; *kept* is the share of the reference's image-dominant factors that it shows, and
*marks* that of the text-dominant factors of which the reference has a mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from mm_sae_plugin.applications.steering.arms import Arm, Vectors, moved
from mm_sae_plugin.applications.steering.pictures import ssim
from mm_sae_plugin.factorworld import FACTORS, SHARED_FACTORS, FactorWorld
from mm_sae_plugin.factorworld.captions import write_caption
from mm_sae_plugin.factorworld.classifier import as_pixels
from mm_sae_plugin.factorworld.world import Scene

DETAILS = tuple(f.name for f in FACTORS.values() if f.modality == "ImgD" and f.said)
"""Image-dominant factors: ground, backdrop, lighting, weather, frame, pattern."""
MARKS = tuple(f.name for f in FACTORS.values() if f.modality == "TextD" and f.drawn)
"""Text-dominant factors that are drawn as a mark now and then: weekday, tag, opening and more."""
EVALUATION_SEED = 9_000
"""Seed of the world of prompts and references, from which no model has seen a pair."""
UNMOVED = "none"
"""Name of the pictures of the prompts as they are."""
PROMPT_EDIT = "prompt edit"
"""Name of the pictures of the prompt that says the reference's shared factors instead."""


@runtime_checkable
class Reader(Protocol):
    """What reads pictures; `FactorClassifier` does."""

    def answers(self, pictures: UInt8[np.ndarray, "n 64 64 3"]) -> Int[np.ndarray, "n n_factors"]:
        """Return the number of the value of every factor, for every picture."""
        ...

    def features(self, pixels: Float[Tensor, "n 3 64 64"]) -> Float[Tensor, "n d"]:
        """Return what pictures are compared by."""
        ...


@runtime_checkable
class Generator(Protocol):
    """What draws; both steps are the same whenever they are given the same seeds."""

    def embeddings(self, prompts: Sequence[str], seeds: Sequence[int]) -> Vectors:
        """Return a joint vector of a picture of each prompt."""
        ...

    def draw(self, vectors: Vectors, seeds: Sequence[int]) -> UInt8[np.ndarray, "n 64 64 3"]:
        """Return a picture of each vector."""
        ...


@dataclass(frozen=True)
class Case:
    """A prompt and a reference of the same kind of scene."""

    prompt: str
    """Says the shared factors of a scene, and nothing else."""
    said: dict[str, str]
    """What it says."""
    reference: Scene
    """What the reference shows."""
    picture: UInt8[np.ndarray, "64 64 3"]
    """The reference's picture."""


@dataclass(frozen=True)
class Reading:
    """One arm at one strength, over all cases and seeds; one row a case, means over seeds."""

    name: str
    strength: float
    control: Float[np.ndarray, "n_cases"]
    kept: Float[np.ndarray, "n_cases"]
    marks: Float[np.ndarray, "n_cases"]
    """NaN where the reference has none. The reader names a value even where there is no mark, so
    that pictures of the prompt as it is show what chance gives."""
    own: Float[np.ndarray, "n_cases"]
    """Share of the prompt's shared factors that are still shown, of those that differ."""
    ssim: Float[np.ndarray, "n_cases"]
    distance: Float[np.ndarray, "n_cases"]
    """1 less the cosine of the classifier's features of the picture and of the reference."""
    n: int
    """Pictures."""

    def means(self) -> dict[str, Any]:
        """Means over the cases that have the thing, as plain numbers; None where none has."""
        return {
            name: _mean(values) if isinstance(values, np.ndarray) else values
            for name, values in asdict(self).items()
        }


def _mean(values: Float[np.ndarray, "n_cases"]) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 4) if len(known) else None


def cases(n: int, seed: int = EVALUATION_SEED) -> list[Case]:
    """Return prompts with references that differ from them in two shared factors at least."""
    world, found, index = FactorWorld(seed), [], 0
    while len(found) < n:
        scene, reference = world.scene(2 * index), world.scene(2 * index + 1)
        said = {name: scene.values[name] for name in SHARED_FACTORS if name in scene.values}
        differ = sum(reference.values.get(name) != value for name, value in said.items())
        if scene.kind == reference.kind and differ >= 2:
            picture = np.asarray(world.draw(2 * index + 1))
            found.append(Case(write_caption(said), said, reference, picture))
        index += 1
    return found


def evaluate(
    generator: Generator,
    classifier: Reader,
    references: Vectors,
    chosen: Sequence[Case],
    arms: Sequence[Arm],
    strengths: Sequence[float],
    n_seeds: int,
    progress: bool = True,
) -> list[Reading]:
    """Draw every case with every arm at every strength, and read the pictures.

    Parameters
    ----------
    generator : Generator
    classifier : Reader
        Reads the pictures; independent of the generator.
    references : float
        Joint vectors of the references' pictures, one a case.
    chosen : sequence of Case
    arms : sequence of Arm
    strengths : sequence of float
        |Δe| / |e|, the same for every arm.
    n_seeds : int
        Pictures of each case.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Reading
        The prompts as they are, the edited prompts, and every arm at every strength.
    """
    seeds = [seed for _ in chosen for seed in range(n_seeds)]
    repeated = [case for case in chosen for _ in range(n_seeds)]
    prompts = generator.embeddings([case.prompt for case in repeated], seeds)
    rewritten = generator.embeddings([_rewritten(case) for case in repeated], seeds)
    targets = references.repeat_interleave(n_seeds, dim=0)
    judge = _Judge(classifier, chosen, n_seeds)
    jobs: list[tuple[str, float, Vectors]] = [
        (UNMOVED, 0.0, prompts),
        (PROMPT_EDIT, float(_share(prompts, rewritten)), rewritten),
    ]
    jobs += [
        (arm.name, strength, moved(arm, prompts, targets, strength))
        for arm in arms
        for strength in strengths
    ]
    return [
        judge.read(name, strength, generator.draw(vectors, seeds))
        for name, strength, vectors in tqdm(jobs, "steering", disable=not progress)
    ]


def _rewritten(case: Case) -> str:
    """The prompt that says the reference's shared factors."""
    values = case.reference.values
    return write_caption({name: values[name] for name in SHARED_FACTORS if name in values})


def _share(before: Vectors, after: Vectors) -> Float[Tensor, ""]:
    return ((after - before).norm(dim=1) / before.norm(dim=1)).mean()


class _Judge:
    """Reads pictures of all cases and seeds, case by case."""

    def __init__(self, classifier: Reader, chosen: Sequence[Case], n_seeds: int) -> None:
        self._classifier, self._cases, self._n_seeds = classifier, chosen, n_seeds
        pictures = as_pixels(np.stack([case.picture for case in chosen]))
        self._references = pictures.repeat_interleave(n_seeds, dim=0)

    @torch.inference_mode()
    def read(self, name: str, strength: float, pictures: UInt8[np.ndarray, "n 64 64 3"]) -> Reading:
        answers = self._classifier.answers(pictures)
        pixels = as_pixels(pictures)
        drawn, wanted = (self._classifier.features(part) for part in (pixels, self._references))
        distance = 1 - torch.nn.functional.cosine_similarity(drawn, wanted)
        alike = ssim((pixels + 1) / 2, (self._references + 1) / 2)
        shares = [self._shares(case, row) for case, row in self._by_case(answers)]
        control, own, kept, marks = np.array(shares).T
        return Reading(
            name=name,
            strength=strength,
            control=control,
            kept=kept,
            marks=marks,
            own=own,
            ssim=self._means(alike),
            distance=self._means(distance),
            n=len(pictures),
        )

    def _by_case(self, answers: Int[np.ndarray, "n n_factors"]):
        rows = answers.reshape(len(self._cases), self._n_seeds, -1)
        return zip(self._cases, rows, strict=True)

    def _shares(
        self, case: Case, answers: Int[np.ndarray, "n_seeds n_factors"]
    ) -> tuple[float, float, float, float]:
        asked = case.reference.values
        differ = [name for name, value in case.said.items() if asked.get(name) != value]
        control = _shown(answers, {name: asked[name] for name in differ})
        own = _shown(answers, {name: case.said[name] for name in differ})
        kept = _shown(answers, {name: asked[name] for name in DETAILS})
        drawn = case.reference.drawn
        marks = {name: drawn[name] for name in MARKS if name in drawn}
        return control, own, kept, _shown(answers, marks) if marks else np.nan

    def _means(self, values: Float[Tensor, "n"]) -> Float[np.ndarray, "n_cases"]:
        return values.reshape(len(self._cases), self._n_seeds).mean(1).numpy()


def _shown(answers: Int[np.ndarray, "n_seeds n_factors"], wanted: dict[str, str]) -> float:
    """Share of the wanted values that pictures show, over seeds and factors."""
    names = list(FACTORS)
    right = [
        answers[:, names.index(name)] == FACTORS[name].values.index(value)
        for name, value in wanted.items()
    ]
    return float(np.mean(right))
