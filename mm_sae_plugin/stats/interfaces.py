"""What the statistics ask of a store: `activations.ActivationStore` answers it, as may anything."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

PairChunk = tuple[Float[Tensor, "batch d_in"], Float[Tensor, "batch d_in"], Int[Tensor, "batch"]]
"""Image activations, text activations and the row of the image, one row per caption."""


class PairedActivations(Protocol):
    """Activations of images and of their captions."""

    @property
    def image_index(self) -> Int[Tensor, "n_pairs"]:
        """Row of each caption's image."""
        ...

    @property
    def captions(self) -> Sequence[str]:
        """The captions, one per pair."""
        ...

    @property
    def image_ids(self) -> Sequence[str]:
        """Names of the images, one per distinct image."""
        ...

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        """Labels by name, one value per pair."""
        ...

    def image_rows(self) -> Float[Tensor, "n_images d_in"]:
        """One row per distinct image."""
        ...

    def text_rows(self) -> Float[Tensor, "n_pairs d_in"]:
        """One row per caption."""
        ...

    def iter_pairs(self, chunk: int, /) -> Iterator[PairChunk]:
        """Pairs in manifest order, `chunk` at a time."""
        ...

    def open_image(self, row: int, /) -> "Image | None":
        """The image itself, or None when its source is gone."""
        ...
