"""What the paper's relative rule does to these scores, in a sentence for page and terminal."""

import math

from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.wording import n_latents


def border_warning(dominance: ModalityDominance) -> str | None:
    """One sentence where the paper's rule was asked for; None under the interval rule.

    The rule's borders, mean ± tau standard deviations, follow the spread of the scores. On skewed
    scores they leave [0, 1], and latents at the very end of the scale are called cross-modal.
    """
    if dominance.cfg.rule != "paper":
        return None
    relative = "The paper's rule draws its borders where the scores' own spread puts them"
    advice = "the interval rule has fixed borders and says where the data do not decide"
    if math.isnan(dominance.low):
        return f"{relative}; {advice}."
    found = f"here at {_written(dominance.low)} and {_written(dominance.high)}"
    beyond = {"TextD": dominance.low <= 0, "ImgD": dominance.high >= 1}
    lost = [name for name, is_beyond in beyond.items() if is_beyond]
    if lost:
        which = "one border lies" if len(lost) == 1 else "both lie"
        found += (
            f" ({which} off the scale from 0 to 1, so that no latent can be {' or '.join(lost)})"
        )
    misled = _one_sided_cross_modal(dominance)
    if misled:
        found += (
            f", and calls {n_latents(misled)} CrossD although the "
            "whole interval lies on the side of one modality"
        )
    return f"{relative}, {found}; {advice}."


def _one_sided_cross_modal(dominance: ModalityDominance) -> int:
    """CrossD latents that the interval rule's cut-offs would give to one modality."""
    low, high = dominance.cfg.cutoffs
    one_sided = (dominance.intervals[:, 1] < low) | (dominance.intervals[:, 0] > high)
    return int(one_sided[dominance.latents("CrossD")].sum())


def _written(border: float) -> str:
    """A border with as many digits as it takes to see on which side of 0 and 1 it lies."""
    digits = 2
    while digits < 6 and round(border, digits) in (0, 1) and border not in (0, 1):
        digits += 1
    return f"{border:.{digits}f}".replace("-", "−")
