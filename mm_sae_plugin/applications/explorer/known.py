"""What FactorWorld knows of a latent: the factor it follows, and whether a name speaks of it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mm_sae_plugin.applications.explorer.naming import LooksLike, NameAccuracy, RaisedBy
from mm_sae_plugin.applications.explorer.vocabulary import Vocabulary
from mm_sae_plugin.factorworld import FACTORS
from mm_sae_plugin.factorworld.truth import said_label
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.truth import LatentTruth

_FOLLOWS = 0.5
_RIGHT = 0.9


def name_accuracy(
    latents: Sequence[LatentTruth],
    store: PairedActivations,
    vocabulary: Vocabulary,
    raised: RaisedBy,
    looks: LooksLike,
    by_embedding: Bool[Tensor, "n_features"],
) -> NameAccuracy:
    """Compare suggested names with what captions that hold them say; see `NameAccuracy`."""
    holds = vocabulary.presence[:, : len(vocabulary.phrases)].T.tocsr()
    said = {name: np.asarray(store.labels[said_label(name)], dtype=object) for name in FACTORS}

    def speaks(phrase: int, latent: LatentTruth) -> bool:
        if phrase < 0:
            return False
        rows = holds[[phrase]].indices
        return float(np.mean(said[latent.factor][rows] == latent.value)) >= _RIGHT

    # A latent that fires where a factor is absent has no word either.
    following = [entry for entry in latents if entry.eta2 >= _FOLLOWS]
    named = [entry for entry in following if FACTORS[entry.factor].said and entry.value]
    chosen = torch.where(by_embedding, looks.phrase, raised.phrase)
    right = [e for e in named if speaks(int(chosen[e.latent]), e)]
    seen = [e for e in named if e.side == "image" and e.modality == "ImgD"]
    return NameAccuracy(
        n=len(named),
        right=len(right),
        one_word=sum(" " not in vocabulary.phrases[int(chosen[e.latent])] for e in right),
        n_seen=len(seen),
        right_by_words=sum(speaks(int(raised.phrase[e.latent]), e) for e in seen),
        right_by_embedding=sum(speaks(int(looks.phrase[e.latent]), e) for e in seen),
        n_without_words=len(following) - len(named),
    )
