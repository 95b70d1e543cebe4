"""SAEs of ViT-Prisma: formulas, hooks, and what is refused."""

import pytest
import torch
from sae_lens import SAE

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import hook_names
from mm_sae_plugin.saes.converters import prisma_converter, prisma_hub_converter
from mm_sae_plugin.saes.converters.prisma import SITES
from tests.saes.converters.files import (
    D_IN,
    D_SAE,
    K,
    Malicious,
    random_state,
    rows,
    write_prisma,
    write_prisma_checkpoint,
)


def load(path, **options):
    return SAE.load_from_disk(path, converter=prisma_converter, **options)


def normalised(x):
    """Prisma's layer norm: mean and unbiased spread of each vector."""
    mean = x.sum(1, keepdim=True) / D_IN
    spread = (((x - mean) ** 2).sum(1, keepdim=True) / (D_IN - 1)).sqrt()
    return (x - mean) / (spread + 1e-5), mean, spread


def largest(pre, k):
    """The k largest of each row where they are positive, else 0."""
    kept = torch.zeros_like(pre)
    for row, values in enumerate(pre):
        for i in values.argsort(descending=True)[:k]:
            kept[row, i] = max(float(values[i]), 0.0)
    return kept


def close(a, b):
    return torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", ["relu", "topk"])
def test_a_standard_sae_computes_what_prisma_computes(tmp_path, function):
    state, x = random_state(), rows()
    kwargs = {"activation_fn_str": function, "activation_fn_kwargs": {"k": K}}
    sae = load(write_prisma(tmp_path / "sae", state, **kwargs))
    assert sae.cfg.architecture() == {"relu": "standard", "topk": "topk"}[function]
    z, mean, spread = normalised(x)
    pre = (z - state["b_dec"]) @ state["W_enc"] + state["b_enc"]
    codes = pre.clamp(min=0) if function == "relu" else largest(pre, K)
    close(sae.encode(x), codes)
    close(sae(x), (codes @ state["W_dec"] + state["b_dec"]) * spread + mean)


def test_a_gated_sae_computes_what_prisma_computes(tmp_path):
    # Prisma keeps a b_enc beside, which its gated encoder does not read.
    state, x = random_state("b_gate", "b_mag", "r_mag"), rows()
    folder = write_prisma(
        tmp_path / "sae", state, architecture="gated", normalize_activations="none"
    )
    sae = load(folder)
    inner = x - state["b_dec"]
    gate = inner @ state["W_enc"] + state["b_gate"] > 0
    size = (inner @ (state["W_enc"] * state["r_mag"].exp()) + state["b_mag"]).clamp(min=0)
    close(sae.encode(x), gate * size)
    close(sae(x), (gate * size) @ state["W_dec"] + state["b_dec"])


def test_rows_are_rescaled_as_prisma_does(tmp_path):
    state, x = random_state(), rows()
    sae = load(write_prisma(tmp_path / "sae", state, normalize_activations="constant_norm_rescale"))
    z = x * D_IN**0.5 / x.norm(dim=1, keepdim=True)
    close(sae.encode(x), ((z - state["b_dec"]) @ state["W_enc"] + state["b_enc"]).clamp(min=0))


def test_hook_and_model_have_our_names(tmp_path):
    metadata = load(write_prisma(tmp_path / "sae", random_state())).cfg.metadata
    assert metadata.hook_name == metadata.hook_name_image == "vision.blocks.9.hook_resid_post"
    assert metadata.hook_name_text is None
    assert metadata.source_hook_name == "blocks.9.hook_resid_post"
    assert metadata.model_name == "hf-hub:laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"
    assert metadata.trained_on_tokens == "all"
    assert "somebody" not in str(metadata)


def test_other_hooks_models_and_tokens(tmp_path):
    changes = {
        "model_class_name": "HookedTextTransformer",
        "model_name": "openai/clip-vit-base-patch32",
        "layer_subtype": "mlp.hook_post",
        "cls_token_only": True,
    }
    metadata = load(write_prisma(tmp_path / "a", random_state(), **changes)).cfg.metadata
    assert metadata.hook_name == metadata.hook_name_text == "text.blocks.9.hook_mlp_post"
    assert metadata.model_name == "hf:openai/clip-vit-base-patch32"
    assert metadata.trained_on_tokens == "class token"
    nowhere = write_prisma(tmp_path / "b", random_state(), layer_subtype="hook_resid_mid")
    metadata = load(nowhere).cfg.metadata
    assert metadata.hook_name is None
    assert metadata.source_hook_name == "blocks.9.hook_resid_mid"


def test_the_sites_are_those_of_our_models():
    ours = {value for name, value in vars(hook_names).items() if name.startswith("HOOK_")}
    assert set(SITES.values()) <= ours


def test_a_checkpoint_brings_its_config_along(tmp_path, monkeypatch):
    state, x = random_state(), rows()
    alone = tmp_path / "n_images_2600058.pt"
    write_prisma_checkpoint(alone, state, monkeypatch, normalize_activations="none")
    sae = load(alone)
    codes = ((x - state["b_dec"]) @ state["W_enc"] + state["b_enc"]).clamp(min=0)
    close(sae.encode(x), codes)
    assert sae.cfg.metadata.hook_name == "vision.blocks.9.hook_resid_post"
    # A config.json beside it is what counts.
    folder = write_prisma(tmp_path / "sae", state, name="old.pt", architecture="gated")
    (folder / "old.pt").unlink()
    write_prisma_checkpoint(folder / "weights.pt", state, monkeypatch)
    with pytest.raises(UserError, match="holds no b_gate"):
        load(folder)


