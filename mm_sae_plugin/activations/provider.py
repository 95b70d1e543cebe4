"""Batches of stored activations for SAELens' trainer: endless, deterministic, resumable.

SAELens calls any iterator of ``[batch, d_in]`` tensors a *DataProvider*. Its trainer counts
sparsity on the assumption that every batch has exactly ``train_batch_size_samples`` rows, and an
exhausted iterator ends a training with ``StopIteration``; so the providers here never run out
and never hand over a short batch.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError

# Keeps the shuffles of neighbouring seeds apart: epoch e of seed s is drawn from one number.
_EPOCH_STRIDE = 1_000_003
# PyTorch looks at 32 bits of a seed: odd, so that no two parts of an epoch share one.
_PART_STRIDE = 2_654_435_761
_OF_CHUNKS = ("n_chunks", "run_length")


class Position:
    """Where an endless stream of items stands; the stream follows from it and the seed.

    Parameters
    ----------
    n_items : int
        Length of an epoch, at least 1.
    n_per_batch : int
        Items in each batch, at least 1.
    seed : int
        Seed of the order.
    """

    def __init__(self, n_items: int, n_per_batch: int, seed: int) -> None:
        assert n_items >= 1 and n_per_batch >= 1
        self.n_items = n_items
        self.n_per_batch = n_per_batch
        self.seed = seed
        self.n_batches = 0


def epoch_generator(seed: int, epoch: int, part: int = 0) -> torch.Generator:
    """Return the source of an epoch's order; parts of one epoch are drawn independently.

    Part 0 is all that an order needs whose rows are in memory.
    """
    return torch.Generator().manual_seed(seed * _EPOCH_STRIDE + epoch + part * _PART_STRIDE)


class ShuffledStream(Position):
    """An endless stream of indices: one fresh permutation of ``range(n_items)`` after another.

    The stream is a function of the seed and the position alone, so that resuming is setting the
    position. A batch may begin in one epoch and end in the next.

    Parameters
    ----------
    n_items : int
        Length of an epoch, at least 1.
    n_per_batch : int
        Indices in each call of :meth:`take`.
    seed : int
        Seed of the permutations.
    device : torch.device or str
        Where the indices are wanted. They are drawn on the CPU whatever it is, so that the order
        is the same on every machine.
    """

    def __init__(
        self, n_items: int, n_per_batch: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(n_items, n_per_batch, seed)
        self.device = torch.device(device)
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.long)

    def take(self) -> Int[Tensor, "n_per_batch"]:
        """Return the next ``n_per_batch`` indices, int64, in ``[0, n_items)``."""
        start = self.n_batches * self.n_per_batch
        self.n_batches += 1
        epoch, offset = divmod(start, self.n_items)
        part = self._epoch_order(epoch)[offset : offset + self.n_per_batch]
        if len(part) == self.n_per_batch:
            return part
        parts, n_missing = [part], self.n_per_batch - len(part)
        while n_missing > 0:
            epoch += 1
            part = self._epoch_order(epoch)[:n_missing]
            parts.append(part)
            n_missing -= len(part)
        return torch.cat(parts)

    def _epoch_order(self, epoch: int) -> Int[Tensor, "n_items"]:
        if epoch != self._epoch:
            order = torch.randperm(self.n_items, generator=epoch_generator(self.seed, epoch))
            self._permutation, self._epoch = order.to(self.device), epoch
        return self._permutation


class ActivationBatches(Iterator[Tensor]):
    """What all providers share: where they stand, and its state."""

    def __init__(self, stream: Position, batch_size: int) -> None:
        self.batch_size = batch_size
        self._stream = stream

    def __iter__(self) -> "ActivationBatches":
        return self

    @property
    def n_batches(self) -> int:
        """Batches handed over so far."""
        return self._stream.n_batches

    def close(self) -> None:
        """Let go of whatever is held outside; a provider in memory holds nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that :meth:`load_state_dict` needs, as plain numbers."""
        return {
            "n_batches": self._stream.n_batches,
            "n_items": self._stream.n_items,
            "batch_size": self.batch_size,
            "seed": self._stream.seed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another provider of the same data stopped.

        Raises
        ------
        UserError
            If the state belongs to other data, another batch size, another seed or an order in
            other chunks: the batches would not continue the same stream.
        """
        own = self.state_dict()
        for name in ("n_items", "batch_size", "seed", "n_chunks", "run_length"):
            # An order that is not cut into chunks is one chunk, and says nothing of it.
            was, now = state.get(name, 1), own.get(name, 1)
            if was != now:
                decides = ", of which max_memory_gb decides this" if name in _OF_CHUNKS else ""
                raise UserError(
                    f"The checkpoint was made with {name} = {was}, this run has {name} = {now}: "
                    f"resume with the same data and configuration{decides}."
                )
        self._stream.n_batches = int(state["n_batches"])


