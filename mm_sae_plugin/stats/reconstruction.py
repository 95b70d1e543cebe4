"""Explained variance, L0 and latents that never fire, each modality for itself.

SAELens' evaluator runs only while wandb does and knows one kind of row. A shared dictionary that
explains captions well and images badly looks fine on average, so the two are never mixed here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.modality import MODALITIES, Modality
from mm_sae_plugin.stats.active_codes import ActiveCodes
from mm_sae_plugin.stats.interfaces import CodedPairs, state_of_sides


@dataclass(frozen=True)
class PerModalityEvaluation:
    """What a dictionary does on each modality; dicts are keyed ``"image"`` and ``"text"``."""

    explained_variance: dict[str, float]
    """1 - squared error / squared distance from the modality's own mean; at most 1."""
    l0: dict[str, float]
    """Mean number of active latents per row."""
    n_never_firing_by_modality: dict[str, int]
    """Latents that fire on no row of the modality."""
    n_never_firing: int
    """Latents that fire on no row at all."""
    n_rows: dict[str, int]
    """Rows evaluated."""
    d_sae: int
    """Latents of the dictionary."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def metrics(self) -> dict[str, float]:
        """Return flat names for a logger, such as ``metrics/image/explained_variance``."""
        flat: dict[str, float] = {"sparsity/never_firing": self.n_never_firing}
        for modality in self.n_rows:
            flat[f"metrics/{modality}/explained_variance"] = self.explained_variance[modality]
            flat[f"metrics/{modality}/l0"] = self.l0[modality]
            never = self.n_never_firing_by_modality[modality]
            flat[f"sparsity/{modality}/never_firing"] = never
        return flat


class ReconstructionSums:
    """Sums over the rows of one modality."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.n_active = 0.0
        self.error = 0.0
        self.squares = 0.0
        self.total: Float[Tensor, "d_in"] | None = None
        self.fired: Bool[Tensor, "d_sae"] | None = None

    def update(
        self,
        given: Float[Tensor, "batch d_in"],
        codes: Float[Tensor, "batch d_sae"],
        returned: Float[Tensor, "batch d_in"],
    ) -> None:
        """Add rows: what was given, its codes, and what they decode to."""
        self.add(given, ActiveCodes.of(codes), returned)

    @torch.no_grad()
    def add(
        self,
        given: Float[Tensor, "batch d_in"],
        active: ActiveCodes,
        returned: Float[Tensor, "batch d_in"],
    ) -> None:
        """Add rows of which it is known what is active."""
        given_wide = given.double()
        part = ReconstructionSums()
        part.n_rows = len(given)
        # A slot that TopK filled with zero is not among them.
        part.n_active = float(len(active.latents))
        part.error = float((returned - given).double().square().sum())
        part.squares = float(given_wide.square().sum())
        part.total = given_wide.sum(dim=0).cpu()
        part.fired = torch.zeros(active.n_features, dtype=torch.bool)
        part.fired[active.latents.cpu()] = True
        self.merge(part)

    def merge(self, other: "ReconstructionSums") -> "ReconstructionSums":
        """Add the sums of other rows; return `self`."""
        if other.total is None or other.fired is None:
            return self
        self.n_rows += other.n_rows
        self.n_active += other.n_active
        self.error += other.error
        self.squares += other.squares
        self.total = other.total if self.total is None else self.total + other.total
        self.fired = other.fired if self.fired is None else self.fired | other.fired
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The sums as plain tensors."""
        assert self.total is not None and self.fired is not None, "no rows were added"
        numbers = [self.n_rows, self.n_active, self.error, self.squares]
        return {
            "numbers": torch.tensor(numbers, dtype=torch.float64),
            "total": self.total,
            "fired": self.fired,
        }

    @property
    def explained_variance(self) -> float:
        """At most 1; NaN where the rows do not vary."""
        assert self.total is not None
        variance = self.squares - float(self.total.square().sum()) / self.n_rows
        # Rounding leaves a little "variance" in constant rows.
        if variance <= 1e-12 * self.squares:
            return float("nan")
        return 1.0 - self.error / variance

    @property
    def l0(self) -> float:
        """Mean number of active latents."""
        return self.n_active / self.n_rows


class EvaluationSums:
    """An accumulator of both modalities: every distinct image and every caption counts once."""

    needs_reconstruction = True

    def __init__(self) -> None:
        self.sides: dict[Modality, ReconstructionSums] = {
            modality: ReconstructionSums() for modality in MODALITIES
        }

    def empty(self) -> "EvaluationSums":
        """An accumulator that has seen nothing."""
        return EvaluationSums()

    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass."""
        assert pairs.reconstructed is not None
        image, text = pairs.reconstructed
        new = pairs.rows.first_of_image
        if bool(new.all()):
            self.sides["image"].add(image.given, image.active, image.returned)
        elif bool(new.any()):
            active = image.active.of_rows(new)
            self.sides["image"].add(image.given[new], active, image.returned[new])
        self.sides["text"].add(text.given, text.active, text.returned)

    def merge(self, other: "EvaluationSums") -> "EvaluationSums":
        """Add the sums of other pairs; return `self`."""
        for modality, sums in self.sides.items():
            sums.merge(other.sides[modality])
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The sums of both modalities."""
        return state_of_sides(self.sides)

    def evaluation(self) -> PerModalityEvaluation:
        """Explained variance, L0 and latents that never fire."""
        return evaluation_of(self.sides)


def evaluation_of(sides: Mapping[Modality, ReconstructionSums]) -> PerModalityEvaluation:
    """Return the evaluation that the sums of one or both modalities give."""
    seen = {modality: sums for modality, sums in sides.items() if sums.fired is not None}
    fired = {modality: sums.fired for modality, sums in seen.items() if sums.fired is not None}
    assert fired, "no rows were added"
    together = torch.stack(list(fired.values())).any(dim=0)
    return PerModalityEvaluation(
        explained_variance={name: sums.explained_variance for name, sums in seen.items()},
        l0={name: sums.l0 for name, sums in seen.items()},
        n_never_firing_by_modality={name: int((~ever).sum()) for name, ever in fired.items()},
        n_never_firing=int((~together).sum()),
        n_rows={name: sums.n_rows for name, sums in seen.items()},
        d_sae=len(together),
    )
