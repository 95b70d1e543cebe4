"""A store is known by the model's weights: what others hang on the model stays out of it."""

import pytest
from sae_lens import StandardSAE, StandardSAEConfig

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from tests.activations.pictures import noise_pairs
from tests.activations.tiny import tiny_clip

CFG = ExtractConfig(batch_size=8, num_workers=0)


def _erase(activation, hook):
    return activation * 0


@pytest.mark.parametrize("dir", ["fwd", "bwd"])
@pytest.mark.parametrize("permanent", [False, True])
def test_a_hooked_model_is_refused_until_it_is_reset(tmp_path, dir, permanent):
    model = tiny_clip()
    model.add_hook("vision.hook_pooled", _erase, dir=dir, is_permanent=permanent)
    with pytest.raises(UserError, match=r"tiny has hooks at vision\.hook_pooled.*reset_hooks\("):
        extract(model, noise_pairs(4), tmp_path / "s", CFG, progress=False)
    assert not (tmp_path / "s").exists()
    model.reset_hooks(including_permanent=True)
    hooked = extract(model, noise_pairs(4), tmp_path / "s", CFG, progress=False)
    clean = extract(tiny_clip(), noise_pairs(4), tmp_path / "clean", CFG, progress=False)
    assert hooked.image_rows().tolist() == clean.image_rows().tolist()


def test_a_spliced_sae_is_refused(tmp_path):
    model = tiny_clip()
    sae = StandardSAE(StandardSAEConfig(d_in=12, d_sae=5))
    with (
        model.saes(sae, hook_name="text.hook_proj"),
        pytest.raises(UserError, match=r"spliced into tiny at 'text\.hook_proj'.*reset_saes\(\)"),
    ):
        extract(model, noise_pairs(4), tmp_path / "s", CFG, progress=False)
    assert extract(model, noise_pairs(4), tmp_path / "s", CFG, progress=False).manifest.n_images


def test_a_finished_store_is_not_handed_out_either(tmp_path):
    model = tiny_clip()
    extract(model, noise_pairs(4), tmp_path / "s", CFG, progress=False)
    with model.hooks([("text.hook_proj", _erase)]), pytest.raises(UserError, match="has hooks at"):
        extract(model, noise_pairs(4), tmp_path / "s", CFG, progress=False)


@pytest.mark.usefixtures("any_types")
def test_names_in_place_of_what_they_name_are_told_how_to_load_it(tmp_path):
    with pytest.raises(UserError, match=r"takes a HookedCLIP, not a str: .*load_model\(name\)"):
        extract("factorworld", noise_pairs(4), tmp_path / "s", CFG)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"takes pairs, not a str: .*load_pairs\('factorworld:9'\)"):
        extract(tiny_clip(), "factorworld:9", tmp_path / "s", CFG)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "s").exists()


@pytest.mark.usefixtures("any_types")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"source": [("a.png", "red")]}, r"takes pairs, not a list: .*load_pairs\(…\)"),
        ({"out": None}, "folder must be a path, not None"),
        ({"cfg": {"batch_size": 3}}, "must be an ExtractConfig, not a dict"),
    ],
)
def test_other_kinds_are_named(tmp_path, given, told):
    right = {"source": noise_pairs(4), "out": tmp_path / "s", "cfg": CFG}
    with pytest.raises(UserError, match=told):
        extract(tiny_clip(), **right | given)
    assert not (tmp_path / "s").exists()


@pytest.mark.usefixtures("any_types")
@pytest.mark.parametrize("given", [{"image_hook": None}, {"text_hook": 3}])
def test_a_hook_has_a_name(given):
    with pytest.raises(UserError, match="_hook must be the name of a hook point, not"):
        ExtractConfig(**given)
