"""`ModalityStatistics`: the one place where sums over pairs are taken.

Everything that the package says about a latent's modality is a function of these sums. They are
float64, they add, and adding partial sums in manifest order gives the same bits whoever computed
the parts.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.dense import dense_codes
from mm_sae_plugin.stats.active_codes import ActiveCodes
from mm_sae_plugin.stats.clusters import ImageIds, cluster_runs
from mm_sae_plugin.stats.interfaces import CodedPairs
from mm_sae_plugin.stats.moments import (
    CHANNELS,
    N_SECOND,
    cluster_sums,
    score_sides,
    second_moments,
    sum_by_latent,
)
from mm_sae_plugin.stats.scores import SCORES, ScoreName

_ROW = {name: row for row, name in enumerate(CHANNELS)}


@dataclass(frozen=True)
class _OpenCluster:
    """An image at the border of what was seen: more of its captions may follow."""

    id: int
    n_rows: int
    latents: Int[Tensor, "entries"]
    """Latents that are active on the image at all, ascending."""
    sums: Float[Tensor, "channels entries"]

    @classmethod
    def of(
        cls, name: int, n_rows: int, dense: Float[Tensor, "channels n_features"]
    ) -> "_OpenCluster":
        """Keep what is not 0 of the sums of every latent."""
        latents = dense.any(0).nonzero()[:, 0]
        return cls(name, n_rows, latents, dense[:, latents])

    def joined(self, other: "_OpenCluster", n_features: int) -> "_OpenCluster":
        sums = self.dense(n_features) + other.dense(n_features)
        return _OpenCluster.of(self.id, self.n_rows + other.n_rows, sums)

    def dense(self, n_features: int) -> Float[Tensor, "channels n_features"]:
        sums = self.sums.new_zeros(len(CHANNELS), n_features)
        sums[:, self.latents] = self.sums
        return sums

    def close_into(self, closed: Float[Tensor, "second n_features"]) -> None:
        """Add the second moments of an image to whose rows nothing will be added."""
        n_rows = torch.tensor(self.n_rows, dtype=torch.float64)
        closed[:, self.latents] += second_moments(self.sums, n_rows)


class ModalityStatistics:
    """Mergeable sufficient statistics of `n_features` latents over image–text pairs.

    Rows of one image must be contiguous; a shard may end inside an image, and merging with the
    next shard joins the halves exactly. The first and the last image of what was seen are
    therefore kept apart ("open") and enter the second moments when their neighbour is known.

    Parameters
    ----------
    n_features : int
        Number of latents.
    """

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self.n_pairs = 0
        self.sums: Float[Tensor, "channels n_features"] = torch.zeros(
            len(CHANNELS), n_features, dtype=torch.float64
        )
        """Sums over pairs of the channels named in `moments.CHANNELS`."""
        self.acts_sums: Float[Tensor, "2 d_in"] | None = None
        """Sums over pairs of the raw activations, image then text, if given."""
        self._closed: Float[Tensor, "second n_features"] = torch.zeros(
            N_SECOND, n_features, dtype=torch.float64
        )
        self._closed_rows_squared = 0
        self._open: list[_OpenCluster] = []
        # Not a tensor for each batch: lying scattered between what a batch needs and frees, they
        # would keep the allocator from using that memory again.
        self._ids = array("q")

    # ------------------------------------------------------------------ taking sums

    def empty(self) -> "ModalityStatistics":
        """Statistics of as many latents, over no pairs."""
        return ModalityStatistics(self.n_features)

    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass; see :meth:`update`."""
        rows = pairs.rows
        self._add(
            pairs.codes_image,
            pairs.codes_text,
            rows.image_index,
            (rows.acts_image, rows.acts_text),
            (pairs.active["image"], pairs.active["text"]),
        )

    def update(
        self,
        codes_image: Float[Tensor, "batch n_features"],
        codes_text: Float[Tensor, "batch n_features"],
        image_id: ImageIds,
        acts_image: Float[Tensor, "batch d_in"] | None = None,
        acts_text: Float[Tensor, "batch d_in"] | None = None,
    ) -> None:
        """Add a batch of pairs: row i of one side belongs to row i of the other.

        Parameters
        ----------
        codes_image, codes_text : float, any device
            Non-negative codes; a latent fires where its code is above 0.
        image_id : sequence of str or int, or int tensor, shape [batch]
            The image of each pair; rows of one image are contiguous.
        acts_image, acts_text : float, optional
            What was encoded, for the modality gap. Give both or neither, in every batch.

        Raises
        ------
        UserError
            If the shapes disagree, or a code is negative or not finite.
        """
        acts = None if acts_image is None or acts_text is None else (acts_image, acts_text)
        self._add(codes_image, codes_text, image_id, acts, ())

    @torch.no_grad()
    def _add(
        self,
        codes_image: Float[Tensor, "batch n_features"],
        codes_text: Float[Tensor, "batch n_features"],
        image_id: ImageIds,
        acts: tuple[Tensor, Tensor] | None,
        active: Sequence[ActiveCodes],
    ) -> None:
        codes_image, codes_text = _at_hand(codes_image), _at_hand(codes_text)
        self._check((codes_image, codes_text), image_id, active)
        if len(codes_image) == 0:
            return
        part = ModalityStatistics(self.n_features)
        runs = cluster_runs(image_id)
        clusters = cluster_sums(codes_image, codes_text, runs.lengths, active)
        part.n_pairs = len(codes_image)
        part._ids = array("q", runs.ids.numpy().tobytes())
        n_clusters = len(runs.ids)
        for border in (0, n_clusters - 1)[: min(n_clusters, 2)]:
            name, n_rows = int(runs.ids[border]), int(runs.lengths[border])
            latents, sums = clusters.one(border)
            part._open.append(_OpenCluster(name, n_rows, latents.cpu(), sums.cpu()))
        n_rows = runs.lengths.to(clusters.sums.device, torch.float64)[clusters.cluster]
        inner = (clusters.cluster > 0) & (clusters.cluster < n_clusters - 1)
        moments = torch.cat([clusters.sums, second_moments(clusters.sums, n_rows) * inner])
        totals = sum_by_latent(moments, clusters.latent, self.n_features).cpu()
        part.sums, part._closed = totals[: len(CHANNELS)], totals[len(CHANNELS) :]
        part._closed_rows_squared = int((runs.lengths[1:-1] ** 2).sum())
        if acts is not None:
            part.acts_sums = torch.stack([side.to(torch.float64).sum(0).cpu() for side in acts])
        self.merge(part)

    def merge(self, other: "ModalityStatistics") -> "ModalityStatistics":
        """Add statistics of the pairs that follow these in manifest order; return `self`.

        Raises
        ------
        UserError
            If the numbers of latents differ.
        """
        if other.n_features != self.n_features:
            raise UserError(
                f"Statistics of {other.n_features} latents cannot be merged into statistics of "
                f"{self.n_features}: they come from different feature maps."
            )
        if other.n_pairs == 0:
            return self
        self.acts_sums = self._merged_acts(other)
        self.n_pairs += other.n_pairs
        self.sums += other.sums
        self._closed += other._closed
        self._closed_rows_squared += other._closed_rows_squared
        self._merge_borders(other)
        return self

    def _merged_acts(self, other: "ModalityStatistics") -> Float[Tensor, "2 d_in"] | None:
        if self.n_pairs == 0:
            return None if other.acts_sums is None else other.acts_sums.clone()
        if self.acts_sums is None or other.acts_sums is None:
            return None
        return self.acts_sums + other.acts_sums

    def _merge_borders(self, other: "ModalityStatistics") -> None:
        border = list(self._open)
        incoming = list(other._open)
        other_ids = other._ids
        if border and border[-1].id == incoming[0].id:
            border[-1] = border[-1].joined(incoming.pop(0), self.n_features)
            other_ids = other_ids[1:]
        border += incoming
        for cluster in border[1:-1]:
            cluster.close_into(self._closed)
            self._closed_rows_squared += cluster.n_rows**2
        self._open = border if len(border) < 2 else [border[0], border[-1]]
        self._ids += other_ids

    def _check(
        self, codes_of: tuple[Tensor, Tensor], image_id: ImageIds, active: Sequence[ActiveCodes]
    ) -> None:
        expected = (len(image_id), self.n_features)
        # Where it is known what is not 0, nothing else can be wrong.
        values_of = [side.values for side in active] or codes_of
        for side, codes, values in zip(("image", "text"), codes_of, values_of, strict=True):
            if tuple(codes.shape) != expected:
                raise UserError(
                    f"The {side} codes have shape {tuple(codes.shape)}, but {len(image_id)} "
                    f"image ids and {self.n_features} latents call for {expected}."
                )
            # NaN passes through both ends, so one look finds negatives, infinity and NaN alike.
            low, high = values.aminmax() if values.numel() else (0.0, 0.0)
            if not (low >= 0 and high < float("inf")):
                raise UserError(
                    f"The {side} codes hold negative or non-finite values; modality statistics "
                    "need non-negative codes, as after ReLU or TopK."
                )

    # ------------------------------------------------------------------ reading sums

    @property
    def cluster_ids(self) -> Int[Tensor, "n_images"]:
        """The 64-bit name of every image seen, in order."""
        return torch.from_numpy(np.array(self._ids, dtype=np.int64))

    @property
    def n_images(self) -> int:
        """Number of distinct images.

        Raises
        ------
        UserError
            If an image's rows were not contiguous: the intervals would be too narrow.
        """
        ids = self.cluster_ids
        if len(torch.unique(ids)) != len(ids):
            raise UserError(
                "The captions of one image came in separate places; sort the pairs by image, so "
                "that intervals can be clustered by image."
            )
        return len(ids)

    def channel(self, name: str) -> Float[Tensor, "n_features"]:
        """Sum over pairs of one channel of `moments.CHANNELS`."""
        return self.sums[_ROW[name]]

    def second(self) -> Float[Tensor, "second n_features"]:
        """Second moments over images, rows as in `moments.second_row`."""
        moments = self._closed.clone()
        for cluster in self._open:
            cluster.close_into(moments)
        return moments

    @property
    def rows_squared(self) -> int:
        """Sum over images of the squared number of captions."""
        return self._closed_rows_squared + sum(cluster.n_rows**2 for cluster in self._open)

    def sides(
        self, score: ScoreName
    ) -> tuple[Float[Tensor, "n_features"], Float[Tensor, "n_features"]]:
        """Image and text part of a score; the score is image / (image + text)."""
        assert score in SCORES
        return score_sides(self.sums, score)

    @property
    def mean_acts(self) -> Float[Tensor, "2 d_in"] | None:
        """Mean encoded activation, image then text, if activations were given."""
        return None if self.acts_sums is None else self.acts_sums / max(self.n_pairs, 1)

    # ------------------------------------------------------------------ keeping

    def state_dict(self) -> dict[str, Tensor]:
        """Everything as plain CPU tensors, fit for safetensors; lossless."""
        state = {
            "n_pairs": torch.tensor(self.n_pairs),
            "sums": self.sums.clone(),
            "closed": self._closed.clone(),
            "closed_rows_squared": torch.tensor(self._closed_rows_squared),
            "cluster_ids": self.cluster_ids,
            "open_ids": torch.tensor([c.id for c in self._open], dtype=torch.int64),
            "open_rows": torch.tensor([c.n_rows for c in self._open], dtype=torch.int64),
            "open_sums": torch.stack([c.dense(self.n_features) for c in self._open])
            if self._open
            else torch.zeros(0, len(CHANNELS), self.n_features, dtype=torch.float64),
        }
        if self.acts_sums is not None:
            state["acts_sums"] = self.acts_sums.clone()
        return state

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor]) -> "ModalityStatistics":
        """Restore what `state_dict` gave."""
        stats = cls(state["sums"].shape[1])
        stats.n_pairs = int(state["n_pairs"])
        stats.sums = state["sums"].clone()
        stats._closed = state["closed"].clone()
        stats._closed_rows_squared = int(state["closed_rows_squared"])
        stats._ids = array("q", state["cluster_ids"].numpy().tobytes())
        stats._open = [
            _OpenCluster.of(int(name), int(rows), sums)
            for name, rows, sums in zip(
                state["open_ids"], state["open_rows"], state["open_sums"], strict=True
            )
        ]
        if "acts_sums" in state:
            stats.acts_sums = state["acts_sums"].clone()
        return stats


def _at_hand(codes: Tensor) -> Tensor:
    codes = dense_codes(codes.detach())
    # Apple's GPUs know no float64.
    return codes.cpu() if codes.device.type == "mps" else codes
