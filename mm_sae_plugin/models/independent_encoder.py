"""An encoder that judges what features mean: another one than the one that is interpreted.

A model that judged its own features would call alike whatever it confuses itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

_BATCH = 128


@dataclass(frozen=True)
class IndependentEncoder:
    """Images, captions or both as another model sees them.

    Make one with :func:`~mm_sae_plugin.models.independent.load_encoder`.
    """

    name: str
    """What it was asked for by."""
    identity: str
    """Which weights; its name where it has none."""
    has_weights: Callable[[str], bool]
    """Says whether the id that a store or an SAE folder notes is that of these weights."""
    of_images: Callable[[Iterable["Image"]], Float[Tensor, "n d"]] | None = None
    """Embeds pictures, at least one; None where it cannot."""
    of_texts: Callable[[Sequence[str]], Float[Tensor, "n d"]] | None = None
    """Embeds captions, at least one; None where it cannot."""

    def embed_images(self, pictures: Iterable["Image"]) -> Float[Tensor, "n d"]:
        """Return a unit row for each picture, float32 on the CPU; a row of zeros stays one.

        Raises
        ------
        UserError
            If it reads captions alone.
        """
        self.refuse_without_images()
        assert self.of_images is not None
        return _unit(self.of_images, pictures)

    def embed_texts(self, captions: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return a unit row for each caption, float32 on the CPU; a row of zeros stays one.

        Raises
        ------
        UserError
            If it reads images alone.
        """
        if self.of_texts is None:
            raise UserError(f"{self.name} reads images alone: name an encoder of captions.")
        return _unit(self.of_texts, captions)

    def refuse_without_images(self) -> None:
        """Raise ``UserError`` if it reads captions alone."""
        if self.of_images is None:
            raise UserError(f"{self.name} reads captions alone: name an encoder of images.")

    def refuse_as_interpreted(self, weights_id: str) -> None:
        """Raise ``UserError`` if this is the encoder of that id, which is being interpreted."""
        if self.has_weights(weights_id):
            raise UserError(
                f"{self.name} is the encoder that is interpreted ({weights_id}) and cannot judge "
                "its own features: name another one."
            )


def in_batches(
    embed: Callable[[list[Any]], Float[Tensor, "batch d"]], items: Iterable[Any]
) -> Float[Tensor, "n d"]:
    """Embed any number of pictures or captions, a batch at a time; rows come to the CPU."""
    return torch.cat([embed(batch).float().cpu() for batch in _batches(items)])


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch


@torch.no_grad()
def _unit(embed: Callable[[Any], Tensor], items: Any) -> Float[Tensor, "n d"]:
    return torch.nn.functional.normalize(embed(items).float().cpu(), dim=1)
