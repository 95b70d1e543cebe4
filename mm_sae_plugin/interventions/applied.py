"""An edit with its numbers on the device: codes in, codes out, and vectors in, vectors out.

Nothing here reads a value back or has a shape that depends on one, so the host never waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.interventions.choice import typical_codes
from mm_sae_plugin.interventions.edit import EditStep, FeatureEdit
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.models.hook_names import HOOK_NORMALIZED
from mm_sae_plugin.saes.encoder_check import refuse_transcoder
from mm_sae_plugin.study import Study

_TINY = 1e-12


@dataclass(frozen=True)
class _StepOnDevice:
    operation: str
    latents: Int[Tensor, "n_latents"]
    amount: Float[Tensor, "n_latents"]
    upper: Float[Tensor, "n_latents"]
    reference: Float[Tensor, "n_reference"]

    @classmethod
    def of(cls, step: EditStep, study: Study, device: torch.device, dtype: torch.dtype):
        latents = torch.tensor(step.latents, dtype=torch.int64)
        unit = torch.ones(len(latents), dtype=torch.float64)
        if step.unit == "typical" and step.operation != "scale":
            unit = torch.tensor(typical_codes(study, step.latents), dtype=torch.float64)
        amount = step.amount * unit
        reference = torch.tensor(step.reference, dtype=torch.float64)
        upper = unit * (0.0 if step.upper is None else step.upper)
        return cls(
            step.operation,
            latents.to(device),
            amount.to(device, dtype),
            upper.to(device, dtype),
            reference.to(device, dtype),
        )

    def __call__(self, codes: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        old = codes.index_select(-1, self.latents)
        if self.operation == "scale":
            new = old * self.amount
        elif self.operation == "add":
            new = (old + self.amount).clamp_min(0)
        elif self.operation == "replace":
            new = old.lerp(self.reference.expand_as(old), self.amount)
        elif self.operation == "clamp":
            new = old.clamp(self.amount, self.upper)
        else:
            new = self.amount.expand_as(old)
        return codes.index_copy(-1, self.latents, new)


def check_parts(study: Any, edit: Any) -> None:
    """Raise ``UserError`` where a study or an edit is something else."""
    if not isinstance(study, Study):
        raise UserError(f"Give a Study, Study.open(folder), not {kind_of(study)}.")
    if not isinstance(edit, FeatureEdit):
        raise UserError(
            f"Give a FeatureEdit, FeatureEdit.scale(…) or FeatureEdit.load(path), not "
            f"{kind_of(edit)}."
        )


class AppliedEdit:
    """An edit, ready to be carried out.

    Parameters
    ----------
    study : Study
        What the edit belongs to.
    edit : FeatureEdit
        What to do.
    device : torch.device, optional
        Where its numbers lie; by default the SAE's.

    Raises
    ------
    UserError
        If the edit is of another SAE or encoder, or the SAE is a transcoder or lies elsewhere.
    """

    def __init__(self, study: Study, edit: FeatureEdit, device: torch.device | None = None) -> None:
        edit.check_study(study)
        refuse_transcoder(study.sae)
        own = study.sae.W_dec.device
        if device is not None and device != own:
            raise UserError(
                f"What is to be edited lies on {device} and the SAE on {own}: open the study "
                f"there, Study.open(…, device={str(device)!r})."
            )
        self.feature_map: SAEFeatureMap = study.feature_map
        self.relative_norm = edit.relative_norm
        self.steps = [
            _StepOnDevice.of(step, study, own, study.sae.W_dec.dtype) for step in edit.steps
        ]
        # An SAE that says nothing of its site is taken for one of the joint space, too.
        self._of_unit_length = {
            modality: (name or HOOK_NORMALIZED).endswith(HOOK_NORMALIZED)
            for modality, name in study.hook_names.items()
        }

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not self.steps

    def codes(
        self,
        codes: Float[Tensor, "*batch d_sae"],
        strength: float = 1.0,
        norm: Float[Tensor, "*batch 1"] | None = None,
        modality: Modality = "image",
    ) -> Float[Tensor, "*batch d_sae"]:
        """Return the codes as the edit leaves them.

        Parameters
        ----------
        codes : float
            As the SAE gives them.
        strength : float
            How far to go from the old codes to the new ones; 1 goes all the way.
        norm : float, optional
            Length of the vectors that the codes are of, for an edit with a relative norm; 1 by
            default.
        modality : Modality
            Whose normalisation a relative norm is measured behind.
        """
        if self.is_empty:
            return codes
        edited = codes
        for step in self.steps:
            edited = step(edited)
        if self.relative_norm is None and strength == 1:
            return edited
        moved = edited - codes
        if self.relative_norm is not None:
            moved = moved * self._rescaling(codes, edited, norm, modality)
        return codes + strength * moved

    def vectors(
        self,
        acts: Float[Tensor, "*batch d_in"],
        modality: Modality,
        strength: float = 1.0,
    ) -> tuple[Float[Tensor, "*batch d_in"], Float[Tensor, "*batch d_sae"] | None]:
        """Edit vectors, and keep what the SAE does not reconstruct of them.

        ``e' = e + |e| * (decode(z') - decode(z))`` with z the codes of e / |e|, for an SAE that was
        trained at ``hook_normalized``; at every other site e itself is encoded and nothing scaled.

        Parameters
        ----------
        acts : float
            Vectors of any dtype on any device; those of another one are copied there and back.
        modality : Modality
            Of what they embed.
        strength : float
            How far to go; 1 goes all the way.

        Returns
        -------
        acts, moved
            The vectors, in their own dtype where they were, and how far each code moved, on the
            SAE's device; the vectors themselves and None for the empty edit.
        """
        if self.is_empty:
            return acts, None
        given = acts.to(self.steps[0].amount)
        length = given.norm(dim=-1, keepdim=True)
        scale = length if self._of_unit_length[modality] else torch.ones_like(length)
        divisor = scale.clamp_min(_TINY)
        codes = self.feature_map.encode(given / divisor, modality)
        edited = self.codes(codes, strength, length.clamp_min(_TINY) / divisor, modality)
        # A zero vector, "no condition", stays zero.
        delta = self._decoded(codes, edited, modality) * scale
        # A vector that nothing moved stays as it was to the bit, rounding included.
        return acts + delta.to(acts), edited - codes

    def _decoded(self, codes: Tensor, edited: Tensor, modality: Modality) -> Tensor:
        feature_map = self.feature_map
        return feature_map.decode(edited, modality) - feature_map.decode(codes, modality)

    def _rescaling(
        self, codes: Tensor, edited: Tensor, norm: Tensor | None, modality: Modality
    ) -> Tensor:
        assert self.relative_norm is not None
        length = self._decoded(codes, edited, modality).norm(dim=-1, keepdim=True)
        wanted = self.relative_norm * (torch.ones_like(length) if norm is None else norm)
        return torch.where(length > _TINY, wanted / length.clamp_min(_TINY), 0.0)
