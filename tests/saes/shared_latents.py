"""Does one latent stand for a concept on both sides? Asked of pairs whose concepts are known."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.label_sums import LabelSums
from mm_sae_plugin.stats.passes import Reading, run_pass
from mm_sae_plugin.stats.truth import TruthSums


@dataclass(frozen=True)
class SharedLatents:
    """How the values of factors that both sides show are spread over latents."""

    n_values: int
    """Values of all factors that were asked for."""
    n_shared: int
    """Those that correlate best with the very same latent on images and on captions."""
    carried_over: float
    """Mean over values and both directions: the correlation on one side of the latent that is best
    on the other, as a share of that side's best."""

    @property
    def share(self) -> float:
        """Share of the values that one latent stands for on both sides."""
        return self.n_shared / self.n_values


def shared_latents(
    feature_map: FeatureMap, store: PairedActivations, factors: Iterable[str]
) -> SharedLatents:
    """Find each value's best latent on either side, by the correlation of code and value."""
    names = list(factors)
    sums = TruthSums.of(store, names, feature_map.n_features)
    (taken,) = run_pass(store, [Reading(feature_map, {"truth": sums})])
    filled = taken["truth"]
    assert isinstance(filled, TruthSums)
    image, text = (_correlations(side, names) for side in (filled.image, filled.text))
    best_image, best_text = image.argmax(1), text.argmax(1)
    over = [_carried(image, best_text), _carried(text, best_image)]
    return SharedLatents(
        n_values=len(image),
        n_shared=int((best_image == best_text).sum()),
        carried_over=float(torch.stack(over).mean()),
    )


def _carried(correlations: Tensor, others_best: Int[Tensor, "n_values"]) -> Tensor:
    own = correlations.max(1).values
    theirs = correlations.gather(1, others_best[:, None])[:, 0]
    return theirs.clamp_min(0) / own.clamp_min(1e-12)


def _correlations(side: LabelSums, names: list[str]) -> Float[Tensor, "n_values n_features"]:
    """Pearson's correlation of every latent's code with every value, in the order of the names."""
    n, rows = side.n_rows, []
    mean = side.total / n
    variance = side.total_squared / n - mean**2
    for name in names:
        start = side.table.stretch(name).start
        for number, value in enumerate(side.table.values[name]):
            if value == "":
                continue
            rate = side.table.counts[start + number] / n
            covariance = side.sums[start + number] / n - rate * mean
            spread = (rate * (1 - rate) * variance.clamp_min(0)).sqrt()
            rows.append(torch.where(spread > 1e-12, covariance / spread.clamp_min(1e-12), 0.0))
    return torch.stack(rows)
