"""Per-modality normalisation: measured once, saved with the SAE, used at every evaluation.

At other sites than ``hook_normalized`` the towers have different norms and means, and a shared
dictionary would spend itself on the difference. A scale and a mean for each modality remove it.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from sae_lens import SAE
from safetensors.torch import load_file, save_file
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.modality import MODALITIES, Modality, other_modality
from mm_sae_plugin.saes.folder_files import NORMALIZATION_FILENAME

METHODS = ("none", "per_modality_scale", "per_modality_center", "per_modality_center_scale")


@runtime_checkable
class Rows(Protocol):
    """Rows ``[n_rows, d_in]`` that need not be in memory: what is asked of a tensor of them."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> torch.Size:
        """Rows and width."""
        ...

    def split(self, size: int) -> Iterator[Float[Tensor, "rows d_in"]]:
        """The rows in order, at most ``size`` at a time."""
        ...

    def mean(self, dim: int, dtype: torch.dtype) -> Float[Tensor, "d_in"]:
        """The mean row, for ``dim`` 0."""
        ...


@dataclass(frozen=True)
class ModalityNormalization:
    """``(x - mean) * scale`` with a mean vector and one scale for each modality."""

    method: str
    """One of ``METHODS``."""
    mean: Float[Tensor, "2 d_in"]
    """What is subtracted: image row first, then text; in the activations' units."""
    scale: Float[Tensor, "2"]
    """What is multiplied with afterwards: makes the mean norm sqrt(d_in), SAELens' convention."""

    @classmethod
    def identity(cls, d_in: int) -> "ModalityNormalization":
        """Return the normalisation that changes nothing."""
        return cls("none", torch.zeros(2, d_in), torch.ones(2))

    @classmethod
    def measure(
        cls,
        method: str,
        acts_image: Float[Tensor, "n_images d_in"] | Rows | None,
        acts_text: Float[Tensor, "n_pairs d_in"] | Rows | None,
    ) -> "ModalityNormalization":
        """Measure a normalisation on activations; a missing side is left as it is.

        Parameters
        ----------
        method : str
            ``"none"``, ``"per_modality_scale"`` (mean norm becomes sqrt(d_in)),
            ``"per_modality_center"`` (mean becomes 0) or ``"per_modality_center_scale"`` (both).
        acts_image, acts_text : Float[Tensor, "n d_in"] or Rows, optional
            Activations of each side, in memory or not.

        Raises
        ------
        UserError
            If the method is unknown.
        """
        if method not in METHODS:
            raise UserError(
                f"Unknown normalisation {method!r}: choose one of {', '.join(METHODS)}."
            )
        sides = [acts_image, acts_text]
        d_in = next(acts.shape[1] for acts in sides if acts is not None)
        mean, scale = torch.zeros(2, d_in), torch.ones(2)
        for row, acts in enumerate(sides):
            if acts is None:
                continue
            if "center" in method:
                mean[row] = _mean(acts)
            if "scale" in method:
                scale[row] = d_in**0.5 / _mean_norm(acts, mean[row])
        return cls(method, mean, scale)

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.method == "none"

    def apply(
        self, acts: Float[Tensor, "... d_in"], modality: Modality
    ) -> Float[Tensor, "... d_in"]:
        """Normalise activations of one modality; dtype and device are kept."""
        if self.is_identity:
            return acts
        mean, scale = self.of(modality, acts)
        return (acts - mean) * scale

    def undo(
        self, acts: Float[Tensor, "... d_in"], modality: Modality
    ) -> Float[Tensor, "... d_in"]:
        """Bring reconstructions back to the units of the activations."""
        if self.is_identity:
            return acts
        mean, scale = self.of(modality, acts)
        return acts / scale + mean

    def save(self, folder: str | Path) -> None:
        """Write ``normalization.safetensors``, unless there is nothing to write."""
        path = Path(folder) / NORMALIZATION_FILENAME
        if self.is_identity:
            path.unlink(missing_ok=True)
            return
        tensors = {"mean": self.mean.contiguous(), "scale": self.scale.contiguous()}
        save_file(tensors, path, metadata={"method": self.method, "rows": "image,text"})

    @classmethod
    def load(cls, folder: str | Path, method: str, d_in: int) -> "ModalityNormalization":
        """Read what :meth:`save` wrote.

        Raises
        ------
        UserError
            If the SAE was trained with a normalisation and its file is gone.
        """
        if method == "none":
            return cls.identity(d_in)
        path = Path(folder) / NORMALIZATION_FILENAME
        if not path.is_file():
            raise UserError(
                f"{path} is missing, and without it the SAE's {method!r} normalisation is unknown: "
                "copy it from the folder the SAE was trained into."
            )
        tensors = load_file(path)
        return cls(method, tensors["mean"], tensors["scale"])

    def of(self, modality: Modality, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return one modality's mean and scale, ``[d_in]`` and a scalar, as ``like`` is."""
        row = MODALITIES.index(modality)
        return self.mean[row].to(like), self.scale[row].to(like)


@torch.no_grad()
def fold_normalization(
    sae: SAE[Any], normalization: ModalityNormalization, modality: Modality
) -> SAE[Any]:
    """Return a copy of an SAE that takes one modality's activations as they are.

    The normalisation is affine, so it goes into the weights exactly: the copy has the same codes
    and needs no outside state, and splices into its tower's hook like any other SAE.

    Parameters
    ----------
    sae : SAE
        An inference SAE trained behind ``normalization``; it is not changed.
    normalization : ModalityNormalization
        What was saved with it.
    modality : "image" or "text"
        Whose activations the copy will take.

    Returns
    -------
    SAE
        The copy, whose metadata names only that modality's hook.
    """
    folded = copy.deepcopy(sae)
    metadata = folded.cfg.metadata
    if not normalization.is_identity:
        mean, scale = normalization.of(modality, sae.W_dec)
        eye = torch.eye(sae.cfg.d_in, dtype=torch.float64)
        factor = float(scale)
        folded.fold_activation_whitening(mean.double(), eye * factor, eye / factor)
    metadata.normalization = "none"
    metadata.folded_modality = modality
    metadata.hook_name = metadata[f"hook_name_{modality}"] or metadata.hook_name
    metadata[f"hook_name_{other_modality(modality)}"] = None
    return folded


def _mean(acts: Float[Tensor, "n d_in"] | Rows) -> Float[Tensor, "d_in"]:
    return acts.mean(dim=0, dtype=torch.float64).float().cpu()


def _mean_norm(acts: Float[Tensor, "n d_in"] | Rows, mean: Float[Tensor, "d_in"]) -> float:
    total = 0.0
    for part in acts.split(65_536):
        norms = (part.float() - mean.to(part.device)).norm(dim=1)
        total += float(norms.sum(dtype=torch.float64))
    # Constant activations have no scale; leave them as they are.
    return total / len(acts) or acts.shape[1] ** 0.5
