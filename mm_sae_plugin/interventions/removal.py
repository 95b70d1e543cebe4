"""Vectors with latents taken away: what anything is measured on again."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.features.feature_map import Decodable
from mm_sae_plugin.modality import Modality

_TINY = 1e-12


class Removal:
    """Rows of one modality with their codes, from which any latents can be removed quickly.

    ``e' = e - decode(z) + decode(z')``: what the feature map does not reconstruct is kept, and so
    the empty removal changes nothing.

    Parameters
    ----------
    feature_map : Decodable
        Its decoder must be affine, as those of SAEs are.
    rows : float
        Joint vectors as the feature map takes them.
    modality : Modality
        Of what they embed.
    """

    def __init__(
        self, feature_map: Decodable, rows: Float[Tensor, "n d"], modality: Modality
    ) -> None:
        with torch.no_grad():
            # Worked with where the rows lie, also where the feature map lies elsewhere.
            codes = feature_map.encode(rows, modality).to(rows.device)
        self.codes: Float[Tensor, "n n_features"] = codes
        self._rows = rows
        self._feature_map = feature_map
        self._modality: Modality = modality
        self._origin = self._decoded(torch.zeros_like(codes[:1]))
        self._reconstructed = self._decoded(codes)

    @torch.no_grad()
    def _decoded(self, codes: Float[Tensor, "m n_features"]) -> Float[Tensor, "m d"]:
        return self._feature_map.decode(codes, self._modality).to(self._rows.device)

    @torch.no_grad()
    def part(self, mask: Bool[Tensor, "n_features"]) -> Float[Tensor, "n d"]:
        """What the latents of a mask add to each row."""
        members = mask.nonzero()[:, 0]
        if len(members) >= len(self._rows):
            return self._decoded(self.codes * mask) - self._origin
        # The decoder is affine: few latents are decoded sooner than many rows.
        alone = self.codes.new_zeros(len(members), self.codes.shape[1])
        alone[torch.arange(len(members)), members] = 1
        each = self._decoded(alone) - self._origin
        return self.codes[:, members] @ each

    def without(
        self, mask: Bool[Tensor, "n_features"], relative_norm: float | None = None
    ) -> Float[Tensor, "n d"]:
        """Return unit-length rows without some latents.

        Parameters
        ----------
        mask : bool
            Latents to remove.
        relative_norm : float, optional
            |Δe| / |e|: move every row as far as this, in the direction of the removal. Where the
            latents add nothing to a row, it stays.
        """
        part = self.part(mask)
        if relative_norm is not None:
            length = part.norm(dim=1, keepdim=True)
            wanted = relative_norm * self._rows.norm(dim=1, keepdim=True)
            part = torch.where(length > _TINY, part * wanted / length.clamp_min(_TINY), 0.0)
        return normalize(self._rows - part, dim=1)

    def reconstructed(self) -> Float[Tensor, "n d"]:
        """Return unit-length rows as the feature map reconstructs them, without what it misses."""
        return normalize(self._reconstructed, dim=1)

    def moved(self, mask: Bool[Tensor, "n_features"]) -> Float[Tensor, "n"]:
        """Return |Δe| / |e| of each row, of removing the latents of a mask."""
        return self.part(mask).norm(dim=1) / self._rows.norm(dim=1)

    def share_moved(self, mask: Bool[Tensor, "n_features"]) -> float:
        """Return the mean |Δe| / |e| of removing the latents of a mask."""
        return float(self.moved(mask).mean())
