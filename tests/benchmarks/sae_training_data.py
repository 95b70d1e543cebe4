"""The two data sets of the SAE training benchmark, and the batches that every method gets.

Rows are grouped in *items*: a pair of FactorWorld is an item of two rows (image, caption), a row of
the synthetic set an item of one. Both sets are scaled so that the mean squared entry is 1, as
SAELens' defaults assume; at rows of norm 1 overcomplete and dictionary-learning explain less of
FactorWorld.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError

_DATA_SEED = 0
_WIDTH = 512
_N_ATOMS = 1024
_MEAN_ACTIVE = 16
_NOISE = 0.1
_HELD_OUT_SHARE = 8


@dataclass(frozen=True)
class DataSetFacts:
    """What the parent process needs to know of a data set whose tensors lie on disk."""

    name: str
    """Name on the command line."""
    title: str
    """Name in the table and the figure."""
    train_file: str
    """Tensor [items, rows per item, d_in]."""
    held_out_file: str
    """The same for the held-out items."""
    groups: tuple[str, ...]
    """Name of each row of an item; explained variance is given for each."""
    d_in: int
    """Width of a row."""
    n_train_rows: int
    """Rows to train on."""
    n_held_out_rows: int
    """Rows to evaluate on."""
    d_sae: int
    """Latents, unless the command line says otherwise."""
    k: int
    """Active latents per row, unless the command line says otherwise."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the machine's paths."""
        return {key: value for key, value in asdict(self).items() if not key.endswith("_file")}


def factorworld_data(folder: Path, n_pairs: int) -> DataSetFacts:
    """Embed FactorWorld pairs with the embedded CLIP, as the quickstart does.

    The pair store in the folder is reused where it is complete.
    """
    from mm_sae_plugin.activations import ExtractConfig, extract
    from mm_sae_plugin.models import load_model
    from mm_sae_plugin.pairs import load_pairs

    pairs = load_pairs(f"factorworld:{n_pairs}:{_DATA_SEED}")
    out = folder / f"factorworld-{n_pairs}"
    store = extract(load_model("factorworld"), pairs, out, ExtractConfig())
    images, captions = store.image_rows()[store.image_index], store.text_rows()
    items = torch.stack((images, captions), dim=1)
    title = "FactorWorld CLIP pairs"
    return _split(folder, "factorworld", title, ("image", "text"), items, d_sae=512, k=16)


def synthetic_data(folder: Path, n_rows: int) -> DataSetFacts:
    """Draw sparse combinations of random atoms, some common and most rare, plus noise."""
    generator = torch.Generator().manual_seed(_DATA_SEED)
    atoms = torch.randn(_N_ATOMS, _WIDTH, generator=generator)
    atoms /= atoms.norm(dim=1, keepdim=True)
    # Frequencies fall as those of words do, so that the rarest atoms are hard to find.
    frequency = torch.arange(1, _N_ATOMS + 1) ** -0.5
    frequency *= _MEAN_ACTIVE / frequency.sum()
    rows = torch.empty(n_rows, _WIDTH)
    for part in rows.split(4096):
        on = torch.rand(len(part), _N_ATOMS, generator=generator) < frequency
        strength = 0.5 + torch.rand(len(part), _N_ATOMS, generator=generator)
        part[:] = (on * strength) @ atoms
        noise = torch.randn(part.shape, generator=generator)
        part += _NOISE * (_MEAN_ACTIVE / _WIDTH) ** 0.5 * noise
    return _split(
        folder, "synthetic", "Synthetic dictionary", ("row",), rows[:, None], d_sae=2048, k=32
    )


def _split(
    folder: Path,
    name: str,
    title: str,
    groups: tuple[str, ...],
    items: Float[Tensor, "n_items rows_per_item d_in"],
    d_sae: int,
    k: int,
) -> DataSetFacts:
    if len(items) < 2 * _HELD_OUT_SHARE:
        raise UserError(f"{name} needs at least {2 * _HELD_OUT_SHARE} items, not {len(items)}.")
    items = items / items.square().mean().sqrt()
    n_held_out = len(items) // _HELD_OUT_SHARE
    train, held_out = folder / f"{name}-train.pt", folder / f"{name}-held-out.pt"
    torch.save(items[n_held_out:].clone(), train)
    torch.save(items[:n_held_out].clone(), held_out)
    return DataSetFacts(
        name=name,
        title=title,
        train_file=str(train),
        held_out_file=str(held_out),
        groups=groups,
        d_in=items.shape[2],
        n_train_rows=(len(items) - n_held_out) * len(groups),
        n_held_out_rows=n_held_out * len(groups),
        d_sae=d_sae,
        k=k,
    )


class Batches:
    """A fixed number of shuffled batches, cut from memory while the training goes on.

    A batch of pairs has all images in its first half and their captions in its second, in the
    same order.
    """

    def __init__(
        self,
        items: Float[Tensor, "n_items rows_per_item d_in"],
        batch_size: int,
        n_steps: int,
        seed: int,
    ) -> None:
        self.items, self.n_steps, self.seed = items, n_steps, seed
        self.items_per_batch = batch_size // items.shape[1]

    def __len__(self) -> int:
        return self.n_steps

    def __iter__(self) -> Iterator[Float[Tensor, "batch d_in"]]:
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(self.n_steps):
            while len(order) < self.items_per_batch:
                order = torch.cat((order, torch.randperm(len(self.items), generator=generator)))
            chosen, order = order[: self.items_per_batch], order[self.items_per_batch :]
            yield self.items[chosen].transpose(0, 1).reshape(-1, self.items.shape[2])
