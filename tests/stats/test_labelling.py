"""What can be labelled, and what is told where it cannot."""

import pytest
import torch
from sae_lens import StandardSAE, StandardSAEConfig

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.saes.normalization import ModalityNormalization
from mm_sae_plugin.stats import ModalityDominance, ModalityStatistics
from mm_sae_plugin.stats.labelling import inspect_store, label_store
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
