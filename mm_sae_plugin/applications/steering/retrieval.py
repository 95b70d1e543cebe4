"""Steering a search: an edit of a query's vector re-ranks a gallery, with any CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.applied import AppliedEdit
from mm_sae_plugin.interventions.ending import overflow
from mm_sae_plugin.interventions.record import EditRecord
from mm_sae_plugin.models.hook_names import JOINT_SITES
from mm_sae_plugin.study import Study
from mm_sae_plugin.study.given import refuse_empty

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

_N_MOVED = 5


@dataclass(frozen=True)
class Found:
    """A picture of the gallery in a ranking."""

    image: int
    """Its row among the store's images."""
    similarity: float
    """Cosine with the query."""
    rank: int
    """From 1."""
    rank_before: int
    """Where it stood without the edit."""


@dataclass(frozen=True)
class Rerank:
    """A search as it is, and with the query edited."""

    before: list[Found]
    """Best first."""
    after: list[Found]
    """Best first."""
    moved: float
    """|Δe| / |e| of the query."""
    latents: list[tuple[int, float]]
    """Latents by how far their codes moved, those moved most first."""


class Gallery:
    """The images of a study's store, to be searched.

    Parameters
    ----------
    study : Study
        With its SAE in the joint space.

    Raises
    ------
    UserError
        If its SAE sits elsewhere, where pictures and captions are not in one space.
    """

    def __init__(self, study: Study) -> None:
        for modality, hook in study.hook_names.items():
            is_joint = (hook or "").rpartition(".")[2] in JOINT_SITES
            # An SAE of images alone is still good for a search by a picture.
            if not is_joint and (hook or modality == "image"):
                raise UserError(
                    f"The SAE in {study.path} does not sit in the space that pictures and captions "
                    "share, so no search goes by its vectors: give one at hook_proj or "
                    "hook_normalized."
                )
        self._study = study
        self._rows: Float[Tensor, "n d"] = normalize(study.store.image_rows().float(), dim=1)

    def __len__(self) -> int:
        """Number of its pictures."""
        return len(self._rows)

    def rerank(
        self,
        edit: FeatureEdit,
        text: str | None = None,
        image: Image | str | Path | None = None,
        top: int = 12,
    ) -> Rerank:
        """Search by a caption or a picture, as it is and edited.

        Parameters
        ----------
        edit : FeatureEdit
            What is done to the query's vector.
        text : str, optional
        image : PIL image or path, optional
            Exactly one of the two.
        top : int
            How many pictures of each ranking, at least 1.

        Raises
        ------
        UserError
            If not exactly one query is given, it is empty or no picture, the edit is of another
            SAE or moves the query beyond all numbers, or `top` is no such number.
        """
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise UserError(f"top must be a whole number, at least 1, not {top!r:.80}.")
        if (image is None) == (text is None):
            raise UserError("Search by one caption (text=…) or one picture (image=…).")
        refuse_empty(text)
        edit.check_study(self._study)
        of_image, of_text = self._study.acts(
            None if image is None else [image], None if text is None else [text]
        )
        query = of_image if of_text is None else of_text
        assert query is not None
        record = EditRecord()
        with torch.no_grad():
            applied = AppliedEdit(self._study, edit)
            edited, moved = applied.vectors(query, "image" if text is None else "text")
            if moved is not None:
                record.add(query, edited, moved, 0, "both")
        if not record.is_finite:
            raise overflow(edit)
        before, after = self._similarities(query), self._similarities(edited)
        places = before.argsort(descending=True, stable=True).argsort()
        return Rerank(
            _best(before, places, top),
            _best(after, places, top),
            record.mean_relative_norm,
            record.most_moved(_N_MOVED),
        )

    def _similarities(self, query: Float[Tensor, "1 d"]) -> Float[Tensor, "n"]:
        return self._rows @ normalize(query.float().cpu(), dim=1)[0]


def _best(similarities: Tensor, places: Tensor, top: int) -> list[Found]:
    order = similarities.argsort(descending=True, stable=True)[:top].tolist()
    return [
        Found(image, float(similarities[image]), rank, int(places[image]) + 1)
        for rank, image in enumerate(order, start=1)
    ]
