"""Measures of vectors, against brute force and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin.applications.causal.gallery import Gallery
from mm_sae_plugin.applications.causal.outcomes import Measures, Vectors, retrieval_ranks
from tests.applications.causal.planted import N_IMAGES, gallery


def _by_hand(similarities, image_of):
    """Ranks by the words of the definition, one query at a time."""
    images, captions = [], []
    for i, row in enumerate(similarities.tolist()):
        best = max(s for s, of in zip(row, image_of, strict=True) if of == i)
        images.append(1 + sum(s >= best for s, of in zip(row, image_of, strict=True) if of != i))
    for c, column in enumerate(similarities.T.tolist()):
        own = column[image_of[c]]
        captions.append(1 + sum(s >= own for i, s in enumerate(column) if i != image_of[c]))
    return images, captions


def test_ranks_are_those_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    image_of = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4])
    # Few levels, so that there are many ties.
    for _ in range(20):
        similarities = torch.randint(0, 4, (5, 8), generator=generator) / 4
        found = retrieval_ranks(similarities, image_of)
        expected = _by_hand(similarities, image_of.tolist())
        assert [ranks.tolist() for ranks in found] == list(expected)


def test_what_differs_by_rounding_only_is_a_tie():
    similarities = torch.tensor([[0.5, 0.5 - 1e-8], [0.1, 0.9]])
    ranks, _ = retrieval_ranks(similarities, torch.tensor([0, 1]))
    assert ranks.tolist() == [2, 1]


def test_vectors_that_are_all_alike_find_nothing():
    whole = gallery()
    measures = Measures(whole)
    for one in (torch.zeros(1, 40), torch.ones(1, 40) / 40**0.5):
        flat = Vectors(*(one.expand(n, -1).clone() for n in (N_IMAGES, N_IMAGES, 6)))
        values = _values(measures, flat, np.ones((1, N_IMAGES), dtype=np.float32))
        shares = [value for name, value in values.items() if name != "modality_gap"]
        assert max(shares) == 0 and values["modality_gap"] == 0


def _values(measures: Measures, vectors: Vectors, weights: np.ndarray) -> dict[str, float]:
    (row,) = measures.values(measures.outcomes(vectors), weights)
    return dict(zip(measures.names, row.tolist(), strict=True))


def _of(one: Gallery) -> Vectors:
    return Vectors(one.images, one.captions, one.prompts)


def test_the_planted_world_is_read():
    whole = gallery()
    values = _values(Measures(whole), _of(whole), np.ones((1, N_IMAGES), dtype=np.float32))
    assert values["image_to_text_r1"] == values["text_to_image_r1"] == values["retrieval"] == 1
    assert values["zero_shot.colour"] == values["zero_shot"] == values["zero_shot_CrossD"] == 1
    # The tilt has no words, and is not asked.
    assert "zero_shot.tilt" not in values
    difference = whole.images.mean(0) - whole.captions.mean(0)
    assert values["modality_gap"] == pytest.approx(float(difference.norm()), abs=1e-6)


def test_queries_are_counted():
    counted = Measures(gallery(n_captions=3)).n_queries
    assert counted["image_to_text_r1"] == 60 and counted["text_to_image_r10"] == 180
    assert counted["retrieval"] == counted["modality_gap"] == 240
    assert counted["zero_shot"] == counted["zero_shot.colour"] == 60


@pytest.mark.parametrize("known", [True, False])
def test_a_resample_is_the_mean_over_the_images_drawn(known):
    """Outcomes are of the whole gallery; a resample counts an image as often as it is drawn."""
    generator = torch.Generator().manual_seed(1)
    whole = gallery()
    image_of = torch.arange(N_IMAGES).repeat_interleave(torch.arange(N_IMAGES) % 3 + 1)
    images = normalize(whole.images + 0.2 * torch.randn(60, 40, generator=generator), dim=1)
    noise = 0.2 * torch.randn(len(image_of), 40, generator=generator)
    captions = normalize(whole.captions[image_of] + noise, dim=1)
    questions = whole.questions if known else ()
    world = Gallery("", True, images, captions, image_of, whole.prompts, questions)
    measures = Measures(world)
    weights = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60))[None]
    values = _values(measures, _of(world), weights.astype(np.float32))
    ranks_image, ranks_caption = retrieval_ranks(images @ captions.T, image_of)
    drawn = torch.arange(60).repeat_interleave(torch.from_numpy(weights[0]))
    of_caption = torch.cat([(image_of == i).nonzero()[:, 0] for i in drawn.tolist()])
    assert 0.1 < values["image_to_text_r1"] < 0.9
    for k in (1, 5, 10):
        expected = (ranks_image[drawn] <= k).double().mean()
        assert values[f"image_to_text_r{k}"] == pytest.approx(float(expected), abs=1e-6)
        expected = (ranks_caption[of_caption] <= k).double().mean()
        assert values[f"text_to_image_r{k}"] == pytest.approx(float(expected), abs=1e-6)
    gap = (images[drawn].mean(0) - captions[of_caption].mean(0)).norm()
    assert values["modality_gap"] == pytest.approx(float(gap), abs=1e-5)
    assert ("zero_shot" in values) == known


def test_a_factor_that_a_resample_shows_nowhere_is_unknown():
    whole, (question, _) = gallery(), gallery().questions
    shown = question.shown.clone()
    shown[5:] = -1
    measures = Measures(replace(whole, questions=(replace(question, shown=shown),)))
    weights = np.ones((1, 60), dtype=np.float32)
    assert _values(measures, _of(whole), weights)["zero_shot.colour"] == 1
    weights[0, :5] = 0
    assert np.isnan(_values(measures, _of(whole), weights)["zero_shot.colour"])
