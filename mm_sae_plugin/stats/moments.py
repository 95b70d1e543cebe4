"""Which sums are kept, and how a batch of codes becomes them.

Per pair and latent a handful of quantities ("channels") is summed. Per image, products of those
sums are summed again ("second moments"): all that the delta method needs for each score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.saes.latent_order import latent_order
from mm_sae_plugin.stats.active_codes import ActiveCodes
from mm_sae_plugin.stats.scores import SCORES, ScoreName

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

_ROW = {name: row for row, name in enumerate(CHANNELS)}

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
    return 3 * list(SCORES).index(kind) + ("image²", "image·text", "text²").index(which)


@dataclass(frozen=True)
class ClusterSums:
    """Channel sums of every (image, latent) that is active at all, in order of image."""

    cluster: Int[Tensor, "entries"]
    """Number of the image within the batch."""
    latent: Int[Tensor, "entries"]
    """The latent."""
    sums: Float[Tensor, "channels entries"]
    """float64 sums over the rows of that image."""

    def one(self, cluster: int) -> tuple[Int[Tensor, "mine"], Float[Tensor, "channels mine"]]:
        """Latents that are active on one image, ascending, and their sums."""
        mine = self.cluster == cluster
        return self.latent[mine], self.sums[:, mine]


def cluster_sums(
    codes_image: Float[Tensor, "batch n_features"],
    codes_text: Float[Tensor, "batch n_features"],
    lengths: Int[Tensor, "clusters"],
    active: Sequence[ActiveCodes] = (),
) -> ClusterSums:
    """Sum every channel over the rows of each image, in float64.

    Codes are sparse, so only what is active on either side is touched; where `active` tells what is
    on the one and on the other, it is not looked for. Sums are taken over sorted runs rather than
    by scattered additions, whose order an accelerator does not promise.
    """
    row, latent = _active_on_either(codes_image, codes_text, active)
    channels = _channels(codes_image[row, latent], codes_text[row, latent])
    lengths = lengths.to(row.device)
    cluster = torch.arange(len(lengths), device=row.device).repeat_interleave(lengths)[row]
    if int(lengths.max()) == 1:
        return ClusterSums(cluster, latent, channels)
    key, order = torch.sort(cluster * codes_image.shape[1] + latent, stable=True)
    key, runs = torch.unique_consecutive(key, return_counts=True)
    return ClusterSums(
        cluster=torch.div(key, codes_image.shape[1], rounding_mode="floor"),
        latent=key % codes_image.shape[1],
        sums=_sum_runs(channels.T.contiguous().index_select(0, order), runs).T,
    )


def _active_on_either(
    codes_image: Float[Tensor, "batch n_features"],
    codes_text: Float[Tensor, "batch n_features"],
    active: Sequence[ActiveCodes],
) -> tuple[Int[Tensor, "entries"], Int[Tensor, "entries"]]:
    """Rows and latents, row by row."""
    if not active or not all(side.are_few for side in active):
        row, latent = ((codes_image > 0) | (codes_text > 0)).nonzero(as_tuple=True)
        return row, latent
    n_features = codes_image.shape[1]
    keys = _sorted(torch.cat([side.rows * n_features + side.latents for side in active]))
    keys = keys.unique_consecutive()
    return torch.div(keys, n_features, rounding_mode="floor"), keys % n_features


def _sorted(keys: Int[Tensor, "entries"]) -> Int[Tensor, "entries"]:
    if keys.device.type == "cpu":
        # NumPy's stable sort sees that each side is sorted already, and merges them.
        return torch.from_numpy(np.sort(keys.numpy(), kind="stable"))
    return keys.sort().values


def sum_by_latent(
    values: Float[Tensor, "quantities entries"], latent: Int[Tensor, "entries"], n_features: int
) -> Float[Tensor, "quantities n_features"]:
    """Sum the entries of each latent, in order."""
    order = latent_order(latent, n_features)
    present, runs = torch.unique_consecutive(latent[order], return_counts=True)
    dense = values.new_zeros(len(values), n_features)
    # Entry by entry in memory, so that sorting moves what lies together.
    by_entry = values.T.contiguous().index_select(0, order)
    dense.index_copy_(1, present, _sum_runs(by_entry, runs).T)
    return dense


def score_sides(
    sums: Float[Tensor, "channels *rest"], score: ScoreName
) -> tuple[Float[Tensor, "*rest"], Float[Tensor, "*rest"]]:
    """Image part and text part of a score: the score is image / (image + text)."""
    return SCORES[score].sides(lambda channel: sums[_ROW[channel]])


def second_moments(
    sums: Float[Tensor, "channels *rest"], n_rows: Float[Tensor, "*#rest"]
) -> Float[Tensor, "second *rest"]:
    """Products of the sums over one image, to be summed over images.

    Parameters
    ----------
    sums : float64
        Channel sums, each entry belonging to one image.
    n_rows : float64
        Number of captions of that image.
    """
    products = []
    for score in SCORES:
        image, text = score_sides(sums, score)
        products += [image * image, image * text, text * text]
    image, text, both = (sums[_ROW[name]] for name in ("fires_image", "fires_text", "fires_both"))
    fires = (image, text, image + text - both)
    products += [fired * n_rows for fired in fires]
    products += [(fired > 0).to(torch.float64) for fired in fires]
    return torch.stack(products)


def _channels(
    codes_image: Float[Tensor, "entries"], codes_text: Float[Tensor, "entries"]
) -> Float[Tensor, "channels entries"]:
    image, text = codes_image.to(torch.float64), codes_text.to(torch.float64)
    fires_image, fires_text = (image > 0).to(torch.float64), (text > 0).to(torch.float64)
    return torch.stack(
        [
            fires_image,
            fires_text,
            fires_image * fires_text,
            # One side is active in every entry, so this is never 0 / 0.
            image / (image + text),
            image,
            text,
            image * image,
            text * text,
            image * text,
        ]
    )


def _sum_runs(
    values: Float[Tensor, "entries quantities"], runs: Int[Tensor, "n_runs"]
) -> Float[Tensor, "n_runs quantities"]:
    if len(runs) == 0:
        return values.new_zeros(0, values.shape[1])
    return torch.segment_reduce(values, "sum", lengths=runs, axis=0)
