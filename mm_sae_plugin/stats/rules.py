"""From scores to modality classes."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.stats.config import ModalityConfig


@dataclass(frozen=True)
class Labelling:
    """The classes, and the borders that they were cut at."""

    classes: list[str]
    """One of `config.CLASSES` per latent."""
    low: float
    """Below is text-dominant; NaN when no latent is alive."""
    high: float
    """Above is image-dominant; NaN when no latent is alive."""


def label(
    scores: Float[Tensor, "n_features"],
    intervals: Float[Tensor, "n_features 2"],
    alive: Bool[Tensor, "n_features"],
    cfg: ModalityConfig,
    borders: tuple[float, float] | None = None,
) -> Labelling:
    """Apply the rule that `cfg` names.

    Latents that are not alive are `Dead`; those whose score is NaN cannot be decided, and are
    `Undetermined`. The paper's borders follow from the scores, unless they are given.
    """
    decided = ~scores.isnan()
    if cfg.rule == "interval":
        low, high = cfg.cutoffs
        # The whole interval must clear a border; only the cautious ends are compared.
        is_text, is_image = intervals[:, 1] < low, intervals[:, 0] > high
        is_cross = (intervals[:, 0] >= low) & (intervals[:, 1] <= high)
    else:
        low, high = borders or _paper_borders(scores[alive & decided], cfg.tau)
        is_text, is_image = scores < low, scores > high
        is_cross = decided & ~(is_text | is_image)
    classes = []
    for lives, text, image, cross in zip(
        alive.tolist(), is_text.tolist(), is_image.tolist(), is_cross.tolist(), strict=True
    ):
        if not lives:
            classes.append("Dead")
        elif image:
            classes.append("ImgD")
        elif text:
            classes.append("TextD")
        else:
            classes.append("CrossD" if cross else "Undetermined")
    return Labelling(classes=classes, low=low, high=high)


def _paper_borders(scores: Float[Tensor, "alive"], tau: float) -> tuple[float, float]:
    if len(scores) == 0:
        return float("nan"), float("nan")
    mean, std = float(scores.mean()), float(scores.std(correction=0))
    return mean - tau * std, mean + tau * std
