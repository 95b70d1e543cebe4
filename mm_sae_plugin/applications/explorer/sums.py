"""All that a page of a latent shows, from one pass over a store."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.stats.clusters import mixed_bits
from mm_sae_plugin.stats.examples import TopRows, first_of_caption, strongest
from mm_sae_plugin.stats.interfaces import CodedPairs, PairedActivations

N_TOP = 12
"""Strongest examples kept for each latent and side."""
N_OTHER = 8
"""Random examples, faint ones and ones that fire on one side alone."""
N_BINS = 32
"""Bins of a histogram."""
_SEED = 31


def at_random(values: Float[Tensor, "entries"], rows: Int[Tensor, "entries"]) -> Tensor:
    """Rank by random-looking bits of the row, the same wherever it is met."""
    return torch.from_numpy((mixed_bits(rows, _SEED) >> 11).astype("float64"))


def faintest(values: Float[Tensor, "entries"], rows: Int[Tensor, "entries"]) -> Tensor:
    """Rank by the code, the smallest first."""
    return -values


class ExampleSums:
    """Examples and histograms of every latent.

    Parameters
    ----------
    widths : Float[Tensor, "n_features"]
        Width of a latent's histogram bins; the last bin holds all that lies beyond.
    first_of_caption : Bool[Tensor, "n_pairs"]
        Which pairs compete with their caption; see `stats.examples.first_of_caption`.
    """

    def __init__(
        self, widths: Float[Tensor, "n_features"], first_of_caption: Bool[Tensor, "n_pairs"]
    ) -> None:
        self._widths, self._first_of_caption = widths, first_of_caption
        # Rows of images on the image side, and pairs everywhere else.
        self.rows = {
            "image_top": TopRows(N_TOP, strongest),
            "text_top": TopRows(N_TOP, strongest),
            "image_random": TopRows(N_OTHER, at_random),
            "text_random": TopRows(N_OTHER, at_random),
            "image_faint": TopRows(N_OTHER, faintest),
            "text_faint": TopRows(N_OTHER, faintest),
            "image_alone": TopRows(N_OTHER, strongest),
            "text_alone": TopRows(N_OTHER, strongest),
        }
        shape = (len(widths), N_BINS)
        self.histograms = {side: torch.zeros(shape, dtype=torch.int64) for side in _SIDES}

    @classmethod
    def of(cls, store: PairedActivations, widths: Float[Tensor, "n_features"]) -> "ExampleSums":
        """Sums for a store that have seen nothing."""
        return cls(widths, first_of_caption(store.captions))

    def empty(self) -> "ExampleSums":
        """Sums of the same kind that have seen nothing."""
        return ExampleSums(self._widths, self._first_of_caption)

    @torch.no_grad()
    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass."""
        rows = pairs.rows
        codes = {"image": pairs.codes_image, "text": pairs.codes_text}
        new = {
            "image": rows.first_of_image,
            "text": self._first_of_caption[rows.pair_index],
        }
        names = {"image": rows.image_index, "text": rows.pair_index}
        for side, other in (("image", "text"), ("text", "image")):
            position, latent = (codes[side] > 0).nonzero(as_tuple=True)
            value = codes[side][position, latent].to("cpu", torch.float32)
            silent = (codes[other][position, latent] == 0).cpu()
            position, latent = position.cpu(), latent.cpu()
            counted = new[side][position]
            alone = silent & new[side][position]
            self.rows[f"{side}_alone"].add(
                latent[alone], rows.pair_index[position[alone]], value[alone]
            )
            latent, value = latent[counted], value[counted]
            row = names[side][position[counted]]
            for kind in ("top", "random", "faint"):
                self.rows[f"{side}_{kind}"].add(latent, row, value)
            self._count(side, latent, value)

    def merge(self, other: "ExampleSums") -> "ExampleSums":
        """Add what another has seen of later pairs; return `self`."""
        for name, rows in self.rows.items():
            rows.merge(other.rows[name])
        for side in _SIDES:
            self.histograms[side] += other.histograms[side]
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Rows and codes of the examples [n_features, n], and counts [n_features, N_BINS]."""
        latents = range(len(self._widths))
        state: dict[str, Tensor] = {"widths": self._widths}
        for name, kept in self.rows.items():
            rows, values = kept.of(latents)
            state[f"{name}.rows"], state[f"{name}.values"] = rows.to(torch.int32), values
        for side in _SIDES:
            state[f"{side}.histogram"] = self.histograms[side].to(torch.int32)
        return state

    def _count(self, side: str, latent: Tensor, value: Tensor) -> None:
        # A latent that is typically silent has no width; it has no values to count either.
        bins = (value / self._widths[latent]).floor().clamp(0, N_BINS - 1).to(torch.int64)
        counts = self.histograms[side]
        counts += torch.bincount(latent * N_BINS + bins, minlength=counts.numel()).view_as(counts)


_SIDES = ("image", "text")


def bin_widths(typical: Float[Tensor, "n_features"]) -> Float[Tensor, "n_features"]:
    """Widths of histogram bins that reach to three times a latent's typical code.

    Parameters
    ----------
    typical : float
        The mean of a latent's codes, weighted by themselves; NaN where it never fires.
    """
    width: Any = 3 * typical.nan_to_num(0) / N_BINS
    return torch.where(width > 0, width, 1.0).to(torch.float32)
