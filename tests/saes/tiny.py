"""Small SAEs with random weights."""

import torch
from sae_lens import SAE, JumpReLUSAE, JumpReLUSAEConfig, TopKSAE, TopKSAEConfig

METADATA = {
    "model_name": "tiny",
    "weights_id": "sha256:aaaa",
    "hook_name": "vision.hook_proj",
    "hook_name_image": "vision.hook_proj",
    "hook_name_text": "text.hook_proj",
}


def tiny_sae(architecture: str = "topk", seed: int = 0, **metadata: object) -> SAE:
    """Return an inference SAE from 8 to 16 dimensions with nothing left at zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if architecture == "topk":
            sae = TopKSAE(TopKSAEConfig(d_in=8, d_sae=16, k=3))
        else:
            sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=8, d_sae=16))
            sae.threshold.data.uniform_(0.3, 0.6)
        sae.b_enc.data.normal_(std=0.1)
        sae.b_dec.data.normal_(std=0.3)
    for name, value in {**METADATA, **metadata}.items():
        sae.cfg.metadata[name] = value
    return sae
