"""What a pass over a store brings together: the store, what is read of it, what sums it up.

`activations.ActivationStore` answers `PairedActivations`, as may anything else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.modality import MODALITIES, Modality
from mm_sae_plugin.stats.active_codes import ActiveCodes

if TYPE_CHECKING:
    from PIL.Image import Image

    from mm_sae_plugin.activations.partitions import Partition

PairChunk = tuple[Float[Tensor, "batch d_in"], Float[Tensor, "batch d_in"], Int[Tensor, "batch"]]
"""Image activations, text activations and the row of the image, one row per caption."""


@runtime_checkable
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


@runtime_checkable
class Partitioned(Protocol):
    """Paired activations on disk, with the captions of each image together."""

    def partitions(self, n_pairs: int, /) -> "list[Partition]":
        """Consecutive parts of so many pairs, that pickle and are read where they arrive."""
        ...


@dataclass(frozen=True)
class PairRows:
    """Consecutive pairs of a store, one row per caption."""

    acts_image: Float[Tensor, "batch d_image"]
    """Image activations, repeated for every caption."""
    acts_text: Float[Tensor, "batch d_text"]
    """Text activations."""
    pair_index: Int[Tensor, "batch"]
    """Which pair of the store each row is."""
    image_index: Int[Tensor, "batch"]
    """Which image of the store."""
    first_of_image: Bool[Tensor, "batch"]
    """Whether the image has not come before: true exactly once for each image."""


@dataclass(frozen=True)
class Reconstruction:
    """One modality of a batch, there and back, in the units that the feature map works in."""

    given: Float[Tensor, "batch d_in"]
    """What the feature map was given."""
    codes: Float[Tensor, "batch n_features"]
    """Its codes."""
    returned: Float[Tensor, "batch d_in"]
    """What they decode to."""

    @cached_property
    def active(self) -> ActiveCodes:
        """What is active in the codes."""
        return ActiveCodes.of(self.codes)


@dataclass(frozen=True)
class CodedPairs:
    """Pairs as a feature map sees them."""

    rows: PairRows
    """The pairs."""
    codes_image: Float[Tensor, "batch n_features"]
    """Codes of the images, >= 0, dense."""
    codes_text: Float[Tensor, "batch n_features"]
    """Codes of the captions, >= 0, dense."""
    reconstructed: tuple[Reconstruction, Reconstruction] | None = None
    """Image and text, if an accumulator asked for them."""

    @cached_property
    def active(self) -> dict[Modality, ActiveCodes]:
        """What is active in the codes of each modality; looked for once."""
        codes: dict[Modality, Tensor] = {"image": self.codes_image, "text": self.codes_text}
        seen = self.reconstructed or (None, None)
        return {
            modality: one.active
            if one is not None and one.codes is codes[modality]
            else ActiveCodes.of(codes[modality])
            for modality, one in zip(MODALITIES, seen, strict=True)
        }


@dataclass(frozen=True)
class ActivePairs:
    """Pairs of which an earlier pass has kept what is active, and nothing else."""

    rows: PairRows
    """The pairs."""
    active: dict[Modality, ActiveCodes]
    """What is active in the codes of each modality."""


def state_of_sides(sides: Mapping[Modality, "Sums"]) -> dict[str, Tensor]:
    """Return the states of what is summed for each modality by itself, as one."""
    return {
        f"{modality}.{name}": tensor
        for modality, sums in sides.items()
        for name, tensor in sums.state_dict().items()
    }


@runtime_checkable
class Sums(Protocol):
    """Anything that gives what it has seen as plain CPU tensors."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything seen."""
        ...


@runtime_checkable
class Accumulator(Protocol):
    """Sums over pairs. Parts merged in manifest order give the same bits, whoever took them.

    One that needs reconstructions says so with a class attribute ``needs_reconstruction = True``.
    """

    def empty(self) -> "Accumulator":
        """Return an accumulator of the same kind that has seen nothing."""
        ...

    def update_pairs(self, pairs: CodedPairs, /) -> None:
        """Add a batch."""
        ...

    def merge(self, other: Any, /) -> "Accumulator":
        """Add what another has seen of the pairs that follow these; return `self`."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything seen as plain CPU tensors."""
        ...
