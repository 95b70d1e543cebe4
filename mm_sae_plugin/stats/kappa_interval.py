"""Cohen's kappa with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mm_sae_plugin.stats.agreement import cohen_kappa


@dataclass(frozen=True)
class Kappa:
    """How far two ways of classifying the same things agree, beyond chance."""

    value: float | None
    """1 is perfect agreement, 0 that of chance; None where it has no meaning."""
    low: float | None
    """Low end of the interval; None where the value is, or hardly any resample has one."""
    high: float | None
    """High end."""
    n: int
    """Things that both have classified."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def kappa_with_interval(
    first: Sequence[str],
    second: Sequence[str],
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Kappa:
    """Cohen's kappa of two classifications, with a percentile bootstrap over the things.

    A resample of the things is a multinomial draw of their table of both classes, so it costs no
    more for many things than for few.

    Parameters
    ----------
    first, second : sequence of str
        Classes of the same things, in the same order.
    confidence : float
        Between 0 and 1.
    n_resamples : int
        At least 1.
    seed : int
        Of the resamples.
    """
    value = cohen_kappa(first, second)
    if value is None:
        return Kappa(None, None, None, len(first))
    table = _table(first, second)
    drawn = np.random.default_rng(seed).multinomial(
        len(first), table.ravel() / table.sum(), size=n_resamples
    )
    kappas = _kappas(drawn.reshape(n_resamples, *table.shape).astype(float))
    # A resample may hold one class only.
    kappas = kappas[np.isfinite(kappas)]
    if len(kappas) < n_resamples / 2:
        return Kappa(value, None, None, len(first))
    tail = (1 - confidence) / 2
    # Rounding must not push perfect agreement off the end of the scale.
    low, high = np.quantile(kappas, [tail, 1 - tail]).clip(max=1.0)
    return Kappa(value, float(low), float(high), len(first))


def _table(first: Sequence[str], second: Sequence[str]) -> Float[np.ndarray, "classes classes"]:
    """How many things each pair of classes has."""
    number = {name: at for at, name in enumerate(sorted({*first, *second}))}
    table = np.zeros((len(number), len(number)))
    for a, b in zip(first, second, strict=True):
        table[number[a], number[b]] += 1
    return table


def _kappas(
    tables: Float[np.ndarray, "resamples classes classes"],
) -> Float[np.ndarray, "resamples"]:
    """Kappa of each table; NaN where one side has a single class."""
    share = tables / tables.sum(axis=(1, 2), keepdims=True)
    rows, columns = share.sum(axis=2), share.sum(axis=1)
    agree = np.trace(share, axis1=1, axis2=2)
    chance = (rows * columns).sum(axis=1)
    varies = ((rows > 0).sum(axis=1) > 1) & ((columns > 0).sum(axis=1) > 1)
    return np.where(varies, (agree - chance) / np.where(varies, 1 - chance, 1.0), np.nan)
