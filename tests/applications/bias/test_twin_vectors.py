"""Twins are embedded once, and their vectors are those of the model."""

import torch

from mm_sae_plugin.applications.bias import twin_vectors
from mm_sae_plugin.applications.bias.embedding import embed_pictures
from mm_sae_plugin.applications.bias.twin_audit import audit_twins
from mm_sae_plugin.applications.bias.twin_vectors import TwinVectors
from mm_sae_plugin.applications.bias.twins import GENDER, NUISANCES, draw_twins
from mm_sae_plugin.models import load_model


def test_a_second_audit_embeds_nothing_and_finds_the_same(monkeypatch):
    model, embedded = load_model("factorworld"), []

    def counted(*given):
        embedded.append(len(given[1]))
        return embed_pictures(*given)

    monkeypatch.setattr(twin_vectors, "embed_pictures", counted)
    vectors = TwinVectors(model)
    first = audit_twins(model, n_per_target=2, vectors=vectors)
    assert embedded == [32] * (1 + len(NUISANCES))
    assert audit_twins(model, n_per_target=2, vectors=vectors) == first
    assert len(embedded) == 1 + len(NUISANCES)
    assert audit_twins(model, n_per_target=2) == first
    assert len(embedded) == 2 * (1 + len(NUISANCES))
    twins = draw_twins(GENDER, 2)
    expected = embed_pictures(model, [*twins.first, *twins.second])
    assert torch.equal(vectors.of(twins), expected)


def test_the_band_of_no_bias_is_that_of_swapped_labels():
    audit = audit_twins(load_model("factorworld-biased"), n_per_target=15)
    for found in audit.targets.values():
        low, high = found.no_bias
        # Each way to swap the pairs has its opposite, and the gaps of this model are beyond most.
        assert low < 0 < high < abs(found.gap) and abs(low + high) < 0.2 * high
