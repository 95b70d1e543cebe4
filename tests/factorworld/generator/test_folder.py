"""The folder: diffusers alone loads it, and a picture comes out that the prompt decides."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import load_file, save_file

from mm_sae_plugin import UserError
from mm_sae_plugin.factorworld.generator import DEFAULTS, load_generator, save_generator
from tests.factorworld.generator.tiny import tiny_pipeline

_FEW = DEFAULTS | {"num_inference_steps": 2, "prior_num_inference_steps": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator") / "tiny"
    save_generator(tiny_pipeline(), folder)
    return folder


@pytest.fixture(scope="module")
def pipeline(folder):
    return load_generator(folder)


def _picture(pipeline, prompt, seed=0, **changes):
    chance = torch.Generator().manual_seed(seed)
    image = pipeline(prompt, generator=chance, **_FEW | changes).images[0]
    assert image.size == (64, 64)
    return np.asarray(image).astype(int)


def test_plain_diffusers_loads_the_folder_and_draws(folder, pipeline):
    plain = DiffusionPipeline.from_pretrained(folder)
    plain.set_progress_bar_config(disable=True)
    assert plain.unet.dtype == torch.float32
    picture = _picture(plain, "one big red ball left")
    assert np.array_equal(picture, _picture(pipeline, "one big red ball left"))


def test_prompt_seed_and_guidance_decide_the_picture(pipeline):
    first = _picture(pipeline, "one big red ball left")
    assert not np.array_equal(first, _picture(pipeline, "two small blue cars right"))
    assert not np.array_equal(first, _picture(pipeline, "one big red ball left", seed=1))
    plain = _picture(pipeline, "one big red ball left", guidance_scale=1.0)
    assert not np.array_equal(first, plain)


def test_the_joint_text_embedding_is_the_only_way_in(pipeline):
    """An edit of the joint embedding that makes one prompt another draws the other's picture."""
    encoder = pipeline.prior_text_encoder
    ids = pipeline.prior_tokenizer(
        ["two small blue cars right"], padding="max_length", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        other = encoder(ids).text_embeds[0]

    prompts = iter([other[None]])

    def swap(module, args, output):
        # The prompt is encoded before the empty caption.
        return next(prompts, output)

    hook = encoder.text_projection.register_forward_hook(swap)
    try:
        swapped = _picture(pipeline, "one big red ball left")
    finally:
        hook.remove()
    assert np.array_equal(swapped, _picture(pipeline, "two small blue cars right"))


def test_no_generator_and_a_part_that_is_missing_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="There is no generator in"):
        load_generator(tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["mm_sae_plugin.factorworld.generator.unet", "NoSuchUNet"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="could not be loaded"):
        load_generator(tmp_path)


def test_missing_weights_and_an_index_that_says_nothing(tmp_path):
    save_generator(tiny_pipeline(), tmp_path / "half")
    (path,) = (tmp_path / "half/unet").glob("*.safetensors")
    save_file(dict(sorted(load_file(path).items())[::2]), path, {"format": "pt"})
    with pytest.raises(UserError, match=r"The unet in .*half lacks \d+ of its \d+ weights"):
        load_generator(tmp_path / "half")
    for content in ("{}", "[]", "[" * 100_000):
        (tmp_path / "half/model_index.json").write_text(content)
        with pytest.raises(UserError, match="does not say which pipeline this is"):
            load_generator(tmp_path / "half")


def test_the_package_does_not_import_diffusers():
    code = "import sys, mm_sae_plugin, mm_sae_plugin.factorworld; print('diffusers' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "False", answer.stderr


def test_without_diffusers_one_sentence_says_what_to_install():
    code = (
        "import sys; sys.modules['diffusers'] = None\n"
        "from mm_sae_plugin.errors import UserError\n"
        "try:\n    import mm_sae_plugin.factorworld.generator\n"
        "except UserError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Drawing pictures needs diffusers" in done.stdout, done.stderr
