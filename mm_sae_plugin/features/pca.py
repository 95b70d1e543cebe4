"""Principal components as features: the orthogonal dictionary that explains most."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.rows import PairedRows, rows_of_both
from mm_sae_plugin.features.width import check_acts_width
from mm_sae_plugin.modality import Modality

# Pairs at a time; the first chunk must hold as many rows as there are components.
_CHUNK = 1024


@dataclass(frozen=True)
class PrincipalComponents:
    """Each component's positive and negative part; both modalities alike. Make one with `fit`."""

    mean: Float[Tensor, "d_in"]
    """float32: midpoint of the modalities' means, which is subtracted."""
    components: Float[Tensor, "n_components d_in"]
    """float32: orthonormal, the one that explains most first."""
    explained: Float[Tensor, "n_components"]
    """float64: share of the variance around `mean` that each explains, 0 to 1."""

    @classmethod
    def fit(cls, store: PairedRows, n_components: int | None = None) -> "PrincipalComponents":
        """Fit to a store in one pass, by scikit-learn's ``IncrementalPCA``.

        Images and captions have the same weight. With all components the result is that of an
        ordinary PCA; with fewer, each step forgets what lies outside of those kept so far (Ross et
        al. 2008), which is exact up to what they do not explain. Memory is O(d_in²).

        Parameters
        ----------
        store : PairedRows
            Raw activations.
        n_components : int, optional
            Components to keep; by default all that the rows determine, ``d_in`` at most.

        Raises
        ------
        UserError
            If there are fewer dimensions or rows than components.
        """
        from sklearn.decomposition import IncrementalPCA

        d_in = next(iter(store.iter_pairs(1)), (torch.zeros(1, 1),))[0].shape[1]
        most = min(d_in, 2 * len(store.image_index))
        if n_components is not None and not 1 <= n_components <= most:
            raise UserError(
                f"PCA cannot find {n_components} components of {2 * len(store.image_index)} rows "
                f"of width {d_in}: give n_components from 1 to {most}."
            )
        n_kept = n_components or most
        # Enough rows to determine every component that is kept come first.
        pca = IncrementalPCA(n_components=n_kept)
        for rows in rows_of_both(store, max(_CHUNK, -(-n_kept // 2))):
            pca.partial_fit(rows.cpu().numpy().astype(np.float64))
        return cls(
            torch.from_numpy(pca.mean_).float(),
            torch.from_numpy(pca.components_).float(),
            torch.from_numpy(np.asarray(pca.explained_variance_ratio_, dtype=np.float64)),
        )

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self.components.shape[1]

    @property
    def n_features(self) -> int:
        """Twice the number of components: positive parts first."""
        return 2 * len(self.components)

    @property
    def directions(self) -> Float[Tensor, "n_features d_in"]:
        """The components, then the same reversed; float32 on the CPU."""
        return torch.cat([self.components, -self.components])

    def encode(
        self, acts: Float[Tensor, "*batch d_in"], modality: Modality
    ) -> Float[Tensor, "*batch n_features"]:
        """Return the positive, then the negative parts of the components' scores.

        Raises
        ------
        UserError
            If the activations are of another width.
        """
        check_acts_width("PrincipalComponents", self.d_in, acts)
        scores = (acts - self.mean.to(acts)) @ self.components.to(acts).T
        return torch.cat([scores.relu(), (-scores).relu()], dim=-1)

    def decode(
        self, codes: Float[Tensor, "*batch n_features"], modality: Modality
    ) -> Float[Tensor, "*batch d_in"]:
        """Return what the components kept say of the activations."""
        n = len(self.components)
        scores = codes[..., :n] - codes[..., n:]
        return scores @ self.components.to(codes) + self.mean.to(codes)
