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
        fold = fold_of(groups)
        fires = torch.where(
            self.probes.on_image.to(pairs.codes_image.device),
            pairs.codes_image > self.probes.threshold.to(pairs.codes_image.device),
            pairs.codes_text > self.probes.threshold.to(pairs.codes_image.device),
        )
        bins = {
            "image": self._bins("image", pairs.rows.acts_image, fold),
            "text": self._bins("text", pairs.rows.acts_text, fold),
        }
        on_image = self.probes.on_image.to(bins["image"].device)
        cell = (groups.to(fires.device)[:, None] * 2 + fires) * self.n_features
        cell = (cell + torch.arange(self.n_features, device=fires.device)) * N_BINS
        own = torch.where(on_image, bins["image"], bins["text"])
        other = torch.where(on_image, bins["text"], bins["image"])
        for side, reading in (("own", own), ("other", other)):
            size = self.counts[side].numel()
            counted = torch.bincount((cell + reading).flatten(), minlength=size)
            self.counts[side] += counted.view_as(self.counts[side]).to("cpu", torch.int32)
        self.n_images += torch.bincount(groups[pairs.rows.first_of_image.cpu()], minlength=N_GROUPS)

    def _bins(
        self, read: Modality, acts: Float[Tensor, "batch d"], fold: Int[Tensor, "batch"]
    ) -> Int[Tensor, "batch n_features"]:
        rows = with_ones(acts)
        bins = torch.empty(len(rows), self.n_features, dtype=torch.int64, device=rows.device)
        for half in range(N_FOLDS):
            mine = (fold == half).to(rows.device)
            weights, center, spread = (
                part[half].to(rows.device)
                for part in (
                    self.probes.weights[read],
                    self.probes.center[read],
                    self.probes.spread[read],
                )
            )
            place = ((rows[mine] @ weights - center) / spread).asinh_().add_(_REACH)
            bins[mine] = (place * (N_BINS / (2 * _REACH))).long().clamp_(0, N_BINS - 1)
        return bins

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
