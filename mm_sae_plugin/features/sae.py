"""An SAE's latents as features."""

from typing import Any

from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.normalization import Modality, ModalityNormalization


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
