"""What both architectures share that are trained on pairs: steps, refusals, what is saved."""

import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from sae_lens import SAE, TopKTrainingSAE, TopKTrainingSAEConfig, TrainingSAE

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import (
    AlignedTopKTrainingSAE,
    AlignedTopKTrainingSAEConfig,
    GroupTopKTrainingSAE,
    GroupTopKTrainingSAEConfig,
    training_sae_config,
)
from mm_sae_plugin.saes.aligned import cosine_loss, difference_loss
from mm_sae_plugin.saes.group_sparse import group_norm
from mm_sae_plugin.saes.paired import promise_pairs
from tests.saes.pair_steps import pair_step

CLASSES: dict[str, tuple[Any, Any]] = {
    "aligned_topk": (AlignedTopKTrainingSAE, AlignedTopKTrainingSAEConfig),
    "group_topk": (GroupTopKTrainingSAE, GroupTopKTrainingSAEConfig),
}
D_IN, D_SAE, K, N_PAIRS = 12, 48, 4, 25
# The loss of a pair, by what its config says; the group's is half, as the error's mean is.
LOSSES = {
    "difference": ("aligned_topk", {}, difference_loss),
    "cosine": ("aligned_topk", {"alignment": "cosine"}, cosine_loss),
    "group": ("group_topk", {"mask_probability": 0.0}, lambda z, w: group_norm(z, w) / 2),
}


def paired(architecture, **options):
    """Return an SAE with nothing at zero, that is told that its rows are paired."""
    sae_class, cfg_class = CLASSES[architecture]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sae = sae_class(cfg_class(d_in=D_IN, d_sae=D_SAE, k=K, **options))
        for parameter in sae.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    promise_pairs(sae, True)
    return sae


def rows(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2 * N_PAIRS, D_IN, generator=generator).to(dtype)


def stock_of(sae):
    names = ("d_in", "d_sae", "k", "dtype", "rescale_acts_by_decoder_norm")
    cfg = TopKTrainingSAEConfig(**{name: getattr(sae.cfg, name) for name in names})
    stock = TopKTrainingSAE(cfg)
    stock.load_state_dict(sae.state_dict())
    return stock


