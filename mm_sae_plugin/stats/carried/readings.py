"""Second pass: what the readers say of pairs that they were not fitted on, counted in bins."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.modality import MODALITIES, Modality
from mm_sae_plugin.saes.latent_order import latent_order
from mm_sae_plugin.stats.active_codes import ActiveCodes
from mm_sae_plugin.stats.carried.groups import N_FOLDS, N_GROUPS, fold_of, image_groups
from mm_sae_plugin.stats.carried.moments import with_ones
from mm_sae_plugin.stats.carried.probes import Probes
from mm_sae_plugin.stats.interfaces import ActivePairs, CodedPairs

N_BINS = 96
"""Bins of a reading, finest about its mean."""
_REACH = math.asinh(60.0)
"""Standard deviations from the mean that the bins reach to, on their own scale."""
_CELLS = N_GROUPS * 2 * N_BINS
"""Counts of one latent's reading."""
_LATENTS = 64
"""Latents that are read at a time."""
_ROWS = 8192
"""Pairs that are read at a time."""
_MOST_FIRINGS = 2**22
"""Firings that wait at most: where codes are dense, pairs wait less long."""


@dataclass(frozen=True)
class _Batch:
    """Pairs that are still to be read."""

    groups: Int[Tensor, "batch"]
    """Group of each pair's image."""
    acts: dict[Modality, Float[Tensor, "batch _"]]
    """Activations of each modality."""
    firings: list[ActiveCodes]
    """Of the latents whose own side are images, then of the others."""


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
        self._counts = {
            side: torch.zeros(N_GROUPS, 2, self.n_features, N_BINS, dtype=torch.int32)
            for side in ("own", "other")
        }
        # There are more bins than rows of a batch, so batches wait until they can be read together.
        self._waiting: list[_Batch] = []
        self.n_images = torch.zeros(N_GROUPS, dtype=torch.int64)
        """Images of each group."""

    def empty(self) -> "ReadingCounts":
        """An accumulator of the same kind that has seen nothing."""
        return ReadingCounts(self.probes)

    @property
    def counts(self) -> dict[str, Int[Tensor, "groups fires n_features bins"]]:
        """Pairs of each group by the bin of the `own` and of the `other` side's reading."""
        self._settle()
        return self._counts

    def update_pairs(self, pairs: CodedPairs | ActivePairs) -> None:
        """Add a batch of a pass."""
        groups = image_groups(pairs.rows.image_index)
        self.n_images += torch.bincount(groups[pairs.rows.first_of_image.cpu()], minlength=N_GROUPS)
        firings = []
        for modality, active in pairs.active.items():
            on_image, threshold = (
                values.to(active.latents.device)[active.latents]
                for values in (self.probes.on_image, self.probes.threshold)
            )
            is_own = on_image == (modality == "image")
            firings.append(active.where(is_own & (active.values > threshold)))
        acts: dict[Modality, Tensor] = {
            "image": pairs.rows.acts_image,
            "text": pairs.rows.acts_text,
        }
        self._waiting.append(_Batch(groups, acts, firings))
        n_rows = sum(len(batch.groups) for batch in self._waiting)
        n_firings = sum(len(side.rows) for batch in self._waiting for side in batch.firings)
        if n_rows >= _ROWS or n_firings > _MOST_FIRINGS:
            self._settle()

    @torch.no_grad()
    def _settle(self) -> None:
        """Count the readings of what has waited."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        device = waiting[0].firings[0].rows.device
        groups = torch.cat([batch.groups for batch in waiting])
        fold = fold_of(groups)
        halves = [torch.nonzero(fold == half).flatten() for half in range(N_FOLDS)]
        order = torch.cat(halves)
        columns = {
            read: [
                with_ones(torch.cat([batch.acts[read] for batch in waiting])[half]).T.to(device)
                for half in (half.to(waiting[0].acts[read].device) for half in halves)
            ]
            for read in MODALITIES
        }
        group_cell = (groups[order].to(torch.int32) * (2 * N_BINS)).to(device)
        starts, positions = self._firings(waiting, order.argsort().to(device))
        # A few latents at a time, so that what is worked on stays in the processor's cache.
        for start in range(0, self.n_features, _LATENTS):
            mine = slice(start, min(start + _LATENTS, self.n_features))
            cell = group_cell.repeat(mine.stop - mine.start, 1)
            fires = positions[starts[mine.start] : starts[mine.stop]] - start * len(order)
            cell.view(-1)[fires] += N_BINS
            cell += torch.arange(len(cell), device=device)[:, None].to(torch.int32) * _CELLS
            read_image, read_text = (
                self._counted(self._bins(read, columns[read], mine).add_(cell))
                for read in MODALITIES
            )
            image = self.probes.on_image[mine, None, None, None].to(device)
            own = torch.where(image, read_image, read_text)
            for side, counted in (("own", own), ("other", read_image + read_text - own)):
                counted = counted.permute(1, 2, 0, 3).to("cpu", torch.int32)
                self._counts[side][:, :, mine] += counted

    def _firings(
        self, waiting: "list[_Batch]", place: Int[Tensor, "n_rows"]
    ) -> tuple[list[int], Int[Tensor, "n_firings"]]:
        """Where each latent's firings begin, and their positions in a table of latents by rows.

        `place` says where each row stands in that table.
        """
        sides = [
            ActiveCodes.joined(list(parts))
            for parts in zip(*(b.firings for b in waiting), strict=True)
        ]
        latents = torch.cat([side.latents for side in sides])
        order = latent_order(latents, self.n_features)
        latents = latents[order]
        rows = place[torch.cat([side.rows for side in sides])[order]]
        numbers = torch.arange(self.n_features + 1, device=latents.device)
        return torch.searchsorted(latents, numbers).tolist(), latents * len(place) + rows

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
        for side, counts in self.counts.items():
            counts += other.counts[side]
        self.n_images += other.n_images
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The counts as plain tensors."""
        return {f"counts.{side}": tensor for side, tensor in self.counts.items()} | {
            "n_images": self.n_images
        }
