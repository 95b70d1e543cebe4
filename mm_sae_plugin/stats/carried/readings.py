"""Second pass: what the readers say of pairs that they were not fitted on, counted in bins."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.modality import Modality
from mm_sae_plugin.stats.carried.groups import N_FOLDS, N_GROUPS, fold_of, image_groups
from mm_sae_plugin.stats.carried.moments import with_ones
from mm_sae_plugin.stats.carried.probes import Probes
from mm_sae_plugin.stats.interfaces import CodedPairs

N_BINS = 96
"""Bins of a reading, finest about its mean."""
_REACH = math.asinh(60.0)
"""Standard deviations from the mean that the bins reach to, on their own scale."""
_CELLS = N_GROUPS * 2 * N_BINS
"""Counts of one latent's reading."""
_LATENTS = 64
"""Latents that are read at a time."""


class ReadingCounts:
    """An accumulator of counts of readings, by group of images and by whether the latent fires.

    Parameters
    ----------
    probes : Probes
        Both readers of every latent.
    """

    def __init__(self, probes: Probes) -> None:
        self.probes = probes
        self.n_features = len(probes.on_image)
        self.counts: dict[str, Int[Tensor, "groups fires n_features bins"]] = {
            side: torch.zeros(N_GROUPS, 2, self.n_features, N_BINS, dtype=torch.int32)
            for side in ("own", "other")
        }
        """Pairs of each group by the bin of the own and of the other side's reading."""
        self.n_images = torch.zeros(N_GROUPS, dtype=torch.int64)
        """Images of each group."""

    def empty(self) -> "ReadingCounts":
        """An accumulator of the same kind that has seen nothing."""
        return ReadingCounts(self.probes)

    @torch.no_grad()
    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass."""
        groups = image_groups(pairs.rows.image_index)
        device = pairs.codes_image.device
        fold, on_image = fold_of(groups), self.probes.on_image.to(device)
        halves = [torch.nonzero(fold == half).flatten().to(device) for half in range(N_FOLDS)]
        order = torch.cat(halves)
        acts: dict[Modality, Tensor] = {
            "image": pairs.rows.acts_image,
            "text": pairs.rows.acts_text,
        }
        columns = {
            read: [with_ones(rows.index_select(0, half)).T for half in halves]
            for read, rows in acts.items()
        }
        # Latent by latent, so that the counting stays within one latent's cells.
        codes = torch.where(on_image, pairs.codes_image, pairs.codes_text)
        fires = codes > self.probes.threshold.to(device)
        fires = fires.index_select(0, order).T.contiguous()
        group_cell = (groups.to(device, torch.int32) * (2 * N_BINS))[order]
        # A few latents at a time, so that what is worked on stays in the processor's cache.
        for start in range(0, self.n_features, _LATENTS):
            mine = slice(start, start + _LATENTS)
            cell = fires[mine].to(torch.int32).mul_(N_BINS).add_(group_cell)
            cell += torch.arange(len(cell), device=device)[:, None].to(torch.int32) * _CELLS
            read_image, read_text = (
                self._counted(self._bins(read, columns[read], mine).add_(cell))
                for read in ("image", "text")
            )
            image = on_image[mine, None, None, None]
            own = torch.where(image, read_image, read_text)
            for side, counted in (("own", own), ("other", read_image + read_text - own)):
                counted = counted.permute(1, 2, 0, 3).to("cpu", torch.int32)
                self.counts[side][:, :, mine] += counted
        self.n_images += torch.bincount(groups[pairs.rows.first_of_image.cpu()], minlength=N_GROUPS)

    def _bins(
        self, read: Modality, columns: list[Float[Tensor, "d_and_one _"]], mine: slice
    ) -> Int[Tensor, "latents batch"]:
        """Bins of what the readers of some latents say, half after half."""
        parts = []
        for half, rows in enumerate(columns):
            weights, center, spread = (
                part[half][..., mine].to(rows.device)
                for part in (
                    self.probes.weights[read],
                    self.probes.center[read],
                    self.probes.spread[read],
                )
            )
            scaled = weights / spread
            scaled[-1] -= center / spread
            parts.append(scaled.T @ rows)
        place = torch.cat(parts, dim=1)
        # asinh, which torch computes one number at a time.
        size = place.abs()
        size.add_((size * size).add_(1).sqrt_()).log_().copysign_(place)
        scale = N_BINS / (2 * _REACH)
        return size.mul_(scale).add_(N_BINS / 2).clamp_(0, N_BINS - 1).to(torch.int32)

    def _counted(
        self, cells: Int[Tensor, "latents batch"]
    ) -> Int[Tensor, "latents groups fires bins"]:
        counted = torch.bincount(cells.flatten(), minlength=len(cells) * _CELLS)
        return counted.view(len(cells), N_GROUPS, 2, N_BINS)

    def merge(self, other: "ReadingCounts") -> "ReadingCounts":
        """Add the counts of other pairs; return `self`."""
        for side in self.counts:
            self.counts[side] += other.counts[side]
        self.n_images += other.n_images
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The counts as plain tensors."""
        return {f"counts.{side}": tensor for side, tensor in self.counts.items()} | {
            "n_images": self.n_images
        }
