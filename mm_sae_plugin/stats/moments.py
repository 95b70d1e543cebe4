"""Which sums are kept, and how a batch of codes becomes them.

Per pair and latent a handful of quantities ("channels") is summed. Per image, products of those
sums are summed again ("second moments"): all that the delta method needs for each score.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.stats.clusters import sum_runs
from mm_sae_plugin.stats.config import SCORES, ScoreName

CHANNELS = (
    "fires_image",
    "fires_text",
    "fires_both",
    "ratio",
    "image",
    "text",
    "image_squared",
    "text_squared",
    "product",
)
"""Per pair: three firings (0 or 1), a_I / (a_I + a_T) where either fires, then activations."""

_SIDE_ROWS = {"ratio_of_means": (4, 5), "frequency": (0, 1), "energy": (6, 7)}

# Three products for each score, three cross products with the number of captions, and three
# counts of images (active on the image side, on the text side, on either side).
N_SECOND = 3 * len(SCORES) + 3 + 3
SIDES = ("image", "text", "either")


def second_row(kind: str, which: str) -> int:
    """Row of a second moment.

    Parameters
    ----------
    kind : str
        A score (`which`: `image²`, `image·text` or `text²` of its two sides), `rows` (`which`:
        a side; firings times captions), or `active_images` (`which`: a side).
    """
    if kind == "rows":
        return 3 * len(SCORES) + SIDES.index(which)
    if kind == "active_images":
        return 3 * len(SCORES) + 3 + SIDES.index(which)
    return 3 * SCORES.index(kind) + ("image²", "image·text", "text²").index(which)  # type: ignore[arg-type]


def channel_sums(
    codes_image: Float[Tensor, "batch n_features"],
    codes_text: Float[Tensor, "batch n_features"],
    lengths: Int[Tensor, "clusters"],
) -> Float[Tensor, "channels clusters n_features"]:
    """Sum every channel over the rows of each image, in float64."""
    image = codes_image.to(torch.float64)
    text = codes_text.to(torch.float64)
    total = image + text
    # Where neither side fires there is no ratio, rather than 0/0 or a spurious 0.
    ratio = torch.where(total > 0, image / total.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    channels = (
        (image > 0).to(torch.float64),
        (text > 0).to(torch.float64),
        ((image > 0) & (text > 0)).to(torch.float64),
        ratio,
        image,
        text,
        image * image,
        text * text,
        image * text,
    )
    return torch.stack([sum_runs(channel, lengths) for channel in channels])


def score_sides(
    sums: Float[Tensor, "channels *rest"], score: ScoreName
) -> tuple[Float[Tensor, "*rest"], Float[Tensor, "*rest"]]:
    """Image part and text part of a score: the score is image / (image + text)."""
    if score == "mean_of_ratios":
        ratio, either = sums[3], sums[0] + sums[1] - sums[2]
        return ratio, either - ratio
    image, text = _SIDE_ROWS[score]
    return sums[image], sums[text]


def second_moments(
    clusters: Float[Tensor, "channels clusters n_features"], lengths: Int[Tensor, "clusters"]
) -> Float[Tensor, "second n_features"]:
    """Sum products of the per-image sums over images."""
    rows = []
    for score in SCORES:
        image, text = score_sides(clusters, score)
        rows += [(image * image).sum(0), (image * text).sum(0), (text * text).sum(0)]
    fires = (clusters[0], clusters[1], clusters[0] + clusters[1] - clusters[2])
    n_rows = lengths.to(clusters.device, torch.float64)[:, None]
    rows += [(fired * n_rows).sum(0) for fired in fires]
    rows += [(fired > 0).to(torch.float64).sum(0) for fired in fires]
    return torch.stack(rows)
