"""Arms that need no SAE: differences of the mean vectors of two values of a factor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.applications.steering.arms import Arm, Vectors
from mm_sae_plugin.applications.steering.evaluation import Case
from mm_sae_plugin.factorworld.truth import drawn_label, factor_labels, said_label
from mm_sae_plugin.study import Study


def difference_arms(study: Study, chosen: Sequence[Case]) -> list[Arm]:
    """Return the arms that add, for every shared factor of a case, the difference of two means.

    The mean of what has the reference's value less the mean of what has the prompt's: one arm over
    captions that say them, and one over pictures that show them. A factor of which the store has no
    pair with one of the two values adds nothing.

    Parameters
    ----------
    study : Study
    chosen : sequence of Case
        Vectors that are to be moved come case by case, as many of each.

    Returns
    -------
    list of Arm
        Empty where the store's labels are not those of known factors.
    """
    store = study.store
    factors = sorted({name for case in chosen for name in case.said})
    if any(label not in store.labels for label in factor_labels(factors)):
        return []
    images = normalize(store.image_rows()[store.image_index].float(), dim=1)
    texts = normalize(store.text_rows().float(), dim=1)
    return [
        Arm(name, "baseline", 0, _repeated(_differences(store, rows, label_of, chosen)))
        for name, rows, label_of in (
            ("mean difference of captions", texts, said_label),
            ("mean difference of pictures", images, drawn_label),
        )
    ]


def _differences(
    store: ActivationStore,
    rows: Vectors,
    label_of: Callable[[str], str],
    chosen: Sequence[Case],
) -> Float[Tensor, "n_cases d"]:
    found: dict[tuple[str, str], Float[Tensor, "d"] | None] = {}

    def mean(factor: str, value: str) -> Float[Tensor, "d"] | None:
        if (factor, value) not in found:
            has = torch.from_numpy(np.array(store.labels[label_of(factor)]) == value)
            found[factor, value] = rows[has].mean(0) if has.any() else None
        return found[factor, value]

    directions = torch.zeros(len(chosen), rows.shape[1])
    for direction, case in zip(directions, chosen, strict=True):
        for factor, value in case.said.items():
            wanted = case.reference.values.get(factor, value)
            ends = mean(factor, value), mean(factor, wanted)
            if wanted != value and ends[0] is not None and ends[1] is not None:
                direction += ends[1] - ends[0]
    return directions


def _repeated(directions: Float[Tensor, "n_cases d"]) -> Callable[[Vectors, Vectors], Vectors]:
    def direction(prompts: Vectors, references: Vectors) -> Vectors:
        n_each, rest = divmod(len(prompts), len(directions))
        assert rest == 0, "vectors come case by case, as many of each"
        return directions.repeat_interleave(n_each, dim=0)

    return direction
