"""Models of every supported family, shrunk by their configs, with random weights.

Each builder returns a :class:`Tiny`: the model and how its authors would run it, which is what
``HookedCLIP`` is compared with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CTX = 12
VOCAB = 100
EOS = VOCAB - 1
SIZE = 32


@dataclass(frozen=True)
class Tiny:
    """A small model and its own way of embedding."""

    clip: Any
    embed: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    size: int = SIZE

    def inputs(self, n: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Draw pixels and captions; every caption ends at another place."""
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randn(n, 3, self.size, self.size, generator=generator)
        tokens = torch.randint(3, EOS, (n, CTX), generator=generator)
        for row in range(n):
            tokens[row, 4 + row] = EOS
            tokens[row, 5 + row :] = 0
        return pixels, tokens


VISION = dict(layers=2, width=32, head_width=16, patch_size=8, image_size=SIZE)
TEXT = dict(context_length=CTX, vocab_size=VOCAB, width=24, heads=2, layers=3)
SIGLIP_TEXT = dict(TEXT, pool_type="last", no_causal_mask=True, proj_bias=True)


def _own_forward(clip: Any, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    return clip(pixels, tokens)[:2]


def _open_clip(
    vision: dict | None = None,
    text: dict | None = None,
    custom: bool = False,
    size: int = SIZE,
    d_joint: int = 16,
) -> Tiny:
    from open_clip.model import CLIP, CustomTextCLIP

    torch.manual_seed(0)
    cls: Any = CustomTextCLIP if custom else CLIP
    clip = cls(d_joint, {**VISION, **(vision or {})}, {**TEXT, **(text or {})}).eval()
    return Tiny(clip, partial(_own_forward, clip), size)


def _token_first() -> Tiny:
    """A ViT whose blocks run as [token, batch, d], as OpenAI's own do."""
    from open_clip.transformer import Transformer

    tiny = _open_clip()
    for owner, width, layers in ((tiny.clip.visual, 32, 2), (tiny.clip, 24, 3)):
        transformer = Transformer(width, layers, 2, batch_first=False)
        transformer.load_state_dict(owner.transformer.state_dict())
        owner.transformer = transformer.eval()
    return tiny


def _coca() -> Tiny:
    from open_clip.coca_model import CoCa

    torch.manual_seed(0)
    vision = dict(
        VISION,
        attentional_pool=True,
        attn_pooler_queries=5,
        attn_pooler_heads=2,
        output_tokens=True,
    )
    text = dict(TEXT, embed_cls=True, output_tokens=True)
    decoder = dict(context_length=CTX, vocab_size=VOCAB, width=24, heads=2, layers=1)
    build_coca: Any = CoCa
    clip = build_coca(16, decoder, text, vision).eval()
    return Tiny(clip, lambda x, t: (clip.encode_image(x), clip.encode_text(t)))


def _hugging_face_text(folder: Path) -> Tiny:
    """An open_clip model whose text tower is a BERT of transformers."""
    from transformers import BertConfig

    BertConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    ).save_pretrained(folder)
    text = dict(hf_model_name=str(folder), hf_model_pretrained=False, hf_proj_type="linear")
    return _open_clip(text=text, custom=True)


_HF_VISION = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=SIZE,
    patch_size=8,
)
_HF_TEXT = dict(
    vocab_size=VOCAB,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=2,
    max_position_embeddings=CTX,
    bos_token_id=1,
    pad_token_id=0,
)


def _transformers(kind: str, eos_token_id: int = EOS) -> Tiny:
    import transformers

    torch.manual_seed(0)
    text = dict(_HF_TEXT, eos_token_id=eos_token_id)
    # Many a test model has near-zero weights by default, and edits would then vanish.
    spread = dict(initializer_range=0.2)
    if kind == "clip":
        config = transformers.CLIPConfig(
            text_config={**text, **spread},
            vision_config={**_HF_VISION, **spread},
            projection_dim=16,
        )
        clip = transformers.CLIPModel(config)
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=_HF_VISION)
        clip = transformers.SiglipModel(config)
    return Tiny(clip.eval(), partial(_transformers_forward, clip))


def _transformers_forward(clip: nn.Module, pixels: Tensor, tokens: Tensor) -> Any:
    output = clip(input_ids=tokens, pixel_values=pixels)
    return output.image_embeds, output.text_embeds


