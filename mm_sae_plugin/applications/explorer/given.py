"""A latent's number, checked."""

from numbers import Integral
from typing import Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.study import Study
from mm_sae_plugin.study.given import checked_latents


def one_latent(study: Study, latent: Any) -> int:
    """Return the number of one latent.

    Raises
    ------
    UserError
        If it is no whole number, or there is no such latent.
    """
    if isinstance(latent, bool) or not isinstance(latent, Integral):
        raise UserError(f"A latent must be given by its number, not {latent!r:.40}.")
    (number,) = checked_latents(latent, study.feature_map.n_features)
    return number
