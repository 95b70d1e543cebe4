"""Another toolkit's SAE as a folder that SAELens and this package open."""

import pytest
import torch
from sae_lens import SAE

from mm_sae_plugin import Study
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import convert_sae, load_sae
from tests.saes.converters.files import (
    random_state,
    rows,
    write_prisma,
    write_saev,
)
from tests.saes.converters.test_saev import FIRST, SCHEMA_1


def test_prismas_sae_opens_with_plain_saelens_and_as_a_study(tmp_path):
    state, x = random_state(), rows()
    source = write_prisma(tmp_path / "theirs", state, normalize_activations="none")
    folder = convert_sae(source, "prisma", tmp_path / "ours")
    codes = ((x - state["b_dec"]) @ state["W_enc"] + state["b_enc"]).clamp(min=0)
    for opened in (SAE.load_from_disk(folder), load_sae(folder)[0]):
        torch.testing.assert_close(opened.encode(x), codes)
    study = Study.open(folder)
    torch.testing.assert_close(study.feature_map.encode(x, "image"), codes)
    assert study.sae.cfg.metadata.hook_name_image == "vision.blocks.9.hook_resid_post"
    with pytest.raises(UserError, match=r"activation store .* was not found"):
        _ = study.store


def test_a_layer_norm_is_kept(tmp_path):
    x = rows()
    source = write_prisma(tmp_path / "theirs", random_state())
    folder = convert_sae(source, "prisma", tmp_path / "ours")
    given, codes, back = Study.open(folder).feature_map.reconstruct(x, "image")
    # Neither a shift nor a scale of a row changes its codes.
    again = Study.open(folder).feature_map.reconstruct(3 * x + 2, "image")[1]
    torch.testing.assert_close(codes, again, rtol=1e-3, atol=1e-3)
    assert torch.equal(given, x) and back.shape == x.shape


def test_saevs_sae_gets_the_model_and_the_hook_that_it_does_not_know(tmp_path):
    hook = "vision.blocks.3.hook_resid_post"
    state = random_state(d_in=128, d_sae=256)
    source = write_saev(tmp_path / "sae.pt", state, {"d_vit": 128, "exp_factor": 2})
    folder = convert_sae(
        source, "saev", tmp_path / "ours", model_name="factorworld", hook_name=hook
    )
    study = Study.open(folder)
    assert hook in study.model.hook_dict
    _, cache = study.model.run_with_cache(
        images=torch.rand(2, 3, 48, 48), names_filter=study.sae.cfg.metadata.hook_name
    )
    codes = study.feature_map.encode(cache[hook], "image")
    assert codes.shape == (2, 37, 256) and bool((codes > 0).any())


def test_the_folder_is_whole_or_refused(tmp_path):
    source = write_saev(tmp_path / "sae.pt", random_state(), FIRST)
    folder = convert_sae(source, "saev", tmp_path / "ours")
    weights = folder / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="is not as it was written"):
        load_sae(folder)


def test_subtracting_can_be_said(tmp_path):
    source = write_saev(tmp_path / "sae.pt", random_state(), SCHEMA_1)
    folder = convert_sae(source, "saev", tmp_path / "ours", subtract_b_dec=True)
    assert SAE.load_from_disk(folder).cfg.apply_b_dec_to_input


def test_wrong_arguments_are_named(tmp_path):
    source = write_prisma(tmp_path / "theirs", random_state())
    with pytest.raises(UserError, match="no converter 'sparsify': choose one of prisma, saev"):
        convert_sae(source, "sparsify", tmp_path / "ours")
    with pytest.raises(UserError, match=r"'blocks\.3\.hook_resid_post' is of no tower"):
        convert_sae(source, "prisma", tmp_path / "ours", hook_name="blocks.3.hook_resid_post")
    with pytest.raises(UserError, match="subtract_b_dec is for saev's files"):
        convert_sae(source, "prisma", tmp_path / "ours", subtract_b_dec=True)
    with pytest.raises(UserError, match="is not empty"):
        convert_sae(source, "prisma", source)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file, not a folder"):
        convert_sae(source, "prisma", tmp_path / "file" / "ours")
    with pytest.raises(UserError, match="describes a transcoder"):
        transcoder = write_prisma(tmp_path / "other", random_state(), is_transcoder=True)
        convert_sae(transcoder, "prisma", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
