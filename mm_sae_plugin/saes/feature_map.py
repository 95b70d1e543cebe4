"""`FeatureMap`: the one interface that SAEs, learned heads and raw dimensions answer.

Every statistic asks only for it, so that each runs on all of them alike.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.normalization import Modality, ModalityNormalization


@runtime_checkable
class FeatureMap(Protocol):
    """Non-negative codes of joint-space vectors.

    ``decode`` is optional: ask with ``getattr(feature_map, "decode", None)``.
    """

    @property
    def n_features(self) -> int:
        """Width of the codes."""
        ...

    def encode(self, acts: Float[Tensor, "n d_in"], /) -> Float[Tensor, "n n_features"]:
        """Return codes >= 0, one row per activation."""
        ...


class SAEFeatureMap:
    """An SAE's latents as features.

    Parameters
    ----------
    sae : SAE
        A SAELens SAE whose codes are non-negative.
    normalization : ModalityNormalization, optional
        What the SAE folder of :func:`~mm_sae_plugin.saes.load_sae` holds. When it changes
        anything, :meth:`encode` and :meth:`decode` must be told the modality; or give them
        activations that are normalised already (``normalization.view(store)``) and leave this out.

    Raises
    ------
    UserError
        If the architecture has signed codes, which have no modality dominance.
    """

    def __init__(self, sae: SAE[Any], normalization: ModalityNormalization | None = None) -> None:
        architecture = sae.cfg.architecture()
        if architecture in ("abstopk", "temporal"):
            raise UserError(
                f"Codes of a {architecture!r} SAE are signed or depend on their neighbours, so "
                "they cannot be compared between modalities: use topk, batchtopk, jumprelu, …"
            )
        self.sae = sae
        self.normalization = normalization or ModalityNormalization.identity(sae.cfg.d_in)

    @property
    def n_features(self) -> int:
        """Latents of the SAE."""
        return self.sae.cfg.d_sae

    def encode(
        self, acts: Float[Tensor, "n d_in"], modality: Modality | None = None
    ) -> Float[Tensor, "n d_sae"]:
        """Return the latents' activations, >= 0, in the SAE's dtype and on its device.

        Gradients flow; wrap in ``torch.no_grad()`` where they are not wanted.
        """
        # SAEs in training mode may hand over sparse tensors, which few statistics understand.
        codes = self.sae.encode(self.normalization.apply(acts.to(self.sae.device), modality))
        return codes.to_dense() if codes.is_sparse else codes

    def decode(
        self, codes: Float[Tensor, "n d_sae"], modality: Modality | None = None
    ) -> Float[Tensor, "n d_in"]:
        """Return reconstructions in the units of the activations."""
        return self.normalization.undo(self.sae.decode(codes), modality)


class RawDimensions:
    """The baseline without a dictionary: each dimension's positive and negative part.

    Parameters
    ----------
    d_in : int
        Width of the activations; there are ``2 * d_in`` features, positive parts first.
    """

    def __init__(self, d_in: int) -> None:
        self.d_in = d_in

    @property
    def n_features(self) -> int:
        """Twice the width of the activations."""
        return 2 * self.d_in

    def encode(self, acts: Float[Tensor, "n d_in"]) -> Float[Tensor, "n n_features"]:
        """Return ``[max(x, 0), max(-x, 0)]``."""
        assert acts.shape[-1] == self.d_in
        return torch.cat([acts.relu(), (-acts).relu()], dim=-1)

    def decode(self, codes: Float[Tensor, "n n_features"]) -> Float[Tensor, "n d_in"]:
        """Return the activations exactly."""
        return codes[..., : self.d_in] - codes[..., self.d_in :]
