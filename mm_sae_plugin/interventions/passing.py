"""What happens to the vectors that pass a hook: counted all, edited those that are meant."""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions.applied import AppliedEdit
from mm_sae_plugin.interventions.record import EditRecord
from mm_sae_plugin.interventions.schedule import Schedule
from mm_sae_plugin.modality import Modality

Half = Literal["both", "cond", "uncond"]


def check_half(half: str) -> None:
    """Raise ``UserError`` for what is no half of guidance."""
    if half not in get_args(Half):
        raise UserError(f"half must be both, cond or uncond, not {half!r:.40}.")


class Passing:
    """An edit at one place, within its window of steps; call it with what passes.

    Parameters
    ----------
    applied : AppliedEdit
        What to do.
    modality : Modality
        What the vectors embed.
    half : Half
        Which half of a batch that is doubled for guidance, unconditional first.
    rows : slice, optional
        Which rows of the batch, or of the half.
    schedule : Schedule
        When, and how strongly.
    """

    def __init__(
        self,
        applied: AppliedEdit,
        modality: Modality,
        half: Half,
        rows: slice | None,
        schedule: Schedule,
    ) -> None:
        self.record = EditRecord()
        """What was done so far."""
        self.is_doubled = True
        """Whether batches hold two halves at the moment; else all rows are conditional."""
        self._applied, self._schedule = applied, schedule
        self._modality: Modality = modality
        self._half: Half = half
        self._rows = rows
        self._n_calls = 0
        self._is_open = True

    def __call__(self, acts: Float[Tensor, "batch *more"]) -> Float[Tensor, "batch *more"]:
        """Return what passes as the edit leaves it; the tensor itself where it leaves it alone."""
        if not self._is_open:
            return acts
        step = self._schedule.step(self._n_calls)
        self._n_calls += 1
        self.record.n_calls += 1
        if self._applied.is_empty or step is None:
            return acts
        part = self._part(acts)
        strength = self._schedule.strength(step)
        edited, moved = self._applied.vectors(part, self._modality, strength)
        assert moved is not None
        self.record.add(part, edited, moved, step, self._half)
        if part is acts:
            return edited
        whole = acts.clone()
        self._part(whole).copy_(edited)
        return whole

    def __deepcopy__(self, memo: dict) -> Passing:
        """Stay one: a copy of the module made inside the block keeps the hook, and ends with it."""
        return self

    def restart(self) -> None:
        """Count steps from 0 again: another picture begins."""
        self._n_calls = 0

    def close(self) -> None:
        """Edit nothing from now on."""
        self._is_open = False

    def _part(self, acts: Tensor) -> Tensor:
        """A view of what is to be edited; the tensor itself where that is all of it."""
        part = acts
        if self._half != "both" and self.is_doubled:
            if acts.dim() < 2 or len(acts) % 2:
                raise UserError(
                    f"A batch of shape {tuple(acts.shape)} has no two halves of guidance: give "
                    "half='both'."
                )
            middle = len(acts) // 2
            part = acts[middle:] if self._half == "cond" else acts[:middle]
        elif self._half == "uncond":
            raise UserError(
                "Guidance is off, so there is no unconditional half to edit: give half='cond', or "
                "a guidance_scale above 1."
            )
        return part if self._rows is None else part[self._rows]
