"""The non-negative contrastive head: features learnt by telling pairs apart, not by rebuilding.

Yan et al. 2025 take it as the rival of the SAE on CLIP ("CLIP+NCL"); the idea is of Wang et al.
2024, *Non-negative Contrastive Learning* (arXiv 2403.12459): the features that a contrastive loss
compares pass a ReLU, which makes their axes mean something, as it does in non-negative matrix
factorisation. Where the projection is linear, how wide it is and that its codes have length 1 are
our reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.width import check_acts_width
from mm_sae_plugin.files import atomic_path, parse_json, plain_write_errors, write_json_atomically
from mm_sae_plugin.modality import MODALITIES, Modality

WEIGHTS_FILENAME, CFG_FILENAME = "ncl.safetensors", "ncl.json"
_SHAPE = ("d_image", "d_text", "n_features", "hidden", "shared")


def relu_with_gelu_gradient(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``max(x, 0)``, through which gradients flow as through a GELU.

    A plain ReLU gives no gradient where it is 0, so that features die (Wang et al. 2024).
    """
    smooth = F.gelu(x)
    return smooth + (x.relu() - smooth).detach()


class NonNegativeHead(nn.Module):
    """A projection of each tower's activations, passed through a ReLU and scaled to length 1.

    Parameters
    ----------
    d_image, d_text : int
        Widths of the activations of either tower.
    n_features : int
        Width of the codes.
    hidden : int, optional
        Width of one hidden layer with a GELU; without it the projection is linear.
    shared : bool
        One projection for both towers, which must then be equally wide; else one for each.
    metadata : mapping, optional
        Where the activations come from and how it was trained: plain values, saved beside it.

    Raises
    ------
    UserError
        If one projection is to take activations of two widths.
    """

    def __init__(
        self,
        d_image: int,
        d_text: int,
        n_features: int,
        hidden: int | None = None,
        shared: bool = True,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if shared and d_image != d_text:
            raise UserError(
                f"One projection cannot take images of width {d_image} and captions of width "
                f"{d_text}: give each tower its own (shared=False)."
            )
        self.d_image, self.d_text, self.hidden, self.shared = d_image, d_text, hidden, shared
        self.metadata = dict(metadata or {})
        self._n_features = n_features
        image = _projection(d_image, n_features, hidden)
        text = image if shared else _projection(d_text, n_features, hidden)
        self.projections = nn.ModuleDict({"image": image, "text": text})

    @property
    def n_features(self) -> int:
        """Width of the codes."""
        return self._n_features

    def encode(
        self, acts: Float[Tensor, "*batch d_in"], modality: Modality
    ) -> Float[Tensor, "*batch n_features"]:
        """Return codes ≥ 0 of length 1, or 0 where no feature is active.

        The loss compares codes by their cosines, so that the length of a projection says nothing.

        Raises
        ------
        UserError
            If the activations are of another width.
        """
        width = self.d_image if modality == "image" else self.d_text
        check_acts_width(f"The {modality} side of the non-negative head", width, acts)
        projection = self.projections[modality]
        weight = next(projection.parameters())
        projected = projection(acts.to(weight))
        return F.normalize(relu_with_gelu_gradient(projected), dim=-1)

    def save(self, folder: str | Path) -> None:
        """Write ``ncl.safetensors`` and, last, ``ncl.json``.

        Raises
        ------
        UserError
            If nothing may be written there, or the disk is full.
        """
        from safetensors.torch import save_file

        folder = Path(folder)
        # The old description goes first: in between there is no head here, rather than a wrong one.
        with plain_write_errors(folder):
            (folder / CFG_FILENAME).unlink(missing_ok=True)
        with atomic_path(folder / WEIGHTS_FILENAME) as temporary:
            save_file(self._weights(), temporary)
        shape = {
            "d_image": self.d_image,
            "d_text": self.d_text,
            "n_features": self.n_features,
            "hidden": self.hidden,
            "shared": self.shared,
        }
        write_json_atomically(folder / CFG_FILENAME, {**shape, "metadata": self.metadata})

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> NonNegativeHead:
        """Read what :meth:`save` wrote; in evaluation mode, without gradients for its weights.

        Raises
        ------
        UserError
            If the folder holds no head, or a damaged one.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        if not (folder / CFG_FILENAME).is_file() or not (folder / WEIGHTS_FILENAME).is_file():
            raise UserError(
                f"{folder} holds no non-negative head ({CFG_FILENAME}, {WEIGHTS_FILENAME}): train "
                "one with train_ncl(store, NCLConfig(out=…))."
            )
        try:
            record = parse_json((folder / CFG_FILENAME).read_text(encoding="utf-8"))
            shape = {name: record[name] for name in _SHAPE}
            head = cls(**shape, metadata=record["metadata"])
            weights = load_file(folder / WEIGHTS_FILENAME)
            if head.shared:
                weights |= {_of_text(name): weight for name, weight in weights.items()}
            head.load_state_dict(weights)
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"The non-negative head in {folder} is damaged: train it again."
            ) from error
        return head.to(device).eval().requires_grad_(False)

    def _weights(self) -> dict[str, Tensor]:
        """The weights by name, those of a shared projection once."""
        kept = MODALITIES[:1] if self.shared else MODALITIES
        return {
            f"projections.{modality}.{name}": weight.detach().cpu().contiguous()
            for modality in kept
            for name, weight in self.projections[modality].state_dict().items()
        }


def _of_text(name: str) -> str:
    return name.replace("projections.image.", "projections.text.")


def _projection(d_in: int, n_features: int, hidden: int | None) -> nn.Sequential:
    if hidden is None:
        return nn.Sequential(nn.Linear(d_in, n_features))
    return nn.Sequential(nn.Linear(d_in, hidden), nn.GELU(), nn.Linear(hidden, n_features))
