"""Twins as vectors of one model, each picture embedded once however often it is asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.bias.embedding import embed_pictures
from mm_sae_plugin.applications.bias.twins import TwinPictures

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP


class TwinVectors:
    """Vectors of a model that stays as it is; make another one after it was trained further."""

    def __init__(self, model: HookedCLIP) -> None:
        self.model = model
        # The pictures themselves are what they are kept by: other twins are others.
        self._kept: dict[int, tuple[TwinPictures, Tensor]] = {}

    def of(self, twins: TwinPictures) -> Float[Tensor, "two_n d"]:
        """Return unit-length vectors, the first of all pairs and then the second."""
        if id(twins) not in self._kept:
            images = embed_pictures(self.model, [*twins.first, *twins.second])
            self._kept[id(twins)] = (twins, images)
        return self._kept[id(twins)][1]