@pytest.mark.parametrize("rescaled", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_a_step_is_that_of_topk_with_a_weighted_loss_on_the_pairs(name, rescaled):
    architecture, options, loss = LOSSES[name]
    sae = paired(
        architecture,
        pair_coefficient=0.3,
        rescale_acts_by_decoder_norm=rescaled,
        dtype="float64",
        **options,
    )
    x, is_dead = rows(torch.float64), torch.arange(D_SAE) < 10
    ours = pair_step(sae, x, is_dead=is_dead)
    # The same in plain words, on stock's weights.
    stock = stock_of(sae)
    theirs = pair_step(stock, x, is_dead=is_dead)
    codes, _ = stock.encode_with_hidden_pre(x)
    in_units_of_the_input = codes if rescaled else codes * stock.W_dec.norm(dim=1)
    extra = 0.3 * loss(in_units_of_the_input[:N_PAIRS], in_units_of_the_input[N_PAIRS:])
    stock.zero_grad()
    extra.backward()
    assert extra > 0
    torch.testing.assert_close(ours.output.loss, theirs.output.loss + extra)
    torch.testing.assert_close(ours.output.losses["pair_loss"], extra)
    for parameter, gradient in theirs.gradients.items():
        own = dict(stock.named_parameters())[parameter].grad
        assert own is not None
        torch.testing.assert_close(ours.gradients[parameter], gradient + own, msg=parameter)


@pytest.mark.parametrize("rescaled", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_longer_decoder_rows_do_not_make_pairs_cheaper(name, rescaled):
    architecture, options, _ = LOSSES[name]
    losses = []
    for factor in (1.0, 10.0):
        sae = paired(architecture, rescale_acts_by_decoder_norm=rescaled, **options)
        sae.W_dec.data *= factor
        sae.W_enc.data /= factor
        sae.b_enc.data /= factor
        losses.append(pair_step(sae, rows()).output.losses["pair_loss"].item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("architecture", CLASSES)
def test_without_a_weight_it_is_stock(architecture):
    options = {"mask_probability": 0.0} if architecture == "group_topk" else {}
    sae = paired(architecture, pair_coefficient=0.0, **options)
    ours, theirs = pair_step(sae, rows()), pair_step(stock_of(sae), rows())
    assert torch.equal(ours.output.loss, theirs.output.loss)
    for name, gradient in theirs.gradients.items():
        assert torch.equal(ours.gradients[name], gradient), name


@pytest.mark.parametrize("architecture", CLASSES)
def test_half_precision_and_autocast_give_finite_steps(architecture):
    sae = paired(architecture)
    expected = pair_step(sae, rows())
    with torch.autocast("cpu", torch.bfloat16):
        autocast = pair_step(sae, rows())
    for step in (autocast, pair_step(sae.to(torch.bfloat16), rows(torch.bfloat16))):
        assert all(bool(gradient.isfinite().all()) for gradient in step.gradients.values())
        pair_loss = step.output.losses["pair_loss"]
        assert pair_loss.dtype == torch.float32
        assert pair_loss.item() == pytest.approx(
            expected.output.losses["pair_loss"].item(), rel=0.05
        )


@pytest.mark.parametrize("architecture", CLASSES)
def test_steps_are_refused_until_somebody_promises_pairs(architecture):
    sae = paired(architecture)
    sae.rows_are_paired = False
    with pytest.raises(UserError, match=rf"{architecture} takes row i .* train it with Multimodal"):
        pair_step(sae, rows())
    with pytest.raises(UserError, match=r"compares the codes of images with .* one tower alone"):
        promise_pairs(sae, False)
    # Others do not care.
    promise_pairs(stock_of(sae), False)


@pytest.mark.parametrize("shape", [(5, D_IN), (0, D_IN), (2, 3, D_IN)])
@pytest.mark.parametrize("architecture", CLASSES)
def test_batches_that_cannot_be_pairs_are_refused(architecture, shape):
    with pytest.raises(UserError, match=r"A paired batch is \[2 \* n_pairs, d_in\]"):
        pair_step(paired(architecture), torch.ones(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_sparse_activations": True}, "leave use_sparse_activations at False"),
        ({"pair_coefficient": -1.0}, "pair_coefficient must be 0 or more; got -1"),
        ({"pair_coefficient": float("nan")}, "pair_coefficient must be 0 or more"),
        ({"pair_warm_up_steps": -1}, "pair_warm_up_steps must be 0 or more"),
    ],
)
@pytest.mark.parametrize("architecture", CLASSES)
def test_options_without_meaning_are_refused(architecture, options, message):
    with pytest.raises(UserError, match=message):
        paired(architecture, **options)


@pytest.mark.parametrize(("architecture", "power"), [("aligned_topk", 0), ("group_topk", 1)])
def test_weights_follow_the_scale_of_the_activations(architecture, power):
    def coefficient(norm: float, **options: float) -> float:
        cfg = training_sae_config(architecture, D_IN, D_SAE, K, input_norm=norm, **options)  # pyright: ignore[reportArgumentType]
        return cfg.pair_coefficient  # pyright: ignore[reportAttributeAccessIssue]

    assert coefficient(1.0, pair_coefficient=0.7) == pytest.approx(0.7)
    assert coefficient(10.0) == pytest.approx(10**power * coefficient(1.0))


def test_a_weight_on_pairs_is_refused_where_there_is_no_loss_on_pairs():
    with pytest.raises(UserError, match=r"'topk' has no loss on pairs .* choose aligned_topk or"):
        training_sae_config("topk", D_IN, D_SAE, K, pair_coefficient=1.0)


def test_the_seed_reaches_the_masks():
    cfg = training_sae_config("group_topk", D_IN, D_SAE, K, seed=7)
    assert cfg.mask_seed == 7  # pyright: ignore[reportAttributeAccessIssue]


_LOAD_WITH_SAELENS_ALONE = """
import json, sys, torch
from pathlib import Path
from sae_lens import SAE
folder = Path(sys.argv[1])
saes = {name: SAE.load_from_disk(folder / name) for name in ("aligned_topk", "group_topk")}
x = torch.load(folder / "x.pt")
torch.save({name: [sae.encode(x).detach(), sae(x).detach()] for name, sae in saes.items()},
           folder / "out.pt")
assert not any(name.startswith("mm_sae_plugin") for name in sys.modules)
print(json.dumps([[s.cfg.architecture(), s.cfg.k, s.cfg.metadata.training_architecture]
                  for s in saes.values()]))
"""


def test_plain_saelens_loads_what_is_saved(tmp_path):
    x, expected = rows(), {}
    for architecture in CLASSES:
        sae = paired(architecture)
        sae.save_inference_model(tmp_path / architecture)
        expected[architecture] = [sae.encode(x).detach(), sae(x).detach()]
    torch.save(x, tmp_path / "x.pt")
    done = subprocess.run(
        [sys.executable, "-c", _LOAD_WITH_SAELENS_ALONE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    names = json.loads(done.stdout.splitlines()[-1])
    assert names == [["topk", K, "aligned_topk"], ["topk", K, "group_topk"]]
    torch.testing.assert_close(torch.load(tmp_path / "out.pt"), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", CLASSES)
def test_checkpoints_come_back_as_what_they_were_and_must_be_promised_pairs_again(
    tmp_path, architecture
):
    sae = paired(architecture, pair_coefficient=0.25)
    sae.save_model(tmp_path / "checkpoint")
    again: Any = TrainingSAE.load_from_disk(tmp_path / "checkpoint")
    assert type(again) is type(sae)
    assert again.cfg.to_dict() == sae.cfg.to_dict()
    assert not again.rows_are_paired
    sae.save_inference_model(tmp_path / "saved")
    details = SAE.load_from_disk(tmp_path / "saved").cfg.metadata.training_architecture_details
    assert details["pair_coefficient"] == 0.25
