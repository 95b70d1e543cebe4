import pytest
import torch

from mm_sae_plugin.activations.provider import paired_batches, row_batches
from mm_sae_plugin.errors import UserError


def numbered(n_images: int, n_pairs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that say their own number, images positive and captions negative."""
    images = torch.arange(1, n_images + 1).float()[:, None].expand(-1, 3).contiguous()
    texts = -torch.arange(1, n_pairs + 1).float()[:, None].expand(-1, 3).contiguous()
    return images, texts


def test_first_half_images_second_half_their_captions():
    image_index = torch.tensor([0, 0, 1, 2, 2, 2, 3])
    images, texts = numbered(4, 7)
    batches = paired_batches(images, texts, image_index, batch_size=6)
    for _ in range(20):
        batch = next(batches)
        assert batch.shape == (6, 3)
        captions = (-batch[3:, 0]).long() - 1
        assert torch.equal(batch[:3, 0].long() - 1, image_index[captions])


def test_every_pair_is_seen_once_before_one_is_seen_again():
    images, texts = numbered(10, 10)
    # Batches of 4 pairs do not divide 10: one of them lies across the border of the epochs.
    batches = paired_batches(images, texts, batch_size=8)
    seen = torch.cat([next(batches)[4:, 0] for _ in range(5)])
    assert sorted((-seen[:10]).tolist()) == sorted((-seen[10:]).tolist()) == list(range(1, 11))
    assert not torch.equal(seen[:10], seen[10:])


def test_a_batch_may_be_longer_than_the_data():
    rows = torch.arange(3.0)[:, None]
    batch = next(row_batches(rows, batch_size=10))
    assert batch.shape == (10, 1)
    assert all(int((batch == value).sum()) >= 3 for value in range(3))


@pytest.mark.parametrize("n_before", [0, 1, 3, 11])
def test_resumes_exactly(n_before):
    images, texts = numbered(10, 10)
    whole = paired_batches(images, texts, batch_size=6, seed=5)
    for _ in range(n_before):
        next(whole)
    resumed = paired_batches(images, texts, batch_size=6, seed=5)
    resumed.load_state_dict(whole.state_dict())
    for _ in range(8):
        assert torch.equal(next(resumed), next(whole))


def test_order_depends_on_the_seed_alone():
    images, texts = numbered(50, 50)
    first = [next(paired_batches(images, texts, batch_size=20, seed=1)) for _ in range(2)]
    other = next(paired_batches(images, texts, batch_size=20, seed=2))
    assert torch.equal(*first)
    assert not torch.equal(first[0], other)


def test_batches_are_not_overwritten_by_later_ones():
    batches = paired_batches(*numbered(10, 10), batch_size=4)
    first = next(batches)
    kept = first.clone()
    next(batches)
    assert torch.equal(first, kept)


def test_state_of_other_data_is_refused():
    state = row_batches(torch.randn(9, 2), batch_size=4).state_dict()
    with pytest.raises(UserError, match="n_items = 9, this run has n_items = 8"):
        row_batches(torch.randn(8, 2), batch_size=4).load_state_dict(state)


@pytest.mark.parametrize(
    ("n_images", "index", "batch_size", "message"),
    [
        (4, None, 4, "4 image rows and 6 caption rows are not pairs"),
        (4, torch.tensor([0, 1, 2, 3, 4, 0]), 4, "image_index must name one of the 4"),
        (4, torch.tensor([0, 1]), 4, "image_index must name"),
        (6, None, 5, "must be even"),
    ],
)
def test_sides_that_do_not_fit_are_refused(n_images, index, batch_size, message):
    with pytest.raises(UserError, match=message):
        paired_batches(*numbered(n_images, 6), index, batch_size=batch_size)


def test_towers_of_different_width_are_refused():
    with pytest.raises(UserError, match="images have 3 dimensions and captions 4"):
        paired_batches(torch.randn(5, 3), torch.randn(5, 4), batch_size=2)
