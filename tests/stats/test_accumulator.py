"""Sums: against a direct computation, under any sharding, and through a file."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import load, save

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats import ModalityStatistics
from mm_sae_plugin.stats.intervals import score_values, score_variance
from mm_sae_plugin.stats.moments import CHANNELS, second_row
from mm_sae_plugin.stats.scores import SCORES

COUNTS = ("fires_image", "fires_text", "fires_both")


def make_codes(n_images: int = 40, n_features: int = 6, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (n_images,), generator=generator)
    image_id = torch.arange(n_images).repeat_interleave(lengths)
    sparse = lambda n: torch.relu(torch.randn(n, n_features, generator=generator) - 0.3)  # noqa: E731
    return sparse(n_images)[image_id], sparse(len(image_id)), image_id


def one_pass(codes_image, codes_text, image_id) -> ModalityStatistics:
    stats = ModalityStatistics(codes_image.shape[1])
    stats.update(codes_image, codes_text, image_id)
    return stats


def in_shards(codes_image, codes_text, image_id, borders) -> ModalityStatistics:
    total = ModalityStatistics(codes_image.shape[1])
    edges = [0, *borders, len(image_id)]
    for start, end in pairwise(edges):
        rows = slice(start, end)
        total.merge(one_pass(codes_image[rows], codes_text[rows], image_id[rows]))
    return total


def assert_same(a: ModalityStatistics, b: ModalityStatistics) -> None:
    assert a.n_pairs == b.n_pairs
    assert a.n_images == b.n_images
    assert a.rows_squared == b.rows_squared
    assert torch.equal(a.cluster_ids, b.cluster_ids)
    for name in CHANNELS:
        if name in COUNTS:
            assert torch.equal(a.channel(name), b.channel(name))
        torch.testing.assert_close(a.channel(name), b.channel(name), rtol=1e-12, atol=0)
    torch.testing.assert_close(a.second(), b.second(), rtol=1e-12, atol=0)


def test_sums_equal_a_direct_computation():
    codes_image, codes_text, image_id = make_codes()
    stats = one_pass(codes_image, codes_text, image_id)
    image, text = codes_image.double(), codes_text.double()
    active = (image > 0) | (text > 0)
    ratio = torch.where(active, image / (image + text), 0.0)
    assert torch.equal(stats.channel("fires_image"), (image > 0).sum(0).double())
    torch.testing.assert_close(stats.channel("ratio"), ratio.sum(0))
    torch.testing.assert_close(stats.channel("image_squared"), (image**2).sum(0))
    # Second moments, image by image.
    expected = torch.zeros(6, dtype=torch.float64)
    n_active = torch.zeros(6, dtype=torch.float64)
    for i in image_id.unique():
        rows = image_id == i
        expected += image[rows].sum(0) * text[rows].sum(0)
        n_active += active[rows].any(0)
    second = stats.second()
    torch.testing.assert_close(second[second_row("ratio_of_means", "image·text")], expected)
    assert torch.equal(second[second_row("active_images", "either")], n_active)


def test_seven_uneven_shards_equal_one_pass():
    codes = make_codes(n_images=200)
    n = len(codes[2])
    # The borders cut images in the middle, one shard is a single row, and one image spans three.
    borders = [3, 4, n // 3, n // 3 + 17, n // 2, n - 2]
    assert_same(in_shards(*codes, borders), one_pass(*codes))


def test_an_image_with_many_captions_may_span_whole_shards():
    codes_image, codes_text, _ = make_codes(n_images=10)
    image_id = torch.zeros(len(codes_image), dtype=torch.int64)
    image_id[-1] = 1
    codes = (codes_image, codes_text, image_id)
    assert_same(in_shards(*codes, [2, 5, 6, 9]), one_pass(*codes))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_sharding_equals_one_pass(data):
    codes = make_codes(n_images=12, n_features=3, seed=data.draw(st.integers(0, 5)))
    cut = st.integers(0, len(codes[2]))
    borders = sorted(data.draw(st.lists(cut, max_size=6)))
    assert_same(in_shards(*codes, borders), one_pass(*codes))


def test_merging_groups_of_shards_equals_merging_one_by_one():
    codes_image, codes_text, image_id = make_codes(n_images=30)
    thirds = [slice(0, 20), slice(20, 31), slice(31, len(image_id))]
    parts = [one_pass(codes_image[rows], codes_text[rows], image_id[rows]) for rows in thirds]
    right = ModalityStatistics(6).merge(parts[1]).merge(parts[2])
    total = ModalityStatistics(6).merge(parts[0]).merge(right)
    assert_same(total, one_pass(codes_image, codes_text, image_id))


def test_merging_leaves_the_other_as_it_was():
    codes = make_codes()
    part = one_pass(*codes)
    before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    total = ModalityStatistics(6).merge(part)
    total.update(*make_codes(seed=1)[:2], make_codes(seed=1)[2] + 1000)
    for name, tensor in part.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_state_survives_a_file_and_can_go_on():
    codes_image, codes_text, image_id = make_codes()
    first = one_pass(codes_image[:31], codes_text[:31], image_id[:31])
    restored = ModalityStatistics.from_state_dict(load(save(first.state_dict())))
    restored.update(codes_image[31:], codes_text[31:], image_id[31:])
    assert_same(restored, one_pass(codes_image, codes_text, image_id))


def test_image_ids_may_be_strings():
    codes_image, codes_text, image_id = make_codes()
    named = one_pass(codes_image, codes_text, [f"photos/{int(i)}.jpg" for i in image_id])
    plain = one_pass(codes_image, codes_text, image_id)
    assert torch.equal(named.second(), plain.second())
    assert named.n_images == plain.n_images


def test_activation_means_are_kept_only_if_always_given():
    codes_image, codes_text, image_id = make_codes()
    acts = torch.randn(len(image_id), 4)
    stats = ModalityStatistics(6)
    stats.update(codes_image[:9], codes_text[:9], image_id[:9], acts[:9], -acts[:9])
    stats.update(codes_image[9:], codes_text[9:], image_id[9:], acts[9:], -acts[9:])
    means = stats.mean_acts
    assert means is not None
    torch.testing.assert_close(means[0], acts.double().mean(0))
    torch.testing.assert_close(means[1], -means[0])
    stats.update(codes_image, codes_text, image_id + 500)
    assert stats.mean_acts is None


def test_scattered_captions_are_refused_when_intervals_are_asked_for():
    codes_image, codes_text, _ = make_codes()
    stats = one_pass(codes_image, codes_text, torch.arange(len(codes_image)) % 7)
    with pytest.raises(UserError, match="sort the pairs by image"):
        _ = stats.n_images


@pytest.mark.parametrize("bad", [-1e-3, float("nan"), float("inf")])
def test_negative_or_non_finite_codes_are_refused(bad):
    codes_image, codes_text, image_id = make_codes()
    codes_text[3, 2] = bad
    with pytest.raises(UserError, match="text codes"):
        one_pass(codes_image, codes_text, image_id)


@pytest.mark.usefixtures("any_types")
def test_shapes_that_disagree_are_refused():
    codes_image, codes_text, image_id = make_codes()
    with pytest.raises(UserError, match="image ids"):
        one_pass(codes_image, codes_text, image_id[:-1])
    with pytest.raises(UserError, match="different feature maps"):
        ModalityStatistics(6).merge(one_pass(*make_codes(n_features=5)))


def test_latents_that_never_fire_have_no_score():
    zeros = torch.zeros(20, 2)
    zeros[:, 1] = 1.0
    stats = one_pass(zeros, torch.zeros(20, 2), torch.arange(20))
    for score in SCORES:
        value, variance = score_values(stats, score), score_variance(stats, score)
        assert torch.isnan(value[0]) and torch.isnan(variance[0])
        assert value[1] == 1 and variance[1] == 0


def test_the_four_scores_by_hand():
    codes_image = torch.tensor([[3.0], [1.0], [0.0], [0.0]])
    codes_text = torch.tensor([[1.0], [0.0], [2.0], [0.0]])
    stats = one_pass(codes_image, codes_text, torch.arange(4))
    expected = {
        "mean_of_ratios": (0.75 + 1 + 0) / 3,
        "ratio_of_means": 4 / 7,
        "frequency": 2 / 4,
        "energy": 10 / 15,
    }
    for score in SCORES:
        assert score_values(stats, score).item() == pytest.approx(expected[score], rel=1e-12)


def test_sparse_codes_count_as_their_dense_form():
    codes_image, codes_text, image_id = make_codes()
    sparse = one_pass(codes_image.to_sparse(), codes_text.to_sparse(), image_id)
    assert_same(sparse, one_pass(codes_image, codes_text, image_id))
