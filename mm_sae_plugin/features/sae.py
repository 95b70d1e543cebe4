"""An SAE's latents as features."""

import threading
from typing import Any

import torch
from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.features.dense import dense_codes
from mm_sae_plugin.features.sparse_decode import decoded
from mm_sae_plugin.features.width import check_acts_width
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.saes.encoder_check import check_tower
from mm_sae_plugin.saes.normalization import ModalityNormalization

# SAELens' layer norm keeps mean and spread of the last rows on the SAE, for the decoder to undo.
_LAYER_NORM_STATE = threading.Lock()


class SAEFeatureMap:
    """An SAE's latents as features of raw activations.

    Parameters
    ----------
    sae : SAE
        A SAELens SAE whose codes are non-negative.
    normalization : ModalityNormalization, optional
        What the SAE was trained behind: ``load_sae`` gives it, and so does a training's result.
        May be left out for an SAE that needs none.

    Raises
    ------
    UserError
        If it is no SAE, if the architecture has signed codes, which have no modality dominance, or
        if the SAE was trained behind a normalisation and none is given.
    """

    def __init__(self, sae: SAE[Any], normalization: ModalityNormalization | None = None) -> None:
        if not isinstance(sae, SAE):
            raise UserError(
                f"SAEFeatureMap takes an SAE, not {kind_of(sae)}: give what load_sae(folder) "
                "returns, SAEFeatureMap(*load_sae(folder))."
            )
        architecture = sae.cfg.architecture()
        if architecture in ("abstopk", "temporal"):
            raise UserError(
                f"Codes of a {architecture!r} SAE are signed or depend on their neighbours, so "
                "they cannot be compared between modalities: use topk, batchtopk, jumprelu, …"
            )
        trained_behind = sae.cfg.metadata.normalization or "none"
        if normalization is None and trained_behind != "none":
            raise UserError(
                f"This SAE was trained behind {trained_behind!r} normalisation, and without it "
                "its codes mean nothing: give SAEFeatureMap(sae, normalization) what load_sae or "
                "the training's result holds beside the SAE."
            )
        self.sae = sae
        self.normalization = normalization or ModalityNormalization.identity(sae.cfg.d_in)

    @property
    def n_features(self) -> int:
        """Latents of the SAE."""
        return self.sae.cfg.d_sae

    @property
    def directions(self) -> Float[Tensor, "d_sae d_in"]:
        """The decoder's vectors. A scale for each modality would not turn them."""
        return self.sae.W_dec.detach()

    def encode(
        self, acts: Float[Tensor, "*batch d_in"], modality: Modality
    ) -> Float[Tensor, "*batch d_sae"]:
        """Return the latents' activations, >= 0, in the SAE's dtype and on its device.

        Gradients flow; wrap in ``torch.no_grad()`` where they are not wanted.

        Raises
        ------
        UserError
            If the SAE was folded for the other modality, or the activations are of another width.
        """
        check_tower(self.sae, modality)
        return dense_codes(self.sae.encode(self._normalized(acts, modality)))

    def decode(
        self, codes: Float[Tensor, "*batch d_sae"], modality: Modality
    ) -> Float[Tensor, "*batch d_in"]:
        """Return reconstructions in the units of the activations, on the SAE's device."""
        check_tower(self.sae, modality)
        return self.normalization.undo(self.sae.decode(codes.to(self.sae.device)), modality)

    @torch.no_grad()
    def reconstruct(
        self, acts: Float[Tensor, "n d_in"], modality: Modality
    ) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d_sae"], Float[Tensor, "n d_in"]]:
        """Return what the SAE is given, its codes, and its reconstruction of what it is given.

        All three are in the units the SAE was trained in, where its explained variance is measured.
        """
        check_tower(self.sae, modality)
        given = self._normalized(acts, modality)
        if self.sae.cfg.normalize_activations != "layer_norm":
            codes = dense_codes(self.sae.encode(given))
            return given, codes, decoded(self.sae, codes)
        with _LAYER_NORM_STATE:
            codes = dense_codes(self.sae.encode(given))
            return given, codes, decoded(self.sae, codes)

    def _normalized(self, acts: Tensor, modality: Modality) -> Tensor:
        check_acts_width("The SAE", self.sae.cfg.d_in, acts)
        return self.normalization.apply(acts.to(self.sae.device), modality)
