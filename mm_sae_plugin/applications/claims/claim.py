"""A claim of the paper, as it can fail, and what was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from mm_sae_plugin.applications.verdict import Verdict

Labels = Literal["carried", "paper"]

CLAIMS = {
    "C1": "Modality dominance is skewed towards images.",
    "C2": "Self-supervision within modalities separates them more.",
    "C3": "Features of an SAE, and of a non-negative contrastive head, are more monosemantic than "
    "raw dimensions.",
    "C4": "Removing cross-modal latents hurts a downstream task least.",
    "C5": "Aligning text-dominant latents defends best against adversarial images.",
    "C6": "In text-to-image, text-dominant latents carry semantics, image-dominant ones keep the "
    "reference's visual detail.",
    "C7": "Feminine concepts lie in image-dominant latents, masculine ones in text-dominant ones.",
}
"""Number of each claim to what it says, in our words."""


@dataclass(frozen=True)
class Finding:
    """What a claim came to on one model, with one kind of labels."""

    claim: str
    """Its number, a key of ``CLAIMS``."""
    labels: Labels | None
    """Whose classes it was judged with; None where it asks for none."""
    model: str
    """The encoder, or both that were compared."""
    verdict: Verdict
    reason: str
    """With the figures, in words."""
    value: float | None = None
    """The difference or distance that was judged; what it is of stands in the reason."""
    low: float | None = None
    """Lower end of its 95% interval."""
    high: float | None = None
    """Upper end."""
    null: float | None = None
    """The same value under the null that the reason names."""
    n: int | None = None
    """Latents, images or cases that it rests on."""

    def record(self) -> dict[str, Any]:
        """As JSON has it, with the claim's sentence."""
        return {**asdict(self), "sentence": CLAIMS[self.claim]}


def judged(low: float, high: float, least: float) -> Verdict:
    """Judge a difference that is claimed to be above 0.

    Parameters
    ----------
    low, high : float
        Ends of its interval.
    least : float
        What is too small to matter, at least 0: an interval wholly below it is a claim refuted.
    """
    if low > 0:
        return "supported"
    return "not supported" if high < least else "undecided"


def told(value: float) -> str:
    """Write a difference with its sign; what rounds to 0 has none."""
    rounded = round(value, 3)
    return "0.000" if rounded == 0 else f"{rounded:+.3f}"