_SMALL: dict[str, Any] = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
TIMM_TRUNKS: dict[str, dict[str, Any]] = {
    # The projection into the joint space is the trunk's own head, and tokens have rotary positions.
    "eva02_base_patch16_clip_224": dict(_SMALL, timm_pool="token", timm_proj=None),
    "eva_giant_patch14_224": dict(_SMALL, timm_pool="token", timm_proj=None),
    "vit_pe_core_tiny_patch16_384": dict(_SMALL, timm_pool="map", timm_proj="linear"),
    "vit_base_patch14_reg4_dinov2": dict(_SMALL, timm_pool="token", timm_proj="linear"),
    "beit_base_patch16_224": dict(_SMALL, timm_pool="avg", timm_proj="linear"),
    "vit_relpos_medium_patch16_cls_224": dict(_SMALL, timm_pool="avg", timm_proj="linear"),
}
"""timm's name of a trunk -> how to shrink it, and how open_clip puts it into a model."""


def build_timm(trunk: str) -> Tiny:
    """Build an open_clip model around one of ``TIMM_TRUNKS``."""
    return _timm_vision(trunk, **TIMM_TRUNKS[trunk])


def _timm_vision(trunk: str, timm_pool: str, timm_proj: str | None, **settings: Any) -> Tiny:
    import timm
    from open_clip.timm_model import TimmModel

    # open_clip's configs cannot shrink a trunk, so it is put into the model afterwards.
    tiny = _open_clip(text=SIGLIP_TEXT, custom=True)
    torch.manual_seed(0)
    visual = TimmModel("test_vit", 16, 160, pool="avg", proj="linear")
    n_classes = 16 if timm_proj is None else 0
    visual.trunk = timm.create_model(
        trunk, num_classes=n_classes, global_pool=timm_pool, **settings
    )
    visual.head = nn.Sequential()
    if timm_proj == "linear":
        visual.head.append(nn.Linear(visual.trunk.num_features, 16))  # pyright: ignore[reportArgumentType]
    visual.image_size = (SIZE, SIZE)
    spread = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in visual.parameters():
            # Layer scales and class tokens begin at almost nothing, where edits would vanish.
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=spread))
    tiny.clip.visual = visual.eval()
    return tiny


BUILDERS: dict[str, Callable[[], Tiny]] = {
    "vit": _open_clip,
    "vit-custom-text": lambda: _open_clip(
        dict(pool_type="avg", ls_init_value=0.3),
        dict(pool_type="eos", eos_id=EOS, ls_init_value=0.3),
        custom=True,
    ),
    "vit-norm-after-pool": lambda: _open_clip(
        dict(final_ln_after_pool=True, no_ln_pre=True, qk_norm=True, scale_attn=True),
        dict(pool_type="first", no_causal_mask=True, proj_type="none", width=16),
        custom=True,
    ),
    "vit-token-first": _token_first,
    "siglip": lambda: _open_clip(
        # Without a projection the joint space is as wide as the trunk.
        dict(timm_model_name="test_vit", timm_pool="map", timm_proj="none", image_size=160),
        SIGLIP_TEXT,
        custom=True,
        size=160,
        d_joint=64,
    ),
    "eva02": lambda: build_timm("eva02_base_patch16_clip_224"),
    "timm-relpos": lambda: build_timm("vit_relpos_medium_patch16_cls_224"),
    "coca": _coca,
    "resnet": lambda: _open_clip(dict(layers=[1, 1, 1, 1], width=8, image_size=64), size=64),
    "convnext": lambda: _open_clip(
        dict(timm_model_name="test_convnext", timm_proj="linear", timm_pool="", image_size=160),
        custom=True,
        size=160,
    ),
    "transformers-clip": lambda: _transformers("clip"),
    "transformers-clip-old-eos": lambda: _transformers("clip", eos_token_id=2),
    "transformers-siglip": lambda: _transformers("siglip"),
}
"""Every family, and the variants of a family whose code takes another path."""

JOINT_ONLY_VISION = ("resnet", "convnext")


def build(name: str, folder: Path | None = None) -> Tiny:
    """Build one tiny model; ``"hugging-face-text"`` needs a folder for its config."""
    if name != "hugging-face-text":
        return BUILDERS[name]()
    assert folder is not None
    return _hugging_face_text(folder)
