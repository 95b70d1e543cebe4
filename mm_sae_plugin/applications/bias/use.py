"""Pairs that show what else a model is good for: what an edit costs is measured on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.embedding import embed_pictures, embed_texts
from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.study import Study

USE_SEED = 6_000
"""Seed of the world that pairs are drawn from; no model was trained on it."""
FACTORS_OF_USE = ("object", "colour", "size", "count", "place", "age")
"""Factors of FactorWorld for which no association was planted."""
_SAID = "said."


@dataclass(frozen=True)
class UsePairs:
    """Images with captions, and what is named in them."""

    images: Float[Tensor, "n d"]
    """Unit-length joint vectors."""
    captions: Float[Tensor, "n d"]
    """Those of the captions, image by image."""
    factors: dict[str, list[str]]
    """What each caption says, factor by factor; empty where it says nothing of it."""

    @classmethod
    def of_world(cls, model: HookedCLIP, n: int = 1024) -> UsePairs:
        """Draw pairs of FactorWorld."""
        world = FactorWorld(USE_SEED)
        pairs = [world.pair(index) for index in range(n)]
        factors = {name: [pair.labels[_SAID + name] for pair in pairs] for name in FACTORS_OF_USE}
        images = embed_pictures(model, [pair.image for pair in pairs])
        return cls(images, embed_texts(model, [pair.caption for pair in pairs]), factors)

    @classmethod
    def of_store(cls, study: Study, n: int = 1024) -> UsePairs:
        """Take the last pairs of a study's store, each image once, with what labels say of them."""
        store = study.store
        rows = torch.unique(store.image_index[-n:])
        last = {int(image): row for row, image in enumerate(store.image_index.tolist())}
        captions = torch.tensor([last[int(image)] for image in rows], dtype=torch.int64)
        labels = {
            name.removeprefix(_SAID): [values[row] for row in captions.tolist()]
            for name, values in store.labels.items()
            if name.startswith(_SAID) and name.removeprefix(_SAID) in FACTORS_OF_USE
        }
        images, texts = store.image_rows()[rows].float(), store.text_rows()[captions].float()
        return cls(normalize(images, dim=1), normalize(texts, dim=1), labels)
