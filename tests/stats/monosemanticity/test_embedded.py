"""Some images of a store, and their rows by another encoder."""

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.independent_encoder import IndependentEncoder
from mm_sae_plugin.stats import Reading, run_pass
from mm_sae_plugin.stats.monosemanticity.embedded import embed_pairs
from mm_sae_plugin.stats.monosemanticity.pairwise import PairwiseSums
from tests.stats.fakes import FakeFeatureMap, FakeStore, random_store
from tests.stats.monosemanticity.judged import colour_encoder


class HalfGone(FakeStore):
    """Pictures of odd rows are gone."""

    def open_image(self, row: int):
        return super().open_image(row) if row % 2 == 0 else None


def test_pictures_that_are_gone_are_left_out_and_counted():
    whole = random_store()
    store = HalfGone(whole.images, whole.texts, whole.image_index)
    embedded = embed_pairs(store, image=colour_encoder(), n_folds=4)
    assert embedded.n_missing == 30 and embedded.image is not None
    assert embedded.store.image_ids == [f"image-{row}" for row in range(0, 60, 2)]
    assert embedded.image.unit.shape == (30, 3) and embedded.image.used.all()
    colours = torch.tensor([[row * 37 % 256, row * 91 % 256, 128.0] for row in range(0, 60, 2)])
    torch.testing.assert_close(embedded.image.unit, colours / colours.norm(dim=1, keepdim=True))
    assert embedded.image.fold.bincount().tolist() == [8, 8, 7, 7]


def test_no_picture_at_all_is_one_line():
    whole = random_store()

    class Gone(FakeStore):
        def open_image(self, row: int):
            return None

    store = Gone(whole.images, whole.texts, whole.image_index)
    with pytest.raises(UserError, match=r"None of the store's pictures was found"):
        embed_pairs(store, image=colour_encoder())
    # Captions need none.
    assert embed_pairs(store, text=colour_encoder()).text is not None


def test_captions_count_once_and_only_if_the_encoder_knows_a_word():
    store = random_store()
    store.captions = ["one 1", "two 22", "one 1", "nothing", *store.captions[4:]]
    embedded = embed_pairs(store, text=colour_encoder(), n_folds=3)
    assert embedded.text is not None and embedded.image is None
    assert embedded.text.used[:4].tolist() == [True, True, False, False]
    # A caption lies in the fold of its image, so that they leave together.
    together = [embedded.text.fold[store.image_index == row].unique() for row in range(60)]
    assert all(len(folds) == 1 for folds in together)


def encoder_of(store: FakeStore, rotation: torch.Tensor) -> IndependentEncoder:
    def of_images(pictures):
        return store.images[: len(list(pictures))] @ rotation

    return IndependentEncoder("a twin", "twin", "twin".__eq__, of_images)


def test_the_interpreted_encoder_is_known_by_its_similarities():
    """By whatever name, and turned however one likes."""
    store = random_store()
    rotation, _ = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(UserError, match=r"a twin gives the very similarities of the encoder that"):
        embed_pairs(store, image=encoder_of(store, rotation))
    other = encoder_of(store, rotation * torch.linspace(1, 2, 12))
    assert embed_pairs(store, image=other).image is not None


def test_every_part_size_gives_the_same_sums():
    store, feature_map = random_store(), FakeFeatureMap(12, 9)
    embedded = embed_pairs(store, image=colour_encoder(), text=colour_encoder(), n_images=40)
    assert embedded.image is not None and embedded.text is not None
    sums = {
        "image": PairwiseSums("image", embedded.image, 9),
        "text": PairwiseSums("text", embedded.text, 9),
    }
    (whole,) = run_pass(embedded.store, [Reading(feature_map, sums)])
    (parts,) = run_pass(embedded.store, [Reading(feature_map, sums)], part_size=7)
    for side in sums:
        expected, found = whole[side].state_dict(), parts[side].state_dict()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, msg=f"{side} {name}")
        assert int(expected["n_rows"].sum()) == getattr(embedded, side).n_used
