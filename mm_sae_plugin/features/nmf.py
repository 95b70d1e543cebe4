"""Non-negative matrix factorisation as features: parts that only ever add up."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.raw import RawDimensions
from mm_sae_plugin.features.rows import PairedRows, rows_of_both
from mm_sae_plugin.features.width import check_acts_width
from mm_sae_plugin.modality import Modality

_CHUNK = 1024
# What scikit-learn's `fit` forgets of the past in a whole epoch.
_FORGET = 0.7
N_SWEEPS = 20
"""Coordinate descent's rounds over the components in which codes are found."""


@dataclass(frozen=True)
class NonNegativeFactors:
    """Parts of the positive and negative halves of the activations. Make one with `fit`.

    An activation x is taken as [max(x, 0), max(−x, 0)] and approximated by codes @ parts, with both
    factors non-negative (Lee and Seung 1999). Both modalities share the parts.
    """

    parts: Float[Tensor, "n_features two_d_in"]
    """float32, ≥ 0, of unit length (or zero, for a part that died): the positive half first."""
    n_sweeps: int = N_SWEEPS
    """Rounds of coordinate descent in which codes are found."""

    @classmethod
    def fit(
        cls, store: PairedRows, n_features: int, n_epochs: int = 5, seed: int = 0
    ) -> "NonNegativeFactors":
        """Fit to a store, a few rows at a time, by scikit-learn's ``MiniBatchNMF``.

        Images and captions have the same weight. Memory is O(d_in · n_features), however many
        pairs there are.

        Parameters
        ----------
        store : PairedRows
            Raw activations.
        n_features : int
            Parts, at most ``2 * d_in``: more are not determined by the data.
        n_epochs : int
            Passes over the store, at least 1.
        seed : int
            Of the first guess.

        Raises
        ------
        UserError
            If there are more parts than half dimensions or rows.
        """
        from sklearn.decomposition import MiniBatchNMF

        d_in = next(iter(store.iter_pairs(1)), (torch.zeros(1, 1),))[0].shape[1]
        n_rows = 2 * len(store.image_index)
        most = min(2 * d_in, n_rows)
        if not 1 <= n_features <= most:
            raise UserError(
                f"NMF cannot find {n_features} parts of {n_rows} rows with {2 * d_in} half "
                f"dimensions: give n_features from 1 to {most}."
            )
        assert n_epochs >= 1
        halves = RawDimensions(d_in)
        chunk = max(_CHUNK, -(-n_features // 2))
        nmf = MiniBatchNMF(
            n_features,  # pyright: ignore[reportArgumentType] -- its stub knows "auto" alone
            batch_size=2 * chunk,
            # A step forgets as much as its share of an epoch.
            forget_factor=_FORGET ** min(2 * chunk / n_rows, 1.0),
            random_state=seed,
        )
        for _ in range(n_epochs):
            for rows in rows_of_both(store, chunk):
                nmf.partial_fit(halves.encode(rows.cpu(), "image").numpy().astype(np.float64))
        parts = torch.from_numpy(nmf.components_)
        return cls((parts / parts.norm(dim=1, keepdim=True).clamp_min(1e-12)).float())

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self.parts.shape[1] // 2

    @property
    def n_features(self) -> int:
        """Number of parts."""
        return len(self.parts)

    @property
    def directions(self) -> Float[Tensor, "n_features d_in"]:
        """What each part adds to an activation: its positive half less its negative one."""
        return RawDimensions(self.d_in).decode(self.parts, "image")

    def encode(
        self, acts: Float[Tensor, "*batch d_in"], modality: Modality
    ) -> Float[Tensor, "*batch n_features"]:
        """Return the non-negative least squares' solution, in float32, with true zeros.

        It is scikit-learn's coordinate descent from zero, with the parts held fixed. It takes the
        same rounds whatever the batch, since ``MiniBatchNMF.transform`` starts from the batch's
        mean and stops by the batch, so that a row's code would depend on its neighbours, and never
        reaches zero. No gradients flow, and it runs on the CPU.

        Raises
        ------
        UserError
            If the activations are of another width.
        """
        from sklearn.decomposition import non_negative_factorization

        check_acts_width("NonNegativeFactors", self.d_in, acts)
        flat = acts.detach().reshape(-1, self.d_in).to("cpu", torch.float32)
        if len(flat) == 0:
            return acts.new_zeros(*acts.shape[:-1], self.n_features, dtype=torch.float32)
        codes, _, _ = non_negative_factorization(
            RawDimensions(self.d_in).encode(flat, modality).numpy(),
            H=self.parts.cpu().numpy(),
            n_components=self.n_features,  # pyright: ignore[reportArgumentType]
            update_H=False,
            solver="cd",
            tol=0.0,
            max_iter=self.n_sweeps,
        )
        found = torch.from_numpy(codes).to(acts.device)
        return found.reshape(*acts.shape[:-1], self.n_features)

    def decode(
        self, codes: Float[Tensor, "*batch n_features"], modality: Modality
    ) -> Float[Tensor, "*batch d_in"]:
        """Return the parts added up, the negative half taken from the positive one."""
        return RawDimensions(self.d_in).decode(codes @ self.parts.to(codes), modality)
