"""``aligned_topk``: TopK SAEs whose two codes of a pair are drawn together; saved as ``topk``.

Source: Dhimoïla et al. 2026, *Cross-Modal Redundancy and the Geometry of Vision–Language
Embeddings* (arXiv 2602.06218). Its *Iso-Energy* assumption (Definition 2) is that a concept k which
both modalities share has the same mean energy in both, E_image[z_k²] = E_text[z_k²]. Its *aligned
SAE* adds to the SAE's loss (Equation 1)

    β · L_align,    L_align = -1/b · Tr(Z_image · Z_textᵀ)

(as others quote it: the paper itself could not be looked up here) with the codes of b pairs in the
rows of Z, each divided by its length: minus the mean cosine of the two codes of a pair.
``alignment="cosine"`` is that plus one, which is never negative and has the same gradient.

The paper's base is an SAE by matching pursuit, ours is TopK, and there cosines can be bought:
latents that fire strongly on both sides and cancel out, against each other or the bias, change no
reconstruction and make all codes alike. So the default, *our reading*, leaves the lengths in:

    L_align = 1/b · Σ ‖z - w‖²

over the pairs' codes z and w, which is twice the energy of a code times one minus the cosine where
both are as long. What both sides have alike costs nothing and gains nothing, however large it is,
and a latent that carries its energy on one side alone costs all of it.

Measured on the quickstart's pairs (``python -m tests.benchmarks.paired_saes``, 512 latents, k = 16,
seed 0): of 40 values of shared factors, 27 had the same best latent on both sides with ``topk``, 27
at β = 0.03 and 31 at 0.1. Explained variance of images and captions was 0.961 and 0.978, 0.959 and
0.975, 0.952 and 0.971. Concepts are divided as long as β is small: see the test of split concepts.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from sae_lens import register_sae_training_class
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.paired import PairedTopKTrainingSAE, PairedTopKTrainingSAEConfig

Alignment = Literal["difference", "cosine"]


@dataclass
class AlignedTopKTrainingSAEConfig(PairedTopKTrainingSAEConfig):
    """SAELens' ``TopKTrainingSAEConfig`` with a loss that draws the codes of a pair together.

    Raises
    ------
    UserError
        If the alignment is unknown, or as ``PairedTopKTrainingSAEConfig``.
    """

    pair_coefficient: float = 0.1
    """β: weight of the alignment loss; without a unit for ``difference``, in that of the
    activations' square for ``cosine``."""
    alignment: Alignment = "difference"
    """``difference``, or ``cosine``, the paper's."""

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
        """Return the alignment loss that the config names, >= 0."""
        return _LOSSES[self.cfg.alignment](codes_image, codes_text)


def difference_loss(
    codes_image: Float[Tensor, "n_pairs d_sae"], codes_text: Float[Tensor, "n_pairs d_sae"]
) -> Float[Tensor, ""]:
    """Return the squared distance of the two codes of a pair, averaged over pairs; >= 0."""
    return (codes_image - codes_text).square().sum(dim=1).mean()


def cosine_loss(
    codes_image: Float[Tensor, "n_pairs d_sae"], codes_text: Float[Tensor, "n_pairs d_sae"]
) -> Float[Tensor, ""]:
    """Return one minus the mean cosine of the two codes of a pair, 0 to 1.

    0 where both sides have the same latents in the same proportions, 1 where they share none. A
    code without any latent has cosine 0 with every other.
    """
    return 1 - F.cosine_similarity(codes_image, codes_text, dim=1).mean()


_LOSSES = {"difference": difference_loss, "cosine": cosine_loss}

register_sae_training_class("aligned_topk", AlignedTopKTrainingSAE, AlignedTopKTrainingSAEConfig)