class PairedBatches(ActivationBatches):
    """Batches of images and their captions: see :func:`paired_batches`."""

    def __init__(
        self,
        acts_image: Float[Tensor, "n_images d_image"],
        acts_text: Float[Tensor, "n_pairs d_text"],
        image_index: Int[Tensor, "n_indices"] | None,
        batch_size: int,
        seed: int,
    ) -> None:
        _check_pairs(acts_image, acts_text, image_index, batch_size)
        self._order = ShuffledStream(len(acts_text), batch_size // 2, seed, acts_text.device)
        super().__init__(self._order, batch_size)
        self.acts_image = acts_image
        self.acts_text = acts_text
        self.image_index = None if image_index is None else image_index.to(acts_text.device)

    def __next__(self) -> Float[Tensor, "batch d_in"]:
        pairs = self._order.take()
        images = pairs if self.image_index is None else self.image_index[pairs]
        half = self.batch_size // 2
        batch = self.acts_text.new_empty(self.batch_size, self.acts_text.shape[1])
        # Written in place: a concatenation would copy every batch once more.
        torch.index_select(self.acts_image, 0, images, out=batch[:half])
        torch.index_select(self.acts_text, 0, pairs, out=batch[half:])
        return batch


class RowBatches(ActivationBatches):
    """Batches of the rows of one tower: see :func:`row_batches`."""

    def __init__(self, acts: Float[Tensor, "n_rows d_in"], batch_size: int, seed: int) -> None:
        if acts.ndim != 2 or len(acts) == 0:
            raise UserError(f"Activations must be [n_rows, d_in] with rows; got {_shape(acts)}.")
        self._order = ShuffledStream(len(acts), batch_size, seed, acts.device)
        super().__init__(self._order, batch_size)
        self.acts = acts

    def __next__(self) -> Float[Tensor, "batch d_in"]:
        return self.acts.index_select(0, self._order.take())


def paired_batches(
    acts_image: Float[Tensor, "n_images d_image"],
    acts_text: Float[Tensor, "n_pairs d_text"],
    image_index: Int[Tensor, "n_indices"] | None = None,
    *,
    batch_size: int,
    seed: int = 0,
) -> PairedBatches:
    """Feed a SAELens trainer from image–text pairs.

    Every batch has exactly ``batch_size`` rows: the first half images, the second half their
    captions, row i with row i + batch_size / 2. All pairs are seen once before one is seen again.

    Parameters
    ----------
    acts_image : Float[Tensor, "n_images d_image"]
        One row per distinct image.
    acts_text : Float[Tensor, "n_pairs d_text"]
        One row per caption, of the same width, dtype and device.
    image_index : Int[Tensor, "n_indices"], optional
        Row of each caption's image, one for every caption. Without it, row i of both sides is
        pair i.
    batch_size : int
        Rows of a batch, even, at least 2; the trainer's ``train_batch_size_samples``.
    seed : int
        Seed of the order.

    Returns
    -------
    PairedBatches
        An endless iterator with ``state_dict`` and ``load_state_dict``.

    Raises
    ------
    UserError
        If the two sides do not fit together or the batch size is odd.
    """
    return PairedBatches(acts_image, acts_text, image_index, batch_size, seed)


def row_batches(
    acts: Float[Tensor, "n_rows d_in"], *, batch_size: int, seed: int = 0
) -> RowBatches:
    """Feed a SAELens trainer from one tower: rows are tokens, or whatever the hook gives.

    Parameters
    ----------
    acts : Float[Tensor, "n_rows d_in"]
        Activations, at least one row.
    batch_size : int
        Rows of a batch, at least 1.
    seed : int
        Seed of the order.

    Returns
    -------
    RowBatches
        An endless iterator with ``state_dict`` and ``load_state_dict``.
    """
    return RowBatches(acts, batch_size, seed)


def _check_pairs(
    acts_image: Tensor, acts_text: Tensor, image_index: Tensor | None, batch_size: int
) -> None:
    if batch_size < 2 or batch_size % 2:
        raise UserError(
            f"A paired batch is half images and half captions, so its size must be even; "
            f"got {batch_size}."
        )
    if acts_image.ndim != 2 or acts_text.ndim != 2 or len(acts_text) == 0:
        raise UserError(
            "Activations must be [n_rows, d_in] with at least one pair; got "
            f"{_shape(acts_image)} for images and {_shape(acts_text)} for captions."
        )
    if acts_image.shape[1] != acts_text.shape[1]:
        raise UserError(
            f"A shared SAE needs both towers equally wide; images have {acts_image.shape[1]} "
            f"dimensions and captions {acts_text.shape[1]}: choose hooks of the joint space."
        )
    if image_index is None and len(acts_image) != len(acts_text):
        raise UserError(
            f"{len(acts_image)} image rows and {len(acts_text)} caption rows are not pairs: "
            "give image_index, the image row of every caption."
        )
    if image_index is not None and (
        len(image_index) != len(acts_text)
        or int(image_index.min()) < 0
        or int(image_index.max()) >= len(acts_image)
    ):
        raise UserError(
            f"image_index must name one of the {len(acts_image)} image rows for each of the "
            f"{len(acts_text)} captions."
        )


def _shape(acts: Tensor) -> str:
    return str(list(acts.shape))
