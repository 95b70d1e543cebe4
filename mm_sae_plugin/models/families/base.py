"""What every family of models answers."""

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from mm_sae_plugin.models.towers import TowerSpec


@runtime_checkable
class Family(Protocol):
    """How to run one family of models and where its hook points lie. It holds no state."""

    @property
    def name(self) -> str:
        """Such as ``"open_clip.vit"``."""
        ...

    def vision(self, clip: nn.Module) -> TowerSpec:
        """Return the routes of the vision tower."""
        ...

    def text(self, clip: nn.Module) -> TowerSpec:
        """Return the routes of the text tower."""
        ...

    def encode_image(
        self, clip: nn.Module, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch d_joint"]:
        """Run the vision tower up to the joint space, not normalised."""
        ...

    def encode_text(
        self, clip: nn.Module, tokens: Int[Tensor, "batch ctx"]
    ) -> Float[Tensor, "batch d_joint"]:
        """Run the text tower up to the joint space, not normalised."""
        ...

    def normalize(self, features: Float[Tensor, "batch d_joint"]) -> Float[Tensor, "batch d_joint"]:
        """Scale rows to unit length with the very operations the family itself uses."""
        ...

    def d_joint(self, clip: nn.Module) -> int:
        """Return the width of the joint space."""
        ...

    def image_size(self, clip: nn.Module) -> tuple[int, int]:
        """Return height and width of the images in pixels."""
        ...

    def context_length(self, clip: nn.Module) -> int:
        """Return the number of tokens in one caption."""
        ...

    def n_read_tokens(
        self, clip: nn.Module, tokens: Int[Tensor, "batch ctx"]
    ) -> Int[Tensor, "batch"] | None:
        """Count the leading tokens that each caption's embedding is made of.

        ``None`` where it may be made of all: where tokens look at those behind them, or the
        position that is read is not known.
        """
        ...

    def of_fewer_tokens(self, clip: nn.Module, n_tokens: int) -> AbstractContextManager[None]:
        """Let the text tower take captions cut to ``n_tokens`` while the block lasts."""
        ...
