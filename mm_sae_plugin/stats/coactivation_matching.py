"""Match the latents of two SAEs, one for each tower, by how their codes go together over pairs.

The latents of the images' SAE are taken a block at a time, so that memory is O(d_sae · block)
whatever the number of pairs and however wide the SAEs. The matching is the one with the largest sum
of weights (Hungarian assignment), among pairs that go together more than chance lets any two.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.engines import Engine
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.matched_pair import MatchedPair, Matching
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.stats.interfaces import CodedPairs, PairedActivations
from mm_sae_plugin.stats.passes import Reading, run_pass

# Numbers of a block's products with all latents of the other side: 64 MB in float64.
_BLOCK_ELEMENTS = 2**23


@dataclass(frozen=True)
class CoactivationConfig:
    """How latents of two SAEs are matched."""

    cosine_weight: float = 0.0
    """Weight of the decoder directions' cosine, 0 to 1; the correlation of the codes has the rest.
    Needs both SAEs to live in one space."""
    level: float = 0.05
    """Probability that chance alone lets any two latents correlate enough to be matched, were codes
    normal; they are skewed, so it is a convention more than a guarantee."""
    n_candidates: int = 64
    """Latents of the captions' SAE that are considered for each of the images'."""

    def __post_init__(self) -> None:
        if not 0 <= self.cosine_weight <= 1:
            raise UserError(f"cosine_weight must lie between 0 and 1, not {self.cosine_weight}.")
        if not 0 < self.level < 1:
            raise UserError(f"level must lie between 0 and 1, not {self.level}.")
        if self.n_candidates < 1:
            raise UserError(f"n_candidates must be at least 1, not {self.n_candidates}.")


class CodeProducts:
    """An accumulator of products of some features' image codes with some others' text codes.

    Parameters
    ----------
    image, text : int64
        The features whose image codes, and whose text codes, are multiplied.
    """

    def __init__(self, image: Int[Tensor, "n_image"], text: Int[Tensor, "n_text"]) -> None:
        self.image, self.text = image, text
        self.n_pairs = 0
        # Squares and sums stand beside the products: one row and one column of ones.
        self.products: Float[Tensor, "n_image_and_one n_text_and_one"] = torch.zeros(
            len(image) + 1, len(text) + 1, dtype=torch.float64
        )
        self.squares = {
            "image": torch.zeros(len(image), dtype=torch.float64),
            "text": torch.zeros(len(text), dtype=torch.float64),
        }

    def empty(self) -> "CodeProducts":
        """An accumulator of the same features that has seen nothing."""
        return CodeProducts(self.image, self.text)

    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass."""
        image = pairs.codes_image.detach().cpu()[:, self.image].double()
        text = pairs.codes_text.detach().cpu()[:, self.text].double()
        ones = torch.ones(len(image), 1, dtype=torch.float64)
        self.n_pairs += len(image)
        self.products += torch.cat([image, ones], 1).T @ torch.cat([text, ones], 1)
        self.squares["image"] += image.square().sum(0)
        self.squares["text"] += text.square().sum(0)

    def merge(self, other: "CodeProducts") -> "CodeProducts":
        """Add the products of other pairs; return `self`."""
        self.n_pairs += other.n_pairs
        self.products += other.products
        for side, squares in other.squares.items():
            self.squares[side] += squares
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The products as plain tensors."""
        squares = {f"squares.{side}": sums for side, sums in self.squares.items()}
        return {"products": self.products, "n_pairs": torch.tensor(self.n_pairs), **squares}

    def correlation(self) -> Float[Tensor, "n_image n_text"]:
        """Pearson correlation over pairs, float64, −1 to 1; 0 where a code never varies."""
        n = max(self.n_pairs, 1)
        mean_image, mean_text = self.products[:-1, -1] / n, self.products[-1, :-1] / n
        covaries = self.products[:-1, :-1] / n - torch.outer(mean_image, mean_text)
        spreads = [
            (self.squares[side] / n - mean**2).clamp_min(0).sqrt()
            # Rounding leaves a little spread in a constant code.
            * ((self.squares[side] / n - mean**2) > 1e-12 * self.squares[side] / n)
            for side, mean in (("image", mean_image), ("text", mean_text))
        ]
        scale = torch.outer(*spreads)
        return torch.where(scale > 0, covaries / scale.clamp_min(1e-300), 0.0).clamp(-1, 1)


def match_by_coactivation(
    image: SAEFeatureMap,
    text: SAEFeatureMap,
    store: PairedActivations,
    cfg: CoactivationConfig | None = None,
    engine: Engine | None = None,
) -> MatchedPair:
    """Match two SAEs over the pairs of a store.

    Parameters
    ----------
    image, text : SAEFeatureMap
        The images' SAE and the captions'.
    store : PairedActivations
        Raw activations of both towers.
    cfg : CoactivationConfig, optional
        What counts, and how much must.
    engine : Engine, optional
        Where the passes run, one for each block of latents; one thread by default.

    Raises
    ------
    UserError
        If the store is empty, or a cosine is asked for between spaces of different widths.
    """
    cfg = cfg or CoactivationConfig()
    apart = MatchedPair(image, text)
    n_image, n_text = image.n_features, text.n_features
    texts = torch.arange(n_image, n_image + n_text)
    n_images = len(torch.unique(torch.as_tensor(store.image_index)))
    # Captions of one image are no more than one fact.
    limit = -NormalDist().inv_cdf(cfg.level / (n_image * n_text)) / max(n_images, 1) ** 0.5
    edges: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for block in torch.arange(n_image).split(max(1, _BLOCK_ELEMENTS // n_text)):
        sums = CodeProducts(block, texts)
        (taken,) = run_pass(store, [Reading(apart, {"products": sums})], engine)
        correlation = cast(CodeProducts, taken["products"]).correlation()
        weight = (1 - cfg.cosine_weight) * correlation
        if cfg.cosine_weight:
            weight = weight + cfg.cosine_weight * _cosines(image, text, block)
        weight = torch.where(correlation > limit, weight, 0.0)
        best, latent = weight.topk(min(cfg.n_candidates, n_text), dim=1)
        row, place = (best > 0).nonzero(as_tuple=True)
        column = latent[row, place]
        edges.append((block[row], column, best[row, place], correlation[row, column]))
    rows, columns, weights, correlations = (torch.cat(parts) for parts in zip(*edges, strict=True))
    matched = heaviest_matching(rows, columns, weights, n_image, n_text)
    return MatchedPair(image, text, _matching(rows, columns, correlations, matched, apart.matching))


def heaviest_matching(
    rows: Int[Tensor, "n_edges"],
    columns: Int[Tensor, "n_edges"],
    weights: Float[Tensor, "n_edges"],
    n_rows: int,
    n_columns: int,
) -> Int[Tensor, "n_matched"]:
    """Choose edges so that no row or column is chosen twice and their weights add up to most.

    Parameters
    ----------
    rows, columns : int64
        Ends of each edge.
    weights : float64, above 0
        Weight of each edge.
    n_rows, n_columns : int
        Sizes of the two sides.

    Returns
    -------
    int64
        Positions of the chosen edges, in ascending order of their rows.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if len(rows) == 0:
        return rows
    # Every row may also stay alone, in a column of its own. A constant keeps that edge from being
    # taken for none and changes nothing, since each row is matched exactly once.
    own = np.arange(n_rows)
    graph = csr_array(
        (
            np.concatenate([1.0 + weights.numpy(), np.ones(n_rows)]),
            (
                np.concatenate([rows.numpy(), own]),
                np.concatenate([columns.numpy(), n_columns + own]),
            ),
        ),
        shape=(n_rows, n_columns + n_rows),
    )
    row, column = min_weight_full_bipartite_matching(graph, maximize=True)
    real = column < n_columns
    keys = rows * n_columns + columns
    wanted = torch.from_numpy(row[real].astype(np.int64) * n_columns + column[real])
    order = keys.argsort()
    return order[torch.searchsorted(keys[order], wanted)]


def _cosines(
    image: SAEFeatureMap, text: SAEFeatureMap, block: Int[Tensor, "block"]
) -> Float[Tensor, "block n_text"]:
    one, other = image.directions, text.directions
    if one.shape[1] != other.shape[1]:
        raise UserError(
            f"Directions of width {one.shape[1]} and {other.shape[1]} have no cosine: leave "
            "cosine_weight at 0 for towers of different widths."
        )
    unit = [torch.nn.functional.normalize(d.to("cpu", torch.float64), dim=1) for d in (one, other)]
    return unit[0][block] @ unit[1].T


def _matching(
    rows: Tensor, columns: Tensor, correlations: Tensor, matched: Tensor, apart: Matching
) -> Matching:
    """Matched latents first, in the order of the images' SAE, then those that stand alone."""
    image, text = rows[matched], columns[matched]
    alone = ~(torch.isin(apart.image, image) & (apart.image >= 0))
    alone &= ~(torch.isin(apart.text, text) & (apart.text >= 0))
    return Matching(
        torch.cat([image, apart.image[alone]]),
        torch.cat([text, apart.text[alone]]),
        torch.cat([correlations[matched], apart.correlation[alone]]),
    )
