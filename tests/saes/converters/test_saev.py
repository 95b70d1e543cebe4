"""SAEs of saev: every schema of its header, formulas, and what is refused."""

from functools import partial

import pytest
import torch
from sae_lens import SAE

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.converters import saev_converter, saev_hub_converter
from tests.saes.converters.files import (
    D_IN,
    D_SAE,
    K,
    Malicious,
    random_state,
    rows,
    saev_header,
    write_saev,
)

# As saev wrote them before it gave its headers a schema, and at schema 1.
FIRST = {"d_vit": D_IN, "exp_factor": D_SAE // D_IN, "seed": 0, "ghost_grads": False}
SCHEMA_1 = {"schema": 1, "cls": "Relu", "cfg": {"d_vit": D_IN, "exp_factor": D_SAE // D_IN}}


def load(path, **options):
    return SAE.load_from_disk(path, converter=partial(saev_converter, **options))


def pre_activations(state, x, subtract):
    inner = x - state["b_dec"] if subtract else x
    return inner @ state["W_enc"] + state["b_enc"]


def largest(pre, k):
    """The k largest of each row; with these weights far more than k are positive."""
    border = pre.sort(dim=1, descending=True).values[:, k - 1 : k]
    assert (border > 0).all()
    return torch.where(pre >= border, pre, 0)


def close(a, b):
    return torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def check(sae, state, x, codes):
    close(sae.encode(x), codes)
    close(sae(x), codes @ state["W_dec"] + state["b_dec"])


@pytest.mark.parametrize(
    ("header", "subtract"),
    [(FIRST, True), (saev_header(2), False), (saev_header(5), False)],
    ids=["none", "2", "5"],
)
def test_relu_of_every_schema(tmp_path, header, subtract):
    state, x = random_state(), rows()
    sae = load(write_saev(tmp_path / "sae.pt", state, header))
    assert sae.cfg.architecture() == "standard"
    check(sae, state, x, pre_activations(state, x, subtract).clamp(min=0))


def test_the_folder_will_do(tmp_path):
    write_saev(tmp_path / "sae.pt", random_state(), FIRST)
    assert load(tmp_path).cfg.d_sae == D_SAE


@pytest.mark.parametrize("name", ["TopK", "BatchTopK"])
def test_top_k_of_each_row(tmp_path, name):
    """At schema 2 BatchTopK took the largest of each row as well."""
    state, x = random_state(), rows()
    sae = load(write_saev(tmp_path / "sae.pt", state, saev_header(2, name, top_k=K)))
    assert sae.cfg.architecture() == "topk"
    check(sae, state, x, largest(pre_activations(state, x, False), K))


@pytest.mark.parametrize("threshold", [1.5, -0.2])
def test_batch_top_k_is_its_threshold(tmp_path, threshold):
    state, x = random_state(), rows()
    saved = {**state, "activation.threshold": torch.tensor(threshold)}
    header = saev_header(5, "BatchTopK", top_k=K, momentum=0.1, sparsity={"cls": "NoSparsity"})
    sae = load(write_saev(tmp_path / "sae.pt", saved, header))
    assert sae.cfg.architecture() == "jumprelu"
    pre = pre_activations(state, x, False)
    check(sae, state, x, torch.where(pre > max(threshold, 0), pre, 0))


@pytest.mark.parametrize("subtract", [True, False])
def test_schema_1_leaves_open_whether_b_dec_is_subtracted(tmp_path, subtract):
    state, x = random_state(), rows()
    file = write_saev(tmp_path / "sae.pt", state, SCHEMA_1)
    with pytest.raises(UserError, match="say which, subtract_b_dec=True or False"):
        load(file)
    sae = load(file, subtract_b_dec=subtract)
    check(sae, state, x, pre_activations(state, x, subtract).clamp(min=0))


def test_schema_1_without_b_dec_leaves_nothing_open(tmp_path):
    state, x = {**random_state(), "b_dec": torch.zeros(D_IN)}, rows()
    cfg = {**SCHEMA_1["cfg"], "top_k": K}
    header = {**SCHEMA_1, "cls": "TopK", "cfg": cfg}
    sae = load(write_saev(tmp_path / "sae.pt", state, header))
    check(sae, state, x, largest(pre_activations(state, x, False), K))


def test_encoder_and_decoder_may_share_memory(tmp_path):
    state = random_state()
    state["W_enc"] = state["W_dec"].T
    sae = load(write_saev(tmp_path / "sae.pt", state, saev_header(5)))
    assert torch.equal(sae.W_enc, state["W_dec"].T)
    sae.W_enc.data.zero_()
    assert torch.equal(sae.W_dec, state["W_dec"])
    # Tensors that share memory cannot be saved as safetensors.
    sae.save_model(tmp_path / "saved")
    assert torch.equal(SAE.load_from_disk(tmp_path / "saved").W_dec, state["W_dec"])


def test_a_pickle_does_not_run(tmp_path):
    trace = tmp_path / "trace"
    file = write_saev(tmp_path / "sae.pt", {"W_enc": Malicious(trace)}, saev_header(5))
    with pytest.raises(UserError, match=r"sae\.pt cannot be read \(it is a pickle") as told:
        load(file)
    assert not trace.exists()
    assert "\n" not in str(told.value)


HEADERS = {
    "schema": ({"schema": 9, "cfg": {}}, "schema 9, which is not known"),
    "no cfg": ({"schema": 3}, "does not say cfg"),
    "cfg of another kind": ({"schema": 3, "cfg": [1]}, "its settings, cfg, are no JSON object"),
    "no width": ({"exp_factor": 4}, "does not say d_model or d_vit"),
    "no size": ({"d_vit": D_IN}, "does not say exp_factor"),
    "no activation": ({"schema": 2, "cfg": FIRST}, "does not say activation"),
    "no class": ({"schema": 1, "cfg": FIRST}, "does not say cls"),
    "a bare activation": (
        {"schema": 2, "cfg": {**FIRST, "activation": "Relu"}},
        "its activation as a class with parameters",
    ),
    "no k": (saev_header(5, "TopK"), "does not say top_k"),
    "activation": (saev_header(4, "AbsBatchTopK", top_k=K), "the activation 'AbsBatchTopK'"),
    "a whole batch": (saev_header(5, "BatchTopK", top_k=K), "largest codes of a whole batch"),
    "another size": ({**FIRST, "exp_factor": 2}, r"W_enc .* \(8, 32\) instead of \(8, 16\)"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_cannot_be_read_are_named(tmp_path, case):
    header, named = HEADERS[case]
    with pytest.raises(UserError, match=named) as told:
        load(write_saev(tmp_path / "sae.pt", random_state(), header))
    assert "\n" not in str(told.value)


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no .*sae\.pt"):
        load(tmp_path)
    file = tmp_path / "sae.pt"
    torch.save(random_state(), file)
    with pytest.raises(UserError, match="does not begin with a line of JSON"):
        load(file)
    write_saev(file, random_state(), FIRST)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"sae\.pt cannot be read"):
        load(file)
    state = random_state()
    del state["b_enc"]
    with pytest.raises(UserError, match="holds no b_enc"):
        load(write_saev(file, state, FIRST))


def test_it_is_read_from_the_hub_through_saelens(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    write_saev(tmp_path / "sae.pt", random_state(), FIRST)
    sae = SAE.from_pretrained("osunlp/SAE", "sae.pt", converter=saev_hub_converter)
    assert sae.cfg.d_sae == D_SAE and sae.cfg.metadata.converted_from == "saev"
