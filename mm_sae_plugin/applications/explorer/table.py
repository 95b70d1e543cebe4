"""The explorer's table of latents."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.scores import CARRIED, SCORES

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("latent", "class", "mds", "mds_low", "mds_high")
_COLUMNS += tuple(f"{score}{end}" for score in (CARRIED, *SCORES) for end in ("", "_low", "_high"))
_COLUMNS += ("class_paper", "rate_image", "rate_text", "n_active_images")
_COLUMNS += ("partner", "concept", "by_association", "associated_with")


def latent_table(
    labels: ModalityDominance, tensors: Mapping[str, Tensor], record: Mapping[str, Any]
) -> "pd.DataFrame":
    """Put labels, names and nearest factors side by side; see `Explorer.table`."""
    whole = labels.table()
    table = whole.filter([name for name in _COLUMNS if name in whole]).copy()
    factors = record.get("factors")
    if factors is not None:
        nearest = np.full(len(table), "", dtype=object)
        eta2 = np.full(len(table), np.nan)
        nearest[factors["latent"]], eta2[factors["latent"]] = factors["factor"], factors["eta2"]
        table["nearest"], table["eta2"] = nearest, eta2
    by_embedding = tensors["name.by_embedding"]
    phrase = torch.where(by_embedding, tensors["name.looks_like"], tensors["name.raised_by"])
    phrases = record["phrases"]
    table["name"] = [phrases[number] if number >= 0 else "" for number in phrase.tolist()]
    named = torch.where(by_embedding, 2, (phrase >= 0).to(torch.int64)).tolist()
    table["named_by"] = [("", "captions", "images")[how] for how in named]
    for column, tensor in (("raised_by", "raise"), ("raised_at_least", "raise_low")):
        values = tensors[f"name.{tensor}"].to(torch.float64)
        table[column] = torch.where(by_embedding, torch.nan, values).numpy()
    cosine = tensors["name.cosine"].to(torch.float64)
    table["cosine"] = torch.where(by_embedding, cosine, torch.nan).numpy()
    return table
