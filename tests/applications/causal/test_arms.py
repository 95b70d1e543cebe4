"""Sets of latents."""

from dataclasses import replace

import pytest
import torch

from mm_sae_plugin.applications.causal.arms import PAPER, arms_of, coactive
from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.study import Study

N = 2_000


def _labels(n_captions: int = 1, **settings) -> ModalityDominance:
    """Latent 0 fires together, 1 apart, 2 never together, 3 never; the rest independently."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(N, 40, generator=generator) < 0.1
    text = torch.rand(N, 40, generator=generator) < 0.1
    text[:, 0], text[:, 2] = image[:, 0], ~image[:, 2]
    image[:, 3] = text[:, 3] = False
    stats = ModalityStatistics(40)
    index = torch.arange(N).repeat_interleave(n_captions)
    stats.update(image[index].float(), text[index].float(), index)
    return ModalityDominance.from_statistics(stats, **settings)


def test_only_what_fires_together_does():
    found = coactive(_labels())
    assert found[0]
    # Of the 37 independent ones some may be called by chance: at most one in twenty is.
    assert int(found.sum()) <= 3 and not found[2] and not found[3]


def test_captions_of_one_image_are_no_further_evidence():
    """Pairs said ten times over make weak evidence look strong, and here they do not."""
    once, often = coactive(_labels()), coactive(_labels(n_captions=10))
    assert torch.equal(once, often)


def test_without_latents_alive_none_fires_together():
    dead = _labels(min_activations=10**6)
    assert not coactive(dead).any()
    assert not any(arm.mask.any() for arm in arms_of(dead))


def test_crossd_is_split_in_two():
    labels = replace(_labels(), classes=["CrossD"] * 40)
    masks = {arm.name: arm.mask for arm in arms_of(labels)}
    together, apart = masks["CrossD together"], masks["CrossD apart"]
    assert together[0] and apart[2] and not (together & apart).any()
    assert torch.equal(together | apart, masks["CrossD"])


def test_the_papers_score_makes_no_second_set_of_its_own():
    assert not any(arm.name.endswith(PAPER) for arm in arms_of(_labels()))


@pytest.fixture(scope="module")
def labels(small_sae) -> ModalityDominance:
    return Study.open(small_sae).labels


def test_arms_are_the_classes_of_both_scores(labels):
    arms = {arm.name: arm for arm in arms_of(labels)}
    for name in ("ImgD", "TextD", "CrossD"):
        assert arms[name].mask.nonzero()[:, 0].tolist() == labels.latents(name)
        by_paper = arms[f"{name} (paper)"]
        assert by_paper.mask.nonzero()[:, 0].tolist() == labels.by_paper_score.latents(name)
        assert (arms[name].score, by_paper.score) == ("carried", "mean_of_ratios")


def test_a_split_concept_goes_as_a_whole(labels):
    arms = {arm.name: arm for arm in arms_of(labels)}
    masks = {name: arms[f"{name} concepts"].mask for name in ("ImgD", "TextD", "CrossD")}
    n_split = dict.fromkeys(masks, 0)
    for concept in labels.concepts.values():
        members = list(concept.latents)
        for name, mask in masks.items():
            is_of = labels.concept_class(concept) == name
            assert mask[members].all() if is_of else not mask[members].any()
            n_split[name] += is_of
    alone = [k for k in range(labels.n_features) if labels.concept_of(k) is None]
    for name, mask in masks.items():
        of_class = {k for k in alone if labels.classes[k] == name}
        assert {k for k in alone if mask[k]} == of_class
        assert arms[f"{name} concepts"].n_concepts == len(of_class) + n_split[name]
