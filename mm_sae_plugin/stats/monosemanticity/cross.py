"""The Monosemanticity Score across modalities: do a feature's images and captions mean one thing?

Our own reading of the score of `pairwise` for two modalities. With activations a_i of a feature on
images and b_j on captions, each less its least value, and unit rows ê_i, f̂_j of one encoder that
sees both,

    MS× = Σ a_i b_j ê_i·f̂_j / Σ a_i b_j   over images i and captions j of other images.

An image and its own captions are left out as an image and itself are: they are alike whatever the
feature does. Over all i and j the sums are products of sums, (Σ a_i ê_i)·(Σ b_j f̂_j) and
(Σ a_i)(Σ b_j); what belongs to an image and its own captions is summed apart and taken away.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.stats.interfaces import CodedPairs
from mm_sae_plugin.stats.monosemanticity.embedded import EmbeddedRows
from mm_sae_plugin.stats.monosemanticity.estimate import Estimate
from mm_sae_plugin.stats.monosemanticity.pairwise import PairwiseSums


class CrossSums:
    """An accumulator of what the score across modalities needs, for each fold of images.

    Memory is 2 · n_folds · n_features · d numbers, however many pairs there are.

    Parameters
    ----------
    joint : tuple of EmbeddedRows
        Images and captions in one space.
    n_features : int
        Number of features.
    """

    def __init__(self, joint: tuple[EmbeddedRows, EmbeddedRows], n_features: int) -> None:
        self.joint = joint
        self.n_features = n_features
        self.image = PairwiseSums("image", joint[0], n_features)
        self.text = PairwiseSums("text", joint[1], n_features)
        n_folds = joint[0].n_folds
        self.own: Float[Tensor, "n_folds 2 3 n_features"] = torch.zeros(
            n_folds, 2, 3, n_features, dtype=torch.float64
        )
        """Σ w ab, Σ w a and Σ w b over images with their own captions; w is 1, then the cosine."""
        self.own_pairs: Float[Tensor, "n_folds 2"] = torch.zeros(n_folds, 2, dtype=torch.float64)
        """Σ w."""

    def empty(self) -> "CrossSums":
        """Sums of the same kind, over no pairs."""
        return CrossSums(self.joint, self.n_features)

    @torch.no_grad()
    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass."""
        self.image.update_pairs(pairs)
        self.text.update_pairs(pairs)
        (images, texts), rows = self.joint, pairs.rows
        used = images.used[rows.image_index] & texts.used[rows.pair_index]
        image, text = rows.image_index[used], rows.pair_index[used]
        a = pairs.codes_image.detach().cpu()[used].double()
        b = pairs.codes_text.detach().cpu()[used].double()
        cosine = (images.unit[image].double() * texts.unit[text].double()).sum(1)
        weights = torch.stack([torch.ones_like(cosine), cosine])
        fold = images.fold[image]
        for number in fold.unique().tolist():
            mine = fold == number
            w, first, second = weights[:, mine], a[mine], b[mine]
            products = (first * second, first, second)
            self.own[number] += torch.stack([w @ product for product in products], dim=1)
            self.own_pairs[number] += w.sum(1)

    def merge(self, other: "CrossSums") -> "CrossSums":
        """Add the sums over other pairs; return `self`."""
        self.image.merge(other.image)
        self.text.merge(other.text)
        self.own += other.own
        self.own_pairs += other.own_pairs
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The sums as plain tensors."""
        sides = {"image": self.image, "text": self.text}
        return {
            f"{side}.{name}": tensor
            for side, sums in sides.items()
            for name, tensor in sums.state_dict().items()
        } | {"own": self.own, "own_pairs": self.own_pairs}

    def estimate(self, n_least: int = 1) -> Estimate:
        """The score of every feature that is active on `n_least` images and captions each."""
        n_active = torch.minimum(self.image.n_active(), self.text.n_active())
        values = self._scores(None).masked_fill(n_active < n_least, torch.nan)
        folds = [self._scores(fold) for fold in range(self.joint[0].n_folds)]
        return Estimate(
            values.numpy(),
            torch.stack(folds).numpy(),
            n_active.numpy().astype(np.int64),
            bounds=(-1.0, 1.0),
        )

    def chance(self) -> float:
        """The score of a feature that fires everywhere alike: the mean cosine of an image and a
        caption of another one."""
        images, texts = self.image.over(None, "unit"), self.text.over(None, "unit")
        n_own, own = self.own_pairs.sum(0).tolist()
        n_all = float(self.image.over(None, "n_rows") * self.text.over(None, "n_rows"))
        return float((images @ texts - own) / (n_all - n_own)) if n_all > n_own else float("nan")

    def _scores(self, fold: int | None) -> Float[Tensor, "n_features"]:
        weighted_a, total_a, _ = self.image.scaled(fold)
        weighted_b, total_b, _ = self.text.scaled(fold)
        own_total, own_cosine = self._own(fold)
        above = (weighted_a * weighted_b).sum(1) - own_cosine
        all_pairs = total_a * total_b
        below = all_pairs - own_total
        # A feature may fire on one image and its own captions only, and then 0 is rounded.
        known = below > 1e-9 * all_pairs
        return torch.where(known, above / torch.where(known, below, 1.0), torch.nan)

    def _own(self, fold: int | None) -> tuple[Tensor, Tensor]:
        """Σ ab and Σ ab ê·f̂ over images with their own captions, each less its least value."""
        own, n_pairs = self.own.sum(0), self.own_pairs.sum(0)
        if fold is not None:
            own, n_pairs = own - self.own[fold], n_pairs - self.own_pairs[fold]
        c, d = self.image.shift, self.text.shift
        both, first, second = own.unbind(1)
        shifted = both - d * first - c * second + c * d * n_pairs[:, None]
        return shifted[0], shifted[1]