def test_dtype_and_device_are_those_asked_for(tmp_path):
    folder = write_prisma(tmp_path / "sae", random_state())
    assert load(folder, dtype="float64").W_enc.dtype == torch.float64
    assert load(folder).cfg.device == "cpu"
    half = {"__type__": "torch.dtype", "value": "torch.bfloat16"}
    assert load(write_prisma(tmp_path / "half", random_state(), dtype=half)).W_enc.dtype == (
        torch.bfloat16
    )


def test_d_sae_may_be_left_to_the_expansion(tmp_path):
    assert load(write_prisma(tmp_path / "sae", random_state(), d_sae=None)).cfg.d_sae == D_SAE


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pickle_does_not_run(tmp_path, wrapped):
    trace = tmp_path / "trace"
    evil = {"W_enc": Malicious(trace)}
    folder = write_prisma(tmp_path / "sae", {"state_dict": evil, "cfg": 1} if wrapped else evil)
    with pytest.raises(UserError, match=r"weights\.pt cannot be read \(it is a pickle") as told:
        load(folder)
    assert not trace.exists()
    assert "\n" not in str(told.value)


def test_a_pickle_within_prismas_config_does_not_run(tmp_path, monkeypatch):
    """Classes of Prisma are let through as plain values, and nothing else with them."""
    trace = tmp_path / "trace"
    file = tmp_path / "weights.pt"
    write_prisma_checkpoint(file, random_state(), monkeypatch, extra=Malicious(trace))
    with pytest.raises(UserError, match="it is a pickle of something else, which could run code"):
        load(file)
    assert not trace.exists()


REFUSED = {
    "transcoder": ({"is_transcoder": True}, "describes a transcoder"),
    "one head": ({"hook_point_head_index": 3}, "of a single attention head"),
    "architecture": ({"architecture": "jumprelu"}, "describes a 'jumprelu' SAE"),
    "activation": ({"activation_fn_str": "tanh-relu"}, "activation function 'tanh-relu'"),
    "gated topk": ({"architecture": "gated", "activation_fn_str": "topk"}, "a 'gated' SAE with"),
    "normalisation": (
        {"normalize_activations": "batch_norm"},
        "normalize_activations 'batch_norm'",
    ),
    "no k": ({"activation_fn_str": "topk"}, "does not say k"),
    "no width": ({"d_in": ...}, "does not say d_in"),
    "no architecture": ({"architecture": ...}, "does not say architecture"),
    "no normalisation": ({"normalize_activations": ...}, "does not say normalize_activations"),
    "no layer": ({"hook_point_layer": ...}, "does not say hook_point_layer"),
    "layers": ({"hook_point_layer": [8, 9]}, r"is \[8, 9\], not the number of a layer"),
    "no number": ({"d_in": "8"}, "d_in in .* is '8', not a whole number"),
    "another width": ({"d_sae": 16}, r"W_enc in .* has the shape \(8, 32\) instead of \(8, 16\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_cannot_be_read_are_named(tmp_path, case):
    changes, named = REFUSED[case]
    with pytest.raises(UserError, match=named) as told:
        load(write_prisma(tmp_path / "sae", random_state(), **changes))
    assert "\n" not in str(told.value)


def _without(name):
    state = random_state()
    del state[name]
    return state


BROKEN = {
    "missing": (lambda: _without("b_dec"), "holds no b_dec"),
    "unknown": (lambda: random_state("W_skip"), "holds W_skip, which this architecture does not"),
    "transposed": (
        lambda: {**random_state(), "W_dec": random_state()["W_enc"]},
        r"W_dec in .* has the shape \(8, 32\) instead of \(32, 8\)",
    ),
    "not finite": (lambda: {**random_state(), "b_enc": torch.full((D_SAE,), torch.nan)}, "finite"),
    "a list": (lambda: [1, 2], "holds no state dict"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_weights_that_cannot_be_read_are_named(tmp_path, case):
    state, named = BROKEN[case]
    with pytest.raises(UserError, match=named):
        load(write_prisma(tmp_path / "sae", state()))


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    folder = write_prisma(tmp_path / "sae", random_state())
    with pytest.raises(UserError, match="holds no weights file of Prisma"):
        load(tmp_path / "none")
    (folder / "second.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"several weights files \(second\.pt, weights\.pt\)"):
        load(folder)
    with pytest.raises(UserError, match=r"second\.pt cannot be read"):
        load(folder / "second.pt")
    assert load(folder / "weights.pt").cfg.d_sae == D_SAE
    (folder / "config.json").write_text("[1]")
    with pytest.raises(UserError, match=r"config\.json cannot be read: .* no JSON object"):
        load(folder / "weights.pt")
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json cannot be read: .* no JSON"):
        load(folder / "weights.pt")
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json beside it"):
        load(folder / "weights.pt")


def test_it_is_read_from_the_hub_through_saelens(tmp_path, monkeypatch):
    asked = {}

    def snapshot_download(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    write_prisma(tmp_path / "layer_9", random_state())
    options = {"converter": prisma_hub_converter, "dtype": "float64"}
    sae = SAE.from_pretrained("somebody/saes", "layer_9/weights.pt", **options)
    assert sae.W_enc.dtype == torch.float64 and sae.cfg.d_sae == D_SAE
    assert asked["repo_id"] == "somebody/saes"
    assert asked["allow_patterns"] == ["layer_9/*.json", "layer_9/weights.pt"]
    # A whole folder, where it holds one SAE.
    assert SAE.from_pretrained("somebody/saes", "layer_9", **options).cfg.d_sae == D_SAE
    assert asked["allow_patterns"] == ["layer_9/*.json", "layer_9/*.pt"]
