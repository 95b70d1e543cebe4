"""Pipelines, encoders and settings that are refused, each with its reason in one sentence."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mm_sae_plugin import Study
from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit, steer_pipeline
from mm_sae_plugin.interventions.pipelines import find_site
from mm_sae_plugin.models import load_model
from mm_sae_plugin.pairs import load_pairs
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.interventions.pipelines import parts
from tests.interventions.pipelines.tiny import CASES, draw
from tests.interventions.pipelines.watching import is_untouched


def _built(name: str, clip_folder: Any) -> Any:
    return CASES[name].build(clip_folder)


def _refused(told: str, pipeline: Any, study: Study, edit: FeatureEdit, **more: Any) -> None:
    with pytest.raises(UserError, match=told), steer_pipeline(pipeline, study, edit, **more):
        pass


def test_token_states_are_not_the_joint_space(clip_folder, study, edit):
    pipeline = _built("StableDiffusionPipeline", clip_folder)
    pipeline.unload_ip_adapter()
    told = "StableDiffusionPipeline cannot be steered: its prompt arrives as token states"
    _refused(told, pipeline, study, edit)


def test_an_adapter_without_a_picture_is_told(clip_folder, study, edit):
    for name in ("StableDiffusionPipeline", "StableDiffusionXLPipeline with an adapter"):
        case = CASES[name]
        pipeline = case.build(clip_folder)
        with (
            pytest.raises(UserError, match="without a picture for its IP-Adapter"),
            steer_pipeline(pipeline, study, edit),
        ):
            draw(pipeline, case, ip_adapter_image=None)
        assert is_untouched(pipeline)


def test_other_adapters_are_named_with_what_they_read(clip_folder, study, edit):
    from diffusers.models.embeddings import (
        IPAdapterFaceIDImageProjection,
        IPAdapterPlusImageProjection,
    )

    pipeline = _built("StableDiffusionXLPipeline with an adapter", clip_folder)
    layers = pipeline.unet.encoder_hid_proj.image_projection_layers
    base = layers[0]
    layers[0] = IPAdapterPlusImageProjection(
        embed_dims=32, output_dims=64, hidden_dims=32, depth=1, dim_head=8, heads=2
    )
    _refused(
        r"IP-Adapter \(IPAdapterPlusImageProjection\) reads patch tokens", pipeline, study, edit
    )
    layers[0] = IPAdapterFaceIDImageProjection(image_embed_dim=32, cross_attention_dim=64)
    _refused("reads the embedding of a face recogniser", pipeline, study, edit)
    layers[0] = base
    layers.append(base)
    _refused("it has 2 IP-Adapters", pipeline, study, edit)
    # The prompt's embedding is still there to be edited.
    assert find_site(pipeline, "pooled_text").modality == "text"
    _refused(
        "no edit site 'text': choose 'ip_adapter' or 'pooled_text'",
        pipeline,
        study,
        edit,
        site="text",
    )


def test_unknown_classes_hear_which_are_known_nearest_first(clip_folder, study, edit):
    from diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_controlnet import (
        KandinskyV22ControlnetPipeline,
    )

    pipeline = KandinskyV22ControlnetPipeline(
        parts.kandinsky_unet(), parts.scheduler(), parts.movq()
    )
    _refused(
        "in the class KandinskyV22ControlnetPipeline: steer one of KandinskyV22InpaintPipeline|"
        "in the class KandinskyV22ControlnetPipeline: steer one of KandinskyV22CombinedPipeline|"
        "in the class KandinskyV22ControlnetPipeline: steer one of KandinskyV22Pipeline",
        pipeline,
        study,
        edit,
    )
    thing: Any
    for thing, told in ((None, "flows in None"), (nn.Linear(2, 2), "flows in a Linear")):
        _refused(told, thing, study, edit)


def test_pipelines_that_nearly_fit_hear_why_they_do_not(clip_folder, study, edit):
    from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
    from diffusers.pipelines.flux.pipeline_flux_prior_redux import FluxPriorReduxPipeline
    from diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_prior import (
        KandinskyV22PriorPipeline,
    )
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    encoder = SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        )
    )
    redux = FluxPriorReduxPipeline(
        encoder, SiglipImageProcessor(size={"height": 32, "width": 32}), ReduxImageEncoder(32, 16)
    )
    # Sixteen patches, and no pooled vector.
    image = torch.rand(1, 3, 32, 32)
    assert redux.encode_image(image, "cpu", 1).shape == (1, 16, 32)
    _refused("FluxPriorReduxPipeline .*patch tokens of SigLIP's last layer", redux, study, edit)
    prior = KandinskyV22PriorPipeline(
        parts.prior(),
        parts.vision_tower(clip_folder),
        parts.text_tower(clip_folder),
        parts.tokenizer(clip_folder),
        parts.prior_scheduler(),
        parts.image_processor(clip_folder),
    )
    _refused("makes embeddings and no picture: steer the decoder", prior, study, edit)


def test_a_pipeline_without_its_denoiser_is_told(clip_folder, study, edit):
    pipeline = _built("KandinskyV22Pipeline", clip_folder)
    pipeline.unet = None
    _refused("KandinskyV22Pipeline lacks its unet", pipeline, study, edit)


@pytest.mark.parametrize(
    ("name", "part", "tower"),
    [
        ("KandinskyV22CombinedPipeline", "prior_image_encoder", parts.vision_tower),
        ("KandinskyV22CombinedPipeline", "prior_text_encoder", parts.text_tower),
        ("StableDiffusionPipeline", "image_encoder", parts.vision_tower),
        ("StableDiffusionXLPipeline", "text_encoder_2", parts.text_tower),
        ("StableUnCLIPImg2ImgPipeline", "image_encoder", parts.vision_tower),
        ("StableDiffusionImageVariationPipeline", "image_encoder", parts.vision_tower),
    ],
)
def test_an_sae_of_another_encoder_is_refused_with_both_named(
    name, part, tower, clip_folder, study, edit, tmp_path
):
    other = parts.save_clip(tmp_path / "other", seed=1)
    pipeline = _built(name, clip_folder)
    setattr(pipeline, part, tower(other))
    told = (
        rf"trained on hf:{clip_folder} \(sha256:\w+\), but the \w+ encoder of {name} is "
        rf"CLIP\w+WithProjection \({other}, sha256:\w+\); .* agree to a cosine of -?0\.\d\d"
    )
    _refused(told, pipeline, study, edit)
    assert is_untouched(pipeline)
    wider = parts.save_clip(tmp_path / "wider", projection_dim=24)
    setattr(pipeline, part, tower(wider))
    _refused(rf"{wider}, sha256:\w+\): use an SAE of that encoder", pipeline, study, edit)


def test_half_precision_and_equal_weights_are_the_same_encoder(clip_folder, study, edit):
    pipeline = _built("StableDiffusionImageVariationPipeline", clip_folder)
    for dtype in (torch.bfloat16, torch.float16):
        pipeline.image_encoder = parts.vision_tower(clip_folder).to(dtype)
        context = steer_pipeline(pipeline, study, edit)
        context.__enter__()
        with pytest.raises(UserError, match="denoised nothing"):
            context.__exit__(None, None, None)


def test_hooks_on_the_studys_encoder_do_not_disturb_the_comparison(clip_folder, study, edit):
    case = CASES["StableDiffusionImageVariationPipeline"]
    pipeline = case.build(clip_folder)
    with (
        study.model.hooks([("vision.hook_pooled", lambda acts, hook: acts * 0 + 1)]),
        steer_pipeline(pipeline, study, edit) as record,
    ):
        draw(pipeline, case)
    assert record.n_edited


@pytest.mark.usefixtures("any_types")
def test_a_decoder_without_an_encoder_says_that_nobody_checked(clip_folder, study, edit, tmp_path):
    case = CASES["KandinskyV22Pipeline"]
    pipeline = case.build(clip_folder)
    with (
        pytest.warns(UserWarning, match="holds no encoder, so whether the SAE .* was not checked"),
        steer_pipeline(pipeline, study, edit),
    ):
        steered = draw(pipeline, case)
    own = parts.vision_tower(clip_folder)
    with steer_pipeline(pipeline, study, edit, encoder=own):
        assert np.array_equal(draw(pipeline, case), steered)
    # Nor can vectors of another width be edited.
    narrow = dict(image_embeds=torch.ones(2, 24), negative_image_embeds=torch.ones(2, 24))
    with (
        pytest.raises(UserError, match="width"),
        steer_pipeline(pipeline, study, edit, encoder=own),
    ):
        draw(pipeline, case, **narrow)
    other = parts.vision_tower(parts.save_clip(tmp_path / "other", seed=1))
    _refused("use an SAE of that encoder", pipeline, study, edit, encoder=other)


def test_an_sae_that_is_not_in_the_joint_space_is_refused(clip_folder, tmp_path):
    for sites, name, told in (
        (
            ExtractConfig(image_hook="vision.hook_pooled", text_hook="text.hook_pooled"),
            "StableDiffusionImageVariationPipeline",
            "sits at 'vision.hook_pooled', and pipelines hand on vectors of the joint space",
        ),
        (
            ExtractConfig(image_hook="vision.hook_normalized", text_hook=None),
            "StableDiffusionXLPipeline",
            "trained without text activations, and text embeddings flow",
        ),
    ):
        store = extract(
            load_model(f"hf:{clip_folder}"),
            load_pairs("factorworld:200"),
            tmp_path / name / "acts",
            sites,
            progress=False,
        )
        sae_dir = tmp_path / name / "sae"
        cfg = MultimodalSAERunnerConfig(
            out=sae_dir, d_sae=32, k=4, training_steps=20, train_batch_size_samples=64
        )
        MultimodalSAETrainingRunner(cfg, store).run()
        study = Study.open(sae_dir)
        edit = FeatureEdit.ablate(study, latents=[0])
        _refused(told, _built(name, clip_folder), study, edit)


def test_a_noise_level_that_erases_the_edit_is_refused(clip_folder, study, edit):
    case = CASES["StableUnCLIPImg2ImgPipeline"]
    pipeline = case.build(clip_folder)
    moves = []
    for level in (0, 400, 800):
        plain = draw(pipeline, case, noise_level=level)
        with steer_pipeline(pipeline, study, edit):
            moves.append(np.abs(draw(pipeline, case, noise_level=level) - plain).mean())
    assert moves[0] > moves[1] > moves[2] > 0
    with (
        pytest.raises(UserError, match=r"noise_level=999 leaves 0\.00% of the image's embedding"),
        steer_pipeline(pipeline, study, edit),
    ):
        draw(pipeline, case, noise_level=999)
    assert is_untouched(pipeline)


def test_block_caches_are_counted_and_refused(clip_folder, study, edit):
    from diffusers.hooks.faster_cache import FasterCacheConfig, apply_faster_cache
    from diffusers.hooks.first_block_cache import FirstBlockCacheConfig, apply_first_block_cache

    pipeline = _built("StableDiffusionImageVariationPipeline", clip_folder)
    # diffusers looks for blocks at the root of what it is given.
    caches = {
        "FirstBlockCache": lambda root: apply_first_block_cache(root, FirstBlockCacheConfig(0.1)),
        "FasterCache": lambda root: apply_faster_cache(root, FasterCacheConfig()),
    }
    for name, apply in caches.items():
        pipeline.unet = parts.unet(transformer_layers_per_block=3)
        apply(pipeline.unet.down_blocks[1].attentions[0])
        modules = list(pipeline.unet.modules())
        n = sum(hasattr(module, "_diffusers_hook") for module in modules)
        assert n >= 3
        told = f"{name} hangs on {n} of the {len(modules)} modules of UNet2DConditionModel"
        _refused(told, pipeline, study, edit)


def test_a_cache_that_comes_later_is_noticed_at_the_next_picture(clip_folder, study, edit):
    from diffusers.hooks.faster_cache import FasterCacheConfig, apply_faster_cache

    case = CASES["StableDiffusionImageVariationPipeline"]
    pipeline = case.build(clip_folder)
    with (
        pytest.raises(UserError, match="FasterCache hangs on"),
        steer_pipeline(pipeline, study, edit),
    ):
        draw(pipeline, case)
        apply_faster_cache(pipeline.unet, FasterCacheConfig())
        draw(pipeline, case)


@pytest.mark.usefixtures("any_types")
@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"half": "left"}, "half must be both, cond or uncond"),
        ({"steps": (3, 1)}, "0 <= start < stop"),
        ({"strength": float("inf")}, "strength must be a finite number"),
    ],
)
def test_wrong_settings_get_one_sentence(clip_folder, study, edit, more, told):
    _refused(told, _built("StableDiffusionXLPipeline", clip_folder), study, edit, **more)


@pytest.mark.usefixtures("any_types")
def test_parts_of_another_kind_are_named(clip_folder, study, edit):
    pipeline = _built("StableDiffusionXLPipeline", clip_folder)
    wrong: Any = "sae"
    _refused("a Study, .*, not a str", pipeline, wrong, edit)
    _refused("a FeatureEdit, .*, not a str", pipeline, study, wrong)
