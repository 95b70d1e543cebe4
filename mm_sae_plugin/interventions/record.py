"""What an edit did, counted while it ran and read from the device only when asked."""

from __future__ import annotations

from collections import Counter

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_TINY = 1e-12


class EditRecord:
    """How often an edit's hook fired, and how far it moved what passed."""

    def __init__(self) -> None:
        self.n_calls = 0
        """How often something passed the hook."""
        self.n_edited = 0
        """How often it was edited: within the window of steps, and by an edit that is not empty."""
        self.steps: list[int] = []
        """Denoising steps (or calls) that were edited, in order, each once."""
        self.halves: Counter[str] = Counter()
        """How often each half of a guided batch was edited: `cond`, `uncond`, or `both`."""
        self._n_rows = 0
        self._moved: Tensor | None = None
        self._latents: Tensor | None = None
        self._is_lost: Tensor | None = None

    @property
    def n_rows(self) -> int:
        """Vectors that were edited."""
        return self._n_rows

    @property
    def is_finite(self) -> bool:
        """Whether only numbers came of numbers; the device is waited for."""
        return self._is_lost is None or not bool(self._is_lost)

    @property
    def mean_relative_norm(self) -> float:
        """Mean of |Δe| / |e| over the vectors that were edited; 0 where there were none."""
        if self._moved is None or not self._n_rows:
            return 0.0
        return float(self._moved) / self._n_rows

    def most_moved(self, top: int = 5) -> list[tuple[int, float]]:
        """Latents with their codes' mean change, less than 0 where they fell, largest first.

        What moves up as often as down comes last, however far it moves.
        """
        if self._latents is None or not self._n_rows:
            return []
        change = self._latents / self._n_rows
        latents = change.abs().topk(min(top, len(change))).indices.tolist()
        return [(latent, float(change[latent])) for latent in latents if change[latent] != 0]

    @torch.no_grad()
    def add(
        self,
        before: Float[Tensor, "*batch d_in"],
        after: Float[Tensor, "*batch d_in"],
        moved: Float[Tensor, "*batch d_sae"],
        step: int,
        half: str,
    ) -> None:
        """Count one edit; nothing is read from the device."""
        self.n_edited += 1
        # A further picture goes through the same steps from the start.
        if not self.steps or step > self.steps[-1]:
            self.steps.append(step)
        self.halves[half] += 1
        self._n_rows += before.numel() // before.shape[-1]
        before = before.float()
        length = before.norm(dim=-1).clamp_min(_TINY)
        distances = (after.float() - before).norm(dim=-1)
        distance = (distances / length).sum()
        # Lengths overflow before vectors do, and nothing that reads them could go on.
        self._note(length.isfinite().all() & ~distances.isfinite().all())
        by_latent = moved.flatten(0, -2).sum(0) if moved.dim() > 1 else moved
        self._moved = distance if self._moved is None else self._moved + distance
        self._latents = by_latent if self._latents is None else self._latents + by_latent

    @torch.no_grad()
    def add_result(self, result: Tensor) -> None:
        """Count what was made of edited vectors; nothing is read from the device."""
        self._note(~result.isfinite().all())

    def _note(self, is_lost: Bool[Tensor, ""]) -> None:
        if self._is_lost is None:
            self._is_lost = is_lost
        else:
            # Parts of a pipeline may lie on several devices.
            self._is_lost = self._is_lost | is_lost.to(self._is_lost.device, non_blocking=True)
