"""The pairs on which chosen latents are strongest, on each side."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.stats.interfaces import PairedActivations

if TYPE_CHECKING:
    from mm_sae_plugin.features.feature_map import FeatureMap


@dataclass(frozen=True)
class TopExamples:
    """Rows of the store, best first; where fewer rows fire, the value is 0."""

    latents: list[int]
    """The latents asked for, in that order."""
    image_rows: Int[Tensor, "n_latents n_top"]
    """Rows among the store's distinct images."""
    image_values: Float[Tensor, "n_latents n_top"]
    """Their codes."""
    text_rows: Int[Tensor, "n_latents n_top"]
    """Rows among the store's captions."""
    text_values: Float[Tensor, "n_latents n_top"]
    """Their codes."""


def top_examples(
    feature_map: "FeatureMap", store: PairedActivations, latents: list[int], n_top: int = 6
) -> TopExamples:
    """Find the images and the captions that drive each latent most.

    Parameters
    ----------
    latents : list of int
        Which latents; may be empty.
    n_top : int
        Examples per latent and side; identical captions are shown once.
    """
    image_rows, image_values = _top(feature_map, store.image_rows(), latents, n_top)
    # Captions repeat (a template world says the same thing twice): only the first of each competes.
    firsts = {caption: row for row, caption in reversed(list(enumerate(store.captions)))}
    rows = torch.tensor(sorted(firsts.values()), dtype=torch.int64)
    text_rows, text_values = _top(feature_map, store.text_rows()[rows], latents, n_top)
    return TopExamples(
        latents=list(latents),
        image_rows=image_rows,
        image_values=image_values,
        text_rows=rows[text_rows],
        text_values=text_values,
    )


@torch.no_grad()
def _top(
    feature_map: "FeatureMap", acts: Float[Tensor, "rows d_in"], latents: list[int], n_top: int
) -> tuple[Int[Tensor, "n_latents n_top"], Float[Tensor, "n_latents n_top"]]:
    picked = torch.tensor(latents, dtype=torch.int64)
    n_top = min(n_top, len(acts))
    best_values = torch.zeros(len(latents), 0)
    best_rows = torch.zeros(len(latents), 0, dtype=torch.int64)
    start = 0
    for part in acts.split(2048):
        codes_ln = feature_map.encode(part)
        codes_ln = codes_ln if codes_ln.layout == torch.strided else codes_ln.to_dense()
        codes = codes_ln.cpu().float()[:, picked].T
        numbers = torch.arange(start, start + len(part)).expand(len(latents), -1)
        start += len(part)
        all_values = torch.cat([best_values, codes], dim=1)
        all_rows = torch.cat([best_rows, numbers], dim=1)
        best_values, where = all_values.topk(min(n_top, all_values.shape[1]), dim=1)
        best_rows = all_rows.gather(1, where)
    return best_rows, best_values
