"""What a feature map that is fitted reads: rows of both modalities, a few at a time."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError


@runtime_checkable
class PairedRows(Protocol):
    """Anything that gives its pairs in order, as an activation store does."""

    @property
    def image_index(self) -> Int[Tensor, "n_pairs"]:
        """Row of each caption's image."""
        ...

    def iter_pairs(self, chunk: int, /) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Image activations, text activations and the image's row, ``chunk`` pairs at a time."""
        ...


def rows_of_both(store: PairedRows, chunk: int) -> Iterator[Float[Tensor, "rows d_in"]]:
    """Yield images and captions together, as many of one as of the other, in float32.

    Parameters
    ----------
    store : PairedRows
        Raw activations; an image comes once for each of its captions.
    chunk : int
        Pairs at a time; each yields two rows.

    Raises
    ------
    UserError
        If there are no pairs, or the two towers are not equally wide.
    """
    if len(store.image_index) == 0:
        raise UserError("The store holds no image–caption pairs, so there is nothing to fit.")
    for acts_image, acts_text, _ in store.iter_pairs(chunk):
        if acts_image.shape[1] != acts_text.shape[1]:
            raise UserError(
                f"Features of both modalities need towers equally wide; images have "
                f"{acts_image.shape[1]} dimensions and captions {acts_text.shape[1]}: choose hooks "
                "of the joint space."
            )
        yield torch.cat([acts_image, acts_text]).float()
