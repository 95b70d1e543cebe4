"""Parts of diffusers pipelines, shrunk by their configs, with random weights."""

from pathlib import Path
from typing import Any

import torch

from mm_sae_plugin.factorworld.embedded import load_embedded

CTX, WIDTH, SIZE = 32, 32, 32


def save_clip(folder: Path, seed: int = 0, projection_dim: int = WIDTH) -> Path:
    """Write a CLIP with its tokenizer and image processor, as ``hf:FOLDER`` is loaded."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = load_embedded("factorworld").tokenizer.words
    ids = {"<pad>": 0, "<start>": 1, "<unk>": 2, **{w: i for i, w in enumerate(words, start=3)}}
    ids["<end>"] = len(ids)
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="<start> $A <end>", special_tokens=[(n, ids[n]) for n in ("<start>", "<end>")]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=CTX,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<start>",
        eos_token="<end>",
    ).save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    ).save_pretrained(folder)
    # Many a model has near-zero weights by default, and edits would then vanish.
    both = dict(
        hidden_size=WIDTH,
        intermediate_size=48,
        num_attention_heads=2,
        initializer_range=0.2,
        projection_dim=projection_dim,
    )
    vision = dict(both, num_hidden_layers=2, image_size=SIZE, patch_size=8)
    text = dict(
        both,
        num_hidden_layers=2,
        vocab_size=len(ids),
        max_position_embeddings=CTX,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=ids["<end>"],
    )
    torch.manual_seed(seed)
    config = transformers.CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=projection_dim
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def image_processor(folder: Path) -> Any:
    """The image processor of a folder."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor.from_pretrained(folder)


def vision_tower(folder: Path) -> Any:
    """The vision tower of a folder, as pipelines hold it."""
    from transformers import CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection.from_pretrained(folder).eval()


def text_tower(folder: Path) -> Any:
    """The text tower of a folder, with its projection."""
    from transformers import CLIPTextModelWithProjection

    return CLIPTextModelWithProjection.from_pretrained(folder).eval()


def plain_text_tower(folder: Path) -> Any:
    """The text tower of a folder, without its projection."""
    from transformers import CLIPTextModel

    return CLIPTextModel.from_pretrained(folder).eval()


def scheduler() -> Any:
    """Any scheduler of whole steps."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(
        beta_schedule="linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )


def vae() -> Any:
    """A codec of 2 × 2 pixels."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(1)
    settings: dict[str, Any] = dict(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIZE,
    )
    return AutoencoderKL(**settings).eval()


def movq() -> Any:
    """Kandinsky's codec."""
    from diffusers.models.autoencoders.vq_model import VQModel

    torch.manual_seed(1)
    return VQModel(
        block_out_channels=(32, 64),
        # Its normalisation has 32 groups, whatever is asked for.
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        norm_num_groups=8,
        norm_type="spatial",
        num_vq_embeddings=12,
        vq_embed_dim=4,
    ).eval()


def unet(**settings: Any) -> Any:
    """A UNet with cross attention; settings as each pipeline needs them."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    usual = dict(
        sample_size=SIZE // 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    torch.manual_seed(2)
    return UNet2DConditionModel(**(usual | settings)).eval()  # pyright: ignore[reportArgumentType]


def kandinsky_unet(**settings: Any) -> Any:
    """Kandinsky 2.2's kind of UNet, which reads nothing but an image embedding."""
    usual = dict(
        in_channels=4,
        out_channels=8,
        addition_embed_type="image",
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="image_proj",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        resnet_time_scale_shift="scale_shift",
    )
    return unet(**(usual | settings))


def prior() -> Any:
    """Kandinsky's prior."""
    from diffusers.models.transformers.prior_transformer import PriorTransformer

    torch.manual_seed(3)
    prior = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        embedding_dim=WIDTH,
        num_embeddings=CTX,
    )
    # It begins at 0, which makes all embeddings one.
    prior.clip_std.data.fill_(1.0)
    return prior.eval()


def prior_scheduler() -> Any:
    """The scheduler of Kandinsky's prior."""
    from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler

    return UnCLIPScheduler(
        variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0
    )


def ip_adapter(unet: Any) -> dict[str, Any]:
    """Weights of a base IP-Adapter, as ``load_ip_adapter`` takes them."""
    from diffusers.models.attention_processor import IPAdapterAttnProcessor
    from diffusers.models.embeddings import ImageProjection

    torch.manual_seed(4)
    width = unet.config.cross_attention_dim
    attention: dict[str, Any] = {}
    number = 1
    for name in unet.attn_processors:
        if name.endswith("attn1.processor"):
            continue
        owner = unet.get_submodule(name.removesuffix(".processor"))
        hidden = owner.to_q.out_features
        # As strong as the text, so that the picture shows it.
        ready = IPAdapterAttnProcessor(hidden, width).state_dict()
        attention[f"{number}.to_k_ip.weight"] = ready["to_k_ip.0.weight"] * 4
        attention[f"{number}.to_v_ip.weight"] = ready["to_v_ip.0.weight"] * 4
        number += 2
    projection = ImageProjection(WIDTH, width, num_image_text_embeds=4).state_dict()
    named = {
        "proj.weight": projection["image_embeds.weight"],
        "proj.bias": projection["image_embeds.bias"],
        "norm.weight": projection["norm.weight"],
        "norm.bias": projection["norm.bias"],
    }
    return {"image_proj": named, "ip_adapter": attention}
