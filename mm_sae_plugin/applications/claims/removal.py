"""Claim C4, out of a causal check: removing cross-modal latents hurts a downstream task least."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mm_sae_plugin.applications.claims.claim import Finding
from mm_sae_plugin.stats.scores import CARRIED

if TYPE_CHECKING:
    from mm_sae_plugin.applications.causal.run import Causal


def findings_c4(causal: Causal, model: str) -> list[Finding]:
    """Take over the verdicts per class, per latent and per unit of energy, for either labels.

    Parameters
    ----------
    causal : Causal
    model : str
        Name of the encoder.
    """
    return [
        Finding(
            "C4",
            "carried" if claim.labels == CARRIED else "paper",
            f"{model}, per {claim.per}",
            claim.verdict,
            claim.reason,
            n=causal.n_images,
        )
        for claim in causal.claims
    ]
