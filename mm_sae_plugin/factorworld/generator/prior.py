"""The prior: from a joint text embedding to the joint embedding of a picture of it."""

import torch

# A pipeline looks for the base class of a part of its own among the names of the part's module.
from diffusers.models.modeling_utils import ModelMixin as ModelMixin
from diffusers.models.transformers.prior_transformer import (
    PriorTransformer,
    PriorTransformerOutput,
)
from jaxtyping import Bool, Float
from torch import Tensor


class JointPrior(PriorTransformer):
    """A prior that reads the joint text embedding alone.

    Kandinsky's prior also reads the text tower's token states. They would carry a prompt past any
    edit of the joint embedding, so that here they are left out. Build it with ``num_embeddings=0``
    and no ``encoder_hid_proj_type``.
    """

    def forward(
        self,
        hidden_states: Float[Tensor, "batch d_joint"],
        timestep: Tensor | float | int,
        proj_embedding: Float[Tensor, "batch d_joint"],
        encoder_hidden_states: Float[Tensor, "batch token d_text"] | None = None,
        attention_mask: Bool[Tensor, "batch token"] | None = None,
        return_dict: bool = True,
    ) -> PriorTransformerOutput | tuple[Tensor]:
        """Return the predicted image embedding, standardised.

        ``encoder_hidden_states`` and ``attention_mask`` are accepted because the pipeline passes
        them, and not read.
        """
        return super().forward(
            hidden_states, torch.as_tensor(timestep), proj_embedding, return_dict=return_dict
        )


def build_prior(d_joint: int = 128, num_layers: int = 4) -> JointPrior:
    """Return an untrained prior of the shape that is shipped, or a shallower one."""
    return JointPrior(
        num_attention_heads=4,
        attention_head_dim=64,
        num_layers=num_layers,
        embedding_dim=d_joint,
        num_embeddings=0,
        # A text tower's projection may have any length: only its direction counts.
        embedding_proj_norm_type="layer",
        encoder_hid_proj_type=None,
    )
