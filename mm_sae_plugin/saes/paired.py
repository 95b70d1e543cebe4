"""What TopK SAEs have in common that are trained on the codes of an image and its caption together.

A plain SAE never learns that two rows belong together, and a dictionary that is wide enough splits
a concept into a latent for images and one for captions. These add a loss on the codes of a pair.
It shapes the dictionary and is needed only then: they are saved as SAELens' own ``topk``, and take
images alone or captions alone afterwards.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from sae_lens import TopKSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig, TrainingSAE
from sae_lens.saes.sae import SAEConfig, TrainCoefficientConfig, TrainStepInput, TrainStepOutput
from torch import Tensor

from mm_sae_plugin.errors import UserError

_COEFFICIENT = "pair"


@dataclass
class PairedTopKTrainingSAEConfig(TopKTrainingSAEConfig):
    """SAELens' ``TopKTrainingSAEConfig`` with the weight of a loss on pairs.

    Raises
    ------
    UserError
        If SAELens' ``use_sparse_activations`` is set, or the weight or its warm-up is negative.
    """

    pair_coefficient: float = 0.0
    """Weight of the loss on pairs, beside a squared error that is summed over dimensions and
    averaged over rows; >= 0."""
    pair_warm_up_steps: int = 0
    """Steps over which the weight grows from 0 to ``pair_coefficient``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use_sparse_activations:
            raise UserError(
                f"{self.architecture()} compares whole codes: leave use_sparse_activations at "
                "False."
            )
        for name in ("pair_coefficient", "pair_warm_up_steps"):
            value = getattr(self, name)
            if not value >= 0:
                raise UserError(f"{name} must be 0 or more; got {value}.")

    def get_inference_config_class(self) -> type[SAEConfig]:
        """Return the config it is saved with, so that SAELens alone loads it."""
        return TopKSAEConfig


class PairedTopKTrainingSAE(TopKTrainingSAE):
    """SAELens' ``TopKTrainingSAE`` with a loss on pairs, which subclasses define.

    Its batches must be *paired*: the first half images, the second half their captions, row i with
    row i + batch_size / 2. ``MultimodalSAETrainingRunner`` sees to it. SAELens' own runners mix the
    rows of many batches, which no loss can tell afterwards, so a step is refused until
    ``rows_are_paired`` is set.
    """

    cfg: PairedTopKTrainingSAEConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    rows_are_paired: bool = False
    """Whether whoever makes the batches promises that they are paired."""

    def pair_loss(
        self,
        codes_image: Float[Tensor, "n_pairs d_sae"],
        codes_text: Float[Tensor, "n_pairs d_sae"],
    ) -> Float[Tensor, ""]:
        """Return the loss on the codes of pairs, before it is weighted."""
        raise NotImplementedError

    def get_coefficients(self) -> dict[str, TrainCoefficientConfig | float]:
        """Return the weight that SAELens' trainer warms up and logs."""
        cfg = self.cfg
        return {_COEFFICIENT: TrainCoefficientConfig(cfg.pair_coefficient, cfg.pair_warm_up_steps)}

    def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        """Return losses and codes of one step, as SAELens does.

        Raises
        ------
        UserError
            If nobody promised that the rows are paired, or they cannot be.
        """
        shape = list(step_input.sae_in.shape)
        if not self.rows_are_paired:
            raise UserError(
                f"{self.cfg.architecture()} takes row i of a batch and row i + batch_size / 2 for "
                "an image and its caption: train it with MultimodalSAETrainingRunner on both "
                "towers, or set sae.rows_are_paired = True where your batches are so."
            )
        if len(shape) != 2 or shape[0] == 0 or shape[0] % 2:
            raise UserError(
                "A paired batch is [2 * n_pairs, d_in], half images and half their captions; got "
                f"{shape}."
            )
        return super().training_forward_pass(step_input)

    def calculate_aux_loss(
        self,
        step_input: TrainStepInput,
        feature_acts: Float[Tensor, "batch d_sae"],
        hidden_pre: Float[Tensor, "batch d_sae"],
        sae_out: Float[Tensor, "batch d_in"],
    ) -> dict[str, Tensor]:
        """Return SAELens' auxiliary loss of dead latents, and the weighted loss on pairs."""
        losses = super().calculate_aux_loss(step_input, feature_acts, hidden_pre, sae_out)
        # Half precision is too coarse for sums of many squares.
        codes = feature_acts.to(torch.promote_types(feature_acts.dtype, torch.float32))
        if not self.cfg.rescale_acts_by_decoder_norm:
            # Otherwise larger decoder rows and smaller codes would be cheaper, and the same.
            codes = codes * self.W_dec.norm(dim=-1)
        loss = self.pair_loss(*codes.chunk(2))
        return {**losses, "pair_loss": step_input.coefficients[_COEFFICIENT] * loss}


def promise_pairs(sae: TrainingSAE[Any], are_paired: bool) -> None:
    """Say of the batches that an SAE will be trained on whether their rows are paired.

    Parameters
    ----------
    sae : TrainingSAE
        Of any architecture; only those that are trained on pairs are told.
    are_paired : bool
        Whether every batch is half images and half their captions, in one order.

    Raises
    ------
    UserError
        If the SAE needs pairs and there are none.
    """
    if not isinstance(sae, PairedTopKTrainingSAE):
        return
    if not are_paired:
        raise UserError(
            f"{sae.cfg.architecture()} compares the codes of images with those of their captions, "
            "and there are activations of one tower alone: give those of both, or train topk."
        )
    sae.rows_are_paired = True
