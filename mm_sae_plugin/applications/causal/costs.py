"""What removing each set of latents costs, beside random sets and per latent and unit of energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.applications.causal.arms import Arm
from mm_sae_plugin.applications.causal.outcomes import Measures, Vectors
from mm_sae_plugin.applications.causal.removing import SIDES, Norms, Removing, on_side
from mm_sae_plugin.applications.causal.resampling import Estimate, Resamples, rounded
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.matched_sets import MatchedSets, matched_sets

BASES = ("class", "latent", "concept", "energy")
"""What a cost is told per: the whole set, each of its latents or concepts, and a unit of energy,
(|Δe| / |e|)² removed, which would be everything."""
NO_EDIT, RECONSTRUCTION = "no edit", "reconstruction only"


@dataclass(frozen=True)
class Measured:
    """One measure under an edit."""

    value: Estimate
    """As it is."""
    difference: Estimate
    """Less that of the unedited model."""
    random: float | None = None
    """Mean of the random sets."""
    beyond_random: Estimate | None = None
    """Less the mean of the random sets, which are resampled, too: below 0, an accuracy suffers more
    than random latents explain. At equal |Δe| where no matched set exists."""
    share_as_low: float | None = None
    """Share of the sets, this one counted as one of them, whose value is as low or lower."""

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON; what has no random sets beside it says nothing of them."""
        told: dict[str, Any] = {
            "value": self.value.record(),
            "difference": self.difference.record(),
        }
        if self.beyond_random is not None:
            told["random"] = rounded(self.random)
            told["beyond_random"] = self.beyond_random.record()
            told["share_as_low"] = rounded(self.share_as_low)
        return told


@dataclass(frozen=True)
class CostRow:
    """One set of latents removed on one side, or on both."""

    name: str
    """Such as ``ImgD``, ``ImgD (paper)``, ``reconstruction only``."""
    side: str
    """``image``, ``text`` or ``both``."""
    score: str | None
    """The score that the classes come from; None where no latents are chosen."""
    n_latents: int
    """Latents removed."""
    n_concepts: int | None
    """Concepts that they are, where concepts are removed."""
    energy: Estimate | None
    """Mean (|Δe| / |e|)² of the vectors on the side, before they are made of unit length again."""
    is_matched: bool | None
    """Whether the random sets fire as often and as strongly; else they, and the set beside them,
    move every vector by the same |Δe|. None where there are none."""
    mismatch: dict[str, float | None]
    """Sum of firings, energies and latents over a random set, over the set's own, less 1."""
    measures: dict[str, Measured]
    """Measure by measure."""
    costs: dict[str, dict[str, Estimate]]
    """Task to basis to what the unedited model has more of it."""
    drawn: dict[str, dict[str, Float[np.ndarray, "n_rows"]]] = field(repr=False)
    """The same costs in every resample, the sample itself first."""

    def record(self) -> dict[str, Any]:
        """Return the row as plain JSON."""
        return {
            "name": self.name,
            "side": self.side,
            "score": self.score,
            "n_latents": self.n_latents,
            "n_concepts": self.n_concepts,
            "energy": None if self.energy is None else self.energy.record(),
            "is_matched": self.is_matched,
            "mismatch": {name: rounded(value) for name, value in self.mismatch.items()},
            "measures": {name: one.record() for name, one in self.measures.items()},
            "costs": {
                task: {per: one.record() for per, one in costs.items()}
                for task, costs in self.costs.items()
            },
        }


@dataclass(frozen=True)
class _Removed:
    """A set of latents removed on a side, with the random sets beside it."""

    arm: Arm
    energy: Float[np.ndarray, "n_rows"]
    random: MatchedSets
    compared: Float[np.ndarray, "n_rows n_measures"]
    """The set as it is compared with the random ones."""
    others: Float[np.ndarray, "n_sets n_rows n_measures"]


