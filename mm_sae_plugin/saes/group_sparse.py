"""``group_topk``: TopK SAEs that are sparse in groups of two, a pair's codes; saved as ``topk``.

Source: Kaushik, Barch and Fanelli 2026, *Decomposing multimodal embedding spaces with group-sparse
autoencoders* (arXiv 2601.20028), its MGSAE, as its abstract and others' notes have it: the paper
itself could not be looked up here. A pair (x, y) has the codes z and w. They are a group
for each latent, and the loss of a pair is

    ‖x - x̂‖² + ‖y - ŷ‖² + λ · Σ_i √(z_i² + w_i²)

whose last term (the L2,1 norm) is smaller where both sides fire for the same latents: √2 for a
latent that has 1 on both sides, 2 for two latents that have 1 on one side each. Before TopK, some
latents are masked out at random, *the same ones for both sides*, so that both choose among the same
ones, and latents that never get their turn do.

SAELens averages the error over rows, which is half the paper's loss; so is our last term, and λ is
the paper's. *Our reading*: a mask is drawn for each pair at every step, and a latent is masked out
with the probability that is called p. The paper gives each modality a centring bias of its own,
which ``normalize="per_modality_center"`` does here; without it both have the one of SAELens.

Measured on the quickstart's pairs (``python -m tests.benchmarks.paired_saes``, 512 latents, k = 16,
seed 0, λ = 0.01, p = 0.2): no latent stayed dead (28 with ``topk``) and 82 were cross-modal by the
paper's score (22), but of 40 values of shared factors 21 had the same best latent on both sides
(27), and explained variance fell from 0.961 and 0.978 to 0.919 and 0.944: what is masked now and
then is learnt several times over.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from sae_lens import register_sae_training_class
from sae_lens.saes.sae import TrainStepInput, TrainStepOutput
from sae_lens.saes.topk_sae import TopK
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.paired import PairedTopKTrainingSAE, PairedTopKTrainingSAEConfig

# Keeps the masks of neighbouring seeds apart: a step of a seed is drawn from one number.
_STEP_STRIDE = 10_000_019


@dataclass
class GroupTopKTrainingSAEConfig(PairedTopKTrainingSAEConfig):
    """SAELens' ``TopKTrainingSAEConfig`` with group sparsity over pairs and shared masks.

    Raises
    ------
    UserError
        If the probability is not at least 0 and below 1, or as ``PairedTopKTrainingSAEConfig``.
    """

    pair_coefficient: float = 0.01
    """λ: weight of the L2,1 norm of a pair's codes, in the unit of the activations. The paper has
    0.05 for CLIP's embeddings of length 1, which is much where little is left to explain."""
    mask_probability: float = 0.2
    """Probability that a latent is masked out on both sides of a pair, 0 to below 1; the paper has
    0.2. At inference nothing is masked."""
    mask_seed: int = 0
    """Seed of the masks; with the number of the step it decides them, so that a resumed training
    has the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.mask_probability < 1:
            raise UserError(
                f"mask_probability must be at least 0 and below 1; got {self.mask_probability}."
            )

    @classmethod
    def architecture(cls) -> str:
        """Return the name in SAELens' registry of training classes."""
        return "group_topk"


class MaskableTopK(TopK):
    """SAELens' ``TopK``, which can be kept from choosing some latents for a while."""

    _kept: Bool[Tensor, "batch d_sae"] | None = None

    @contextmanager
    def choosing_among(self, kept: Bool[Tensor, "batch d_sae"]) -> Iterator[None]:
        """Choose only among these latents of each row within a block."""
        self._kept = kept
        try:
            yield
        finally:
            self._kept = None

    def forward(self, x: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        """Return the k largest pre-activations of each row, rectified; all others are 0."""
        # Where fewer than k are left, zeros fill up, and a code of 0 is none.
        return super().forward(x if self._kept is None else x * self._kept)


class GroupTopKTrainingSAE(PairedTopKTrainingSAE):
    """SAELens' ``TopKTrainingSAE`` with group sparsity over pairs and shared masks."""

    cfg: GroupTopKTrainingSAEConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    activation_fn: MaskableTopK
    _part: tuple[int, slice] | None = None

    def mask_as_part_of(self, n_pairs: int, part: slice) -> None:
        """Take every batch for a part of a larger one, and mask what is masked there.

        Parameters
        ----------
        n_pairs : int
            Pairs of the larger batch.
        part : slice
            Which of them a step is given.
        """
        self._part = n_pairs, part

    def get_activation_fn(self) -> MaskableTopK:
        """Return the TopK of SAELens that can be masked."""
        return MaskableTopK(self.cfg.k)

    def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        """Return losses and codes of one step under this step's masks.

        Raises
        ------
        UserError
            As ``PairedTopKTrainingSAE``.
        """
        if self.cfg.mask_probability == 0:
            return super().training_forward_pass(step_input)
        n_pairs = len(step_input.sae_in) // 2
        kept = self.kept_latents(n_pairs, step_input.n_training_steps)
        with self.activation_fn.choosing_among(kept.repeat(2, 1)):
            return super().training_forward_pass(step_input)

    def kept_latents(self, n_pairs: int, step: int) -> Bool[Tensor, "n_pairs d_sae"]:
        """Return which latents each pair of a step may choose.

        A function of seed, step and device; the global random state is left alone.
        """
        cfg = self.cfg
        generator = torch.Generator(self.W_dec.device)
        generator.manual_seed(cfg.mask_seed * _STEP_STRIDE + step)
        n_drawn, part = self._part or (n_pairs, slice(n_pairs))
        shape = n_drawn, cfg.d_sae
        drawn = torch.rand(shape, generator=generator, device=self.W_dec.device)
        return drawn[part] >= cfg.mask_probability

    def pair_loss(
        self,
        codes_image: Float[Tensor, "n_pairs d_sae"],
        codes_text: Float[Tensor, "n_pairs d_sae"],
    ) -> Float[Tensor, ""]:
        """Return half the L2,1 norm of a pair's codes, averaged over pairs."""
        return group_norm(codes_image, codes_text) / 2


def group_norm(
    codes_image: Float[Tensor, "n_pairs d_sae"], codes_text: Float[Tensor, "n_pairs d_sae"]
) -> Float[Tensor, ""]:
    """Return Σ_i √(z_i² + w_i²) for the codes z and w of a pair, averaged over pairs; >= 0.

    Latents that fire on neither side have no gradient.
    """
    squares = codes_image.square() + codes_text.square()
    # The root has no gradient at 0, and torch's own norm over two rows is many times slower.
    fires = squares > 0
    lengths = torch.where(fires, squares, 1.0).sqrt()
    return torch.where(fires, lengths, 0.0).sum(dim=1).mean()


register_sae_training_class("group_topk", GroupTopKTrainingSAE, GroupTopKTrainingSAEConfig)
