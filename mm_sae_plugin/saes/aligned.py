"""``aligned_topk``: TopK SAEs whose two codes of a pair are drawn together; saved as ``topk``.

Source: Dhimoïla et al. 2026, *Cross-Modal Redundancy and the Geometry of Vision–Language
Embeddings* (arXiv 2602.06218). Its *Iso-Energy* assumption (Definition 2) is that a concept k which
both modalities share has the same mean energy in both, E_image[z_k²] = E_text[z_k²]. Its *aligned
SAE* adds to the SAE's loss (Equation 1)

    β · L_align,    L_align = -1/b · Tr(Z_image · Z_textᵀ)

with the codes of b pairs in the rows of Z, each divided by its length: minus the mean cosine of the
two codes of a pair. Ours is one more than that, which is never negative and has the same gradient.

The paper's base is an SAE by matching pursuit; ours is TopK, *our reading*, and takes each side's
mean code off first. A TopK SAE has a bias that can undo a latent which always fires, however
strongly, and such a latent makes all cosines 1: on FactorWorld's pairs at β = 0.1 the plain loss
fell to 0.02, the codes grew from length 0.9 to 3.4, and concepts stayed as divided as they were.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from sae_lens import register_sae_training_class
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.paired import PairedTopKTrainingSAE, PairedTopKTrainingSAEConfig

Alignment = Literal["cosine", "energy"]


@dataclass
class AlignedTopKTrainingSAEConfig(PairedTopKTrainingSAEConfig):
    """SAELens' ``TopKTrainingSAEConfig`` with a loss that draws the codes of a pair together.

    Raises
    ------
    UserError
        If the alignment is unknown, or as ``PairedTopKTrainingSAEConfig``.
    """

    pair_coefficient: float = 0.1
    """β: weight of :func:`cosine_loss` or :func:`energy_loss`, which have no unit; it has that of
    the activations' square."""
    alignment: Alignment = "cosine"
    """``cosine``, the loss of the paper, or ``energy``, the assumption itself taken as a loss."""
    center_codes: bool = True
    """Whether each side's mean code of the batch is taken off first. False is the paper's own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alignment not in _LOSSES:
            raise UserError(
                f"Unknown alignment {self.alignment!r}: choose one of {', '.join(_LOSSES)}."
            )

    @classmethod
    def architecture(cls) -> str:
        """Return the name in SAELens' registry of training classes."""
        return "aligned_topk"


class AlignedTopKTrainingSAE(PairedTopKTrainingSAE):
    """SAELens' ``TopKTrainingSAE`` with an alignment loss on the codes of a pair."""

    cfg: AlignedTopKTrainingSAEConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def pair_loss(
        self,
        codes_image: Float[Tensor, "n_pairs d_sae"],
        codes_text: Float[Tensor, "n_pairs d_sae"],
    ) -> Float[Tensor, ""]:
        """Return the alignment loss that the config names, 0 to 1; to 2 for centred cosines."""
        if self.cfg.center_codes:
            codes_image = codes_image - codes_image.mean(dim=0)
            codes_text = codes_text - codes_text.mean(dim=0)
        return _LOSSES[self.cfg.alignment](codes_image, codes_text)


def cosine_loss(
    codes_image: Float[Tensor, "n_pairs d_sae"], codes_text: Float[Tensor, "n_pairs d_sae"]
) -> Float[Tensor, ""]:
    """Return one minus the mean cosine of the two codes of a pair.

    0 where both sides have the same latents in the same proportions, 1 where they share none; of
    centred codes up to 2. A code without any latent has cosine 0 with every other.
    """
    return 1 - F.cosine_similarity(codes_image, codes_text, dim=1).mean()


def energy_loss(
    codes_image: Float[Tensor, "n_pairs d_sae"], codes_text: Float[Tensor, "n_pairs d_sae"]
) -> Float[Tensor, ""]:
    """Return how much of the codes' energy is not matched by the other side's, latent by latent.

    *Our reading* of the Iso-Energy assumption as a loss of its own: with the mean energies of a
    batch, e_k = mean z_k² (of centred codes: variances), it is
    Σ_k |e_k,image - e_k,text| / Σ_k (e_k,image + e_k,text). It knows sides, not pairs. 0 where
    every latent has the same energy on both sides, 1 where none fires on both; 0 where none fires
    at all.
    """
    image, text = codes_image.square().mean(dim=0), codes_text.square().mean(dim=0)
    whole = (image + text).sum()
    # Divided by something tiny where both are 0, rather than by 0.
    return (image - text).abs().sum() / whole.clamp_min(1e-30)


_LOSSES = {"cosine": cosine_loss, "energy": energy_loss}

register_sae_training_class("aligned_topk", AlignedTopKTrainingSAE, AlignedTopKTrainingSAEConfig)
