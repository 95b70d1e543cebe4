"""However many pairs of the second pass are read at a time, the same is counted."""

from typing import cast

import torch

from mm_sae_plugin.stats import Reading, run_pass
from mm_sae_plugin.stats.carried import partners, readings
from mm_sae_plugin.stats.carried.moments import ProbeMoments
from mm_sae_plugin.stats.carried.partners import PartnerCounts, candidates
from mm_sae_plugin.stats.carried.probes import fit_probes
from mm_sae_plugin.stats.carried.readings import ReadingCounts
from tests.stats.fakes import FakeFeatureMap, random_store

N_FEATURES = 100


def test_what_waits_is_counted_once_and_for_its_own_latents(monkeypatch):
    store = random_store(n_images=300)
    # Codes from faint to strong, few of them and many.
    feature_map = FakeFeatureMap(12, N_FEATURES, bias=-0.8)
    moments = ProbeMoments.of(store, N_FEATURES)
    (first,) = run_pass(store, [Reading(feature_map, {"moments": moments})])
    filled = cast(ProbeMoments, first["moments"])
    probes = fit_probes(filled, 1e-3, 0.1)

    def second() -> tuple[ReadingCounts, PartnerCounts]:
        together = PartnerCounts(candidates(filled, probes), probes)
        sums = {"readings": ReadingCounts(probes), "partners": together}
        (taken,) = run_pass(store, [Reading(feature_map, sums)], part_size=200)
        return cast(ReadingCounts, taken["readings"]), cast(PartnerCounts, taken["partners"])

    read, met = second()
    images = feature_map.encode(store.images[store.image_index], "image") > probes.threshold
    texts = feature_map.encode(store.texts, "text") > probes.threshold
    own = torch.where(probes.on_image, images, texts)
    for counts in read.counts.values():
        assert torch.equal(counts[:, 1].sum((0, 2)), own.sum(0).int())
        assert torch.equal(counts.sum((0, 1, 3)), torch.full((N_FEATURES,), len(own)).int())
    for latent in (0, 41, 99):
        other = texts if probes.on_image[latent] else images
        both = own[:, latent, None] & other[:, met.candidates[latent]]
        assert torch.equal(met.together[latent], both.sum(0))
    for module in (readings, partners):
        monkeypatch.setattr(module, "_ROWS", 1)
    alone, met_alone = second()
    assert torch.equal(met.together, met_alone.together)
    for side, counts in read.counts.items():
        # A product of other sizes may round a reading over the border of its bin.
        moved = (counts - alone.counts[side]).abs().sum()
        assert int(moved) <= 1e-3 * int(counts.sum())
