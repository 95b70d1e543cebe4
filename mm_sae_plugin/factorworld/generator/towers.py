"""The embedded CLIP as parts of a transformers pipeline: both towers, tokenizer and processor."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

# A pipeline looks for the base class of a part of its own among the names of the part's module.
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    PreTrainedModel as PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.modeling_clip import CLIPVisionModelOutput

from mm_sae_plugin.factorworld.architecture import (
    INPUT_SIZE,
    PIXEL_MEAN,
    PIXEL_STD,
    model_config,
)
from mm_sae_plugin.factorworld.embedded import EmbeddedCLIP
from mm_sae_plugin.factorworld.tokenizer import WORD, WordTokenizer

_MLP_RATIO = 4


class ConvStem(nn.Sequential):
    """Three convolutions in the place of a linear patch embedding."""

    def __init__(self, width: int):
        super().__init__(
            nn.Conv2d(3, width // 4, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 4, width // 2, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
        )

    @property
    def weight(self) -> Tensor:
        """The first weight, from which transformers takes the type of the pixels."""
        weight = self[0].weight
        assert isinstance(weight, Tensor)
        return weight


class StemVisionTower(CLIPVisionModelWithProjection):
    """transformers' CLIP vision tower with the embedded models' convolutional stem.

    A blank picture, whose pixels are all zero after normalisation, is no picture: its embedding is
    the zero vector. Kandinsky's pipelines pass one to say "no condition".
    """

    def __init__(self, config: CLIPVisionConfig):
        super().__init__(config)
        self.vision_model.embeddings.patch_embedding = ConvStem(config.hidden_size)  # pyright: ignore

    def forward(
        self, pixel_values: Float[Tensor, "batch 3 height width"], **kwargs: Any
    ) -> CLIPVisionModelOutput:
        """Return the tower's output; ``image_embeds`` are not of unit length."""
        output = super().forward(pixel_values, **kwargs)
        blank = pixel_values.flatten(1).abs().amax(1, keepdim=True) == 0
        output["image_embeds"] = output["image_embeds"].masked_fill(blank, 0.0)
        return output


@torch.no_grad()
def vision_tower(clip: EmbeddedCLIP) -> StemVisionTower:
    """Return the vision tower of an embedded CLIP as a transformers model, exactly."""
    vision, joint = clip.model_cfg["vision_cfg"], clip.model_cfg["embed_dim"]
    tower = StemVisionTower(
        CLIPVisionConfig(
            hidden_size=vision["width"],
            intermediate_size=_MLP_RATIO * vision["width"],
            projection_dim=joint,
            num_hidden_layers=vision["layers"],
            num_attention_heads=vision["width"] // vision["head_width"],
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            hidden_act="gelu",
        )
    )
    source = {
        name.removeprefix("visual."): value
        for name, value in clip.model.state_dict().items()
        if name.startswith("visual.")
    }
    state = {
        "vision_model.embeddings.class_embedding": source["class_embedding"],
        "vision_model.embeddings.position_embedding.weight": source["positional_embedding"],
        "visual_projection.weight": source["proj"].T,
        **_renamed(source, "conv1", "vision_model.embeddings.patch_embedding"),
        **_renamed(source, "ln_pre", "vision_model.pre_layrnorm"),
        **_renamed(source, "ln_post", "vision_model.post_layernorm"),
        **_layers(source, "vision_model"),
    }
    tower.load_state_dict(_contiguous(state))
    return tower.eval()


@torch.no_grad()
def text_tower(clip: EmbeddedCLIP) -> CLIPTextModelWithProjection:
    """Return the text tower of an embedded CLIP as a transformers model, exactly."""
    text, joint = clip.model_cfg["text_cfg"], clip.model_cfg["embed_dim"]
    tower = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=text["vocab_size"],
            hidden_size=text["width"],
            intermediate_size=_MLP_RATIO * text["width"],
            projection_dim=joint,
            num_hidden_layers=text["layers"],
            num_attention_heads=text["heads"],
            max_position_embeddings=text["context_length"],
            hidden_act="gelu",
            pad_token_id=0,
            bos_token_id=clip.tokenizer.sot_token_id,
            eos_token_id=clip.tokenizer.eot_token_id,
        )
    )
    source = {
        name.removeprefix("text."): value
        for name, value in clip.model.state_dict().items()
        if name.startswith("text.")
    }
    state = {
        "text_model.embeddings.token_embedding.weight": source["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": source["positional_embedding"],
        "text_projection.weight": source["text_projection"].T,
        **_renamed(source, "ln_final", "text_model.final_layer_norm"),
        **_layers(source, "text_model"),
    }
    tower.load_state_dict(_contiguous(state))
    return tower.eval()


def fast_tokenizer(words: WordTokenizer) -> PreTrainedTokenizerFast:
    """Return a transformers tokenizer that gives the ids of a ``WordTokenizer``."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    special = {
        "<pad>": 0,
        "<unk>": words.unk_token_id,
        "<start>": words.sot_token_id,
        "<end>": words.eot_token_id,
    }
    ids = special | {word: index for index, word in enumerate(words.words, start=1)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    # What the expression finds is kept, and all between is dropped.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD.pattern), "removed", invert=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[(name, special[name]) for name in ("<start>", "<end>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=words.context_length,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<start>",
        eos_token="<end>",
    )


def image_processor() -> CLIPImageProcessor:
    """Return the transformers processor that prepares pictures as the embedded CLIPs do."""
    return CLIPImageProcessor(
        size={"shortest_edge": INPUT_SIZE},
        crop_size={"height": INPUT_SIZE, "width": INPUT_SIZE},
        image_mean=list(PIXEL_MEAN),
        image_std=list(PIXEL_STD),
    )


def joint_width() -> int:
    """Return the width of the embedded models' joint space."""
    return model_config()["embed_dim"]


def _layers(source: dict[str, Tensor], model: str) -> dict[str, Tensor]:
    """Return the transformer layers of an open_clip tower under the names of transformers."""
    names = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    state = {}
    for key, value in source.items():
        if not key.startswith("transformer.resblocks."):
            continue
        number, part = key.removeprefix("transformer.resblocks.").split(".", 1)
        layer = f"{model}.encoder.layers.{number}"
        if part.startswith("attn.in_proj_"):
            kind = part.removeprefix("attn.in_proj_")
            for name, third in zip("qkv", value.chunk(3), strict=True):
                state[f"{layer}.self_attn.{name}_proj.{kind}"] = third
            continue
        name, kind = part.rsplit(".", 1)
        state[f"{layer}.{names[name]}.{kind}"] = value
    return state


def _renamed(source: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    prefix = f"{old}."
    return {
        f"{new}.{key.removeprefix(prefix)}": value
        for key, value in source.items()
        if key.startswith(prefix)
    }


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # Safetensors saves no transposed views.
    return {key: value.contiguous() for key, value in state.items()}
