"""The score across modalities in one pass, against the sum over images and captions of others."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mm_sae_plugin.stats.interfaces import CodedPairs
from mm_sae_plugin.stats.monosemanticity.cross import CrossSums
from mm_sae_plugin.stats.monosemanticity.embedded import EmbeddedRows
from mm_sae_plugin.stats.passes import PairRows
from tests.stats.monosemanticity.judged import random_rows, sparse_codes

N_IMAGES, N_FEATURES, N_FOLDS = 30, 8, 5


def joint_rows() -> tuple[EmbeddedRows, EmbeddedRows, Tensor]:
    """Images with one to three captions each, and the image of each caption."""
    image_index = torch.arange(N_IMAGES).repeat_interleave(torch.arange(N_IMAGES) % 3 + 1)
    images = random_rows(N_IMAGES, n_folds=N_FOLDS)
    texts = random_rows(len(image_index), seed=5)
    of_captions = EmbeddedRows(texts.unit, texts.used, images.fold[image_index], "random", "none")
    return images, of_captions, image_index


def by_pairs(
    a: Tensor, b: Tensor, images: EmbeddedRows, texts: EmbeddedRows, owner: Tensor, fold: int = -1
) -> np.ndarray:
    """The definition; the least activations are those of all rows."""
    a, b = a - a[images.used].amin(0), b - b[texts.used].amin(0)
    cosines = images.unit.double() @ texts.unit.double().T
    counts = images.used[:, None] & texts.used & (torch.arange(len(a))[:, None] != owner)
    counts &= (images.fold[:, None] != fold) & (texts.fold != fold)
    weights = torch.einsum("if,jf->fij", a.double(), b.double()) * counts
    total = weights.sum((1, 2))
    return ((weights * cosines).sum((1, 2)) / total).masked_fill(total == 0, torch.nan).numpy()


def summed(joint, a: Tensor, b: Tensor, owner: Tensor, parts: int = 1) -> CrossSums:
    first = torch.ones(len(owner), dtype=torch.bool)
    first[1:] = owner.diff() != 0
    total = CrossSums(joint, a.shape[1])
    for index in torch.arange(len(owner)).chunk(parts):
        acts = torch.zeros(len(index), 1)
        rows = PairRows(acts, acts, index, owner[index], first[index])
        part = total.empty()
        part.update_pairs(CodedPairs(rows, a[owner[index]], b[index]))
        total.merge(part)
    return total


@pytest.mark.parametrize("least", [0.0, 0.4])
@pytest.mark.parametrize("parts", [1, 4])
def test_it_is_the_sum_over_images_and_captions_of_others(least, parts):
    images, texts, owner = joint_rows()
    a = sparse_codes(N_IMAGES, N_FEATURES) + least
    b = sparse_codes(len(owner), N_FEATURES, seed=2) + least
    estimate = summed((images, texts), a, b, owner, parts).estimate()
    expected = by_pairs(a, b, images, texts, owner)
    np.testing.assert_allclose(estimate.values, expected, atol=1e-6)
    for fold in range(N_FOLDS):
        expected = by_pairs(a, b, images, texts, owner, fold)
        np.testing.assert_allclose(estimate.without_fold[fold], expected, atol=1e-6)


def test_one_image_with_its_own_captions_says_nothing():
    images, texts, owner = joint_rows()
    a, b = torch.zeros(N_IMAGES, 2), torch.zeros(len(owner), 2)
    a[2], b[owner == 2] = 0.3, 0.7
    # The second feature also fires on a caption of another image.
    b[owner == 6, 1] = 0.1
    estimate = summed((images, texts), a, b, owner).estimate()
    assert np.isnan(estimate.values[0]) and not np.isnan(estimate.values[1])


def test_chance_is_the_mean_cosine_of_images_and_captions_of_others():
    images, texts, owner = joint_rows()
    ones = torch.ones(N_IMAGES, 1), torch.ones(len(owner), 1)
    sums = summed((images, texts), *ones, owner)
    cosines = images.unit.double() @ texts.unit.double().T
    counts = images.used[:, None] & texts.used & (torch.arange(N_IMAGES)[:, None] != owner)
    assert sums.chance() == pytest.approx(float(cosines[counts].mean()))