class CostTable:
    """Removals of sets of latents, measured one by one.

    Parameters
    ----------
    removing : Removing
        The gallery's vectors.
    measures : Measures
        Of the same gallery.
    resamples : Resamples
        Of its images, and of as many random sets as stand beside each set.
    """

    def __init__(self, removing: Removing, measures: Measures, resamples: Resamples) -> None:
        self._removing, self._measures, self._resamples = removing, measures, resamples
        self._whole = self._values(removing.unedited)

    def unedited(self) -> CostRow:
        """Return the model as it is."""
        return self._row(NO_EDIT, "both", self._whole)

    def reconstructed(self) -> list[CostRow]:
        """Return the model of what the SAE reconstructs, side by side."""
        vectors = self._removing.reconstructed()
        return [self._row(RECONSTRUCTION, side, self._on(vectors, side)) for side in SIDES]

    def removed(self, arm: Arm, labels: ModalityDominance, seed: int) -> list[CostRow]:
        """Remove a set of latents, and random ones beside it, side by side.

        Parameters
        ----------
        arm : Arm
            With at least one latent.
        labels : ModalityDominance
            Whose statistics random sets are matched by; latents alive may stand in.
        seed : int
            Of the random sets.
        """
        n_sets = self._resamples.sets.shape[1]
        random = matched_sets(labels.statistics, arm.mask, labels.alive, n_sets, seed)
        removed = self._removing.without(arm.mask)
        beside, norms = removed, None
        if not random.is_matched:
            norms = self._removing.norms(arm.mask)
            beside = self._removing.without(arm.mask, norms)
        others = self._random(random.masks, norms)
        rows = []
        for side in SIDES:
            values = self._on(removed, side)
            compared = values if norms is None else self._on(beside, side)
            energy = self._removing.energy(arm.mask, side, self._resamples.images)
            done = _Removed(arm, energy, random, compared, others[side])
            rows.append(self._row(arm.name, side, values, done))
        return rows

    def _random(
        self, masks: Bool[Tensor, "n_sets n_features"], norms: Norms | None
    ) -> dict[str, Float[np.ndarray, "n_sets n_rows n_measures"]]:
        found: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}
        for mask in masks:
            vectors = self._removing.without(mask, norms)
            for side, values in found.items():
                values.append(self._on(vectors, side))
        return {side: np.stack(values) for side, values in found.items()}

    def _on(self, edited: Vectors, side: str) -> Float[np.ndarray, "n_rows n_measures"]:
        return self._values(on_side(self._removing.unedited, edited, side))

    @torch.no_grad()
    def _values(self, vectors: Vectors) -> Float[np.ndarray, "n_rows n_measures"]:
        outcomes = self._measures.outcomes(vectors)
        return self._measures.values(outcomes, self._resamples.images)

    def _row(
        self,
        name: str,
        side: str,
        values: Float[np.ndarray, "n_rows n_measures"],
        done: _Removed | None = None,
    ) -> CostRow:
        n_latents = 0 if done is None else int(done.arm.mask.sum())
        n_concepts = None if done is None else done.arm.n_concepts
        drawn = {}
        for task in self._measures.tasks:
            cost = self._column(self._whole, task) - self._column(values, task)
            drawn[task] = {"class": cost}
            if done is not None:
                drawn[task]["latent"] = cost / n_latents
                drawn[task]["energy"] = _per_unit(cost, done.energy)
            if n_concepts:
                drawn[task]["concept"] = cost / n_concepts
        estimate = self._resamples.estimate
        return CostRow(
            name,
            side,
            None if done is None else done.arm.score,
            n_latents,
            n_concepts,
            None if done is None else estimate(done.energy),
            None if done is None else done.random.is_matched,
            {} if done is None else done.random.told,
            self._measured(values, done),
            {task: {per: estimate(one) for per, one in of.items()} for task, of in drawn.items()},
            drawn,
        )

    def _measured(
        self, values: Float[np.ndarray, "n_rows n_measures"], done: _Removed | None
    ) -> dict[str, Measured]:
        estimate, measured = self._resamples.estimate, {}
        for column, name in enumerate(self._measures.names):
            mine = values[:, column]
            value, difference = estimate(mine), estimate(mine - self._whole[:, column])
            if done is None:
                measured[name] = Measured(value, difference)
                continue
            compared, others = done.compared[:, column], done.others[:, :, column]
            mean = (self._resamples.sets * others.T).sum(1)
            beyond = estimate(compared - mean)
            if beyond.value is None:
                # No image shows the factor, so that it has no accuracy.
                measured[name] = Measured(value, difference)
                continue
            as_low = (1 + int((others[:, 0] <= compared[0]).sum())) / (1 + len(others))
            measured[name] = Measured(value, difference, float(mean[0]), beyond, as_low)
        return measured

    def _column(self, values: np.ndarray, name: str) -> Float[np.ndarray, "n_rows"]:
        return values[:, self._measures.names.index(name)]


def cost_rows(
    table: CostTable, arms: Sequence[Arm], labels: ModalityDominance, seed: int
) -> list[CostRow]:
    """Measure the model as it is, what the SAE reconstructs, and every set that has latents."""
    rows = [table.unedited(), *table.reconstructed()]
    for arm in arms:
        if arm.mask.any():
            rows += table.removed(arm, labels, seed)
    return rows


def _per_unit(
    cost: Float[np.ndarray, "n_rows"], energy: Float[np.ndarray, "n_rows"]
) -> Float[np.ndarray, "n_rows"]:
    """Divide; what moves nothing has no cost per unit of energy."""
    return np.divide(cost, energy, out=np.full(cost.shape, np.nan), where=energy > 0)
