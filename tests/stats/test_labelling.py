"""What can be labelled, and what is told where it cannot."""

from functools import cached_property

import pandas as pd
import pytest
import torch
from sae_lens import StandardSAE, StandardSAEConfig

from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.models import load_model
from mm_sae_plugin.pairs import load_pairs
from mm_sae_plugin.saes.normalization import ModalityNormalization
from mm_sae_plugin.stats import ModalityDominance, ModalityStatistics, labelling, run_pass
from mm_sae_plugin.stats.carried import score
from mm_sae_plugin.stats.labelling import inspect_store, label_store
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.activations.pictures import noise_pairs
from tests.activations.tiny import tiny_clip


@pytest.mark.parametrize("more", [{}, {"image_hook": "vision.blocks.0.hook_mlp_out"}])
def test_a_store_of_images_alone_is_refused(tmp_path, more):
    token_mode = "all" if more else None
    cfg = ExtractConfig(text_hook=None, num_workers=0, token_mode=token_mode, **more)
    store = extract(tiny_clip(), noise_pairs(8), tmp_path / "s", cfg, progress=False)
    d_in = store.image_rows().shape[1]
    sae = StandardSAE(StandardSAEConfig(d_in=d_in, d_sae=6))
    feature_map = SAEFeatureMap(sae, ModalityNormalization.load(tmp_path, "none", d_in))
    with pytest.raises(UserError, match="the store holds images alone"):
        label_store(feature_map, store)
    stats = ModalityStatistics(6)
    stats.update(torch.ones(20, 6), torch.ones(20, 6), torch.arange(20))
    with pytest.raises(UserError, match="the store holds images alone"):
        inspect_store(feature_map, store, ModalityDominance.from_statistics(stats))


class WithoutLabels(ActivationStore):
    """The same pairs, with nothing known of them."""

    @cached_property
    def labels(self) -> dict[str, list[str]]:
        return {}


def test_labels_are_the_same_where_no_truth_is_known(tmp_path, monkeypatch):
    pairs = load_pairs("factorworld:1000")
    store = extract(load_model("factorworld"), pairs, tmp_path / "s", progress=False)
    cfg = MultimodalSAERunnerConfig(d_sae=128, k=12, training_steps=150)
    trained = MultimodalSAETrainingRunner(cfg, store).run()
    feature_map = SAEFeatureMap(trained.sae, trained.normalization)
    passes = []
    for module in (labelling, score):
        monkeypatch.setattr(
            module, "run_pass", lambda *args, **more: passes.append(1) or run_pass(*args, **more)
        )
    known = label_store(feature_map, store)
    # One for every sum, of the untrained SAE and of the centred one too; another for `carried`.
    assert len(passes) == 2
    unknown = label_store(feature_map, WithoutLabels.open(tmp_path / "s"))
    assert known.truth is not None and unknown.truth is None
    assert len(set(known.dominance.classes)) >= 4
    pd.testing.assert_frame_equal(
        known.dominance.table(), unknown.dominance.table(), check_exact=True
    )
