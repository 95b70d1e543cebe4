"""What the other side's silence still leaves open."""

from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from mm_sae_plugin.stats.carried.probes import Probes
from mm_sae_plugin.stats.carried.rates import bounds


def least_unheard(
    signal: Float[np.ndarray, "n_features"],
    rate: Float[np.ndarray, "n_features"],
    own_variance: Float[np.ndarray, "n_features"],
    probes: Probes,
    n_facts: float,
    confidence: float,
) -> Float[np.ndarray, "n_features"]:
    """Least dominance of an own side of which the other side says nothing.

    A carry of c gives a reader that was fitted on n images of d dimensions a correlation of about
    c / sqrt(c + d / n) with the firing; the largest c whose correlation is not ruled out counts. A
    concept that the own side rarely shows can be shown more often on the other side and yet go
    unheard: nothing holds its dominance above 1/2.

    Parameters
    ----------
    signal : float64
        Correlation of the firing with the other side's reading, in standard errors.
    rate : float64
        Share of pairs on which the latent fires on its own side, 0 to 1.
    own_variance : float64
        What the own side's reading explains of the firing's variance.
    probes : Probes
        The readers.
    n_facts : float
        Images of one half: the readers were fitted on as many.
    confidence : float
        Of the interval, between 0 and 1.
    """
    widths = {read: weights.shape[1] for read, weights in probes.weights.items()}
    image = probes.on_image.cpu().numpy()
    noise = np.where(image, widths["text"], widths["image"]) / max(n_facts, 1)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    squared = ((signal.clip(0) + z) ** 2) / max(n_facts, 1)
    explained = (squared + np.sqrt(squared**2 + 4 * squared * noise)) / 2
    share = own_variance / (rate * (1 - rate)).clip(1e-12)
    _, most = bounds((explained / share.clip(1e-12)).clip(1e-12, 1), rate)
    return 1 / (1 + most)
