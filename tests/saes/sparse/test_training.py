"""Sparse SAEs under SAELens' own trainer, and saved for SAELens alone."""

import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from sae_lens import SAE, TopKTrainingSAE, TrainingSAE
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import SparseTopKTrainingSAE, SparseTopKTrainingSAEConfig
from mm_sae_plugin.saes.sparse import step as sparse_step
from tests.saes.sparse.pairs import assert_same_step, step, stock_and_sparse

ARCHITECTURES = ("topk", "batchtopk")
D_IN, D_SAE, K, BATCH = 24, 128, 6, 128


def activations(n_rows, seed=0):
    """Return sparse combinations of 64 directions, more than there are dimensions."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(64, D_IN, generator=generator)
    weights = torch.rand(n_rows, 64, generator=generator)
    return (weights * (weights > 0.93)) @ directions


@pytest.fixture(params=["strided", "sparse COO"])
def layout(request, monkeypatch):
    """Codes with their zeros, as those of small batches are, or without, as of large ones."""
    if request.param == "sparse COO":
        monkeypatch.setattr(sparse_step, "FEW_CODES", 0)
    return torch.strided if request.param == "strided" else torch.sparse_coo


def took_sparse_step(result):
    # The dense step keeps every pre-activation, the sparse one only the codes.
    return result.output.hidden_pre is result.output.feature_acts


def trainer_of(sae, data, n_steps, dead_feature_window=50):
    cfg = SAETrainerConfig(
        total_training_samples=n_steps * BATCH,
        train_batch_size_samples=BATCH,
        lr=3e-3,
        lr_end=3e-4,
        lr_scheduler_name="constant",
        lr_warm_up_steps=20,
        lr_decay_steps=100 if n_steps > 200 else 0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        device="cpu",
        autocast=False,
        dead_feature_window=dead_feature_window,
        feature_sampling_window=1000,
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        n_batches_for_norm_estimate=5,
        logger=LoggingConfig(log_to_wandb=False),
    )
    batches = (data[i * BATCH % len(data) :][:BATCH] for i in range(10**9))
    return SAETrainer(cfg=cfg, sae=sae, data_provider=batches)


def loss_curve(sae, data, n_steps):
    trainer = trainer_of(sae, data, n_steps)
    losses = []
    for _ in range(n_steps):
        losses.append(trainer.step(next(trainer.data_provider)).loss.item())
        trainer.n_training_steps += 1
    return torch.tensor(losses, dtype=torch.float64), trainer


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_500_steps_in_double_precision_follow_stock_step_by_step(architecture):
    data = activations(16 * BATCH).double()
    stock, sparse = stock_and_sparse(
        architecture, d_in=D_IN, d_sae=D_SAE, k=K, dtype="float64", decoder_init_norm=0.5
    )
    expected, stock_trainer = loss_curve(stock, data, 500)
    ours, trainer = loss_curve(sparse, data, 500)
    assert expected[-100:].mean() < 0.35 * expected[0]
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)
    # The auxiliary loss took part, and the trainer counted the same firings.
    assert stock_trainer.dead_neurons.any()
    assert torch.equal(trainer.act_freq_scores, stock_trainer.act_freq_scores)
    assert torch.equal(
        trainer.n_forward_passes_since_fired, stock_trainer.n_forward_passes_since_fired
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_500_steps_in_single_precision_are_indistinguishable_from_stock(architecture):
    # Changing stock's weights by one unit in the last place moves its curve by up to 0.14% on
    # average, since now and then another latent is selected.
    data = activations(16 * BATCH)
    stock, sparse = stock_and_sparse(architecture, d_in=D_IN, d_sae=D_SAE, k=K)
    expected, _ = loss_curve(stock, data, 500)
    ours, _ = loss_curve(sparse, data, 500)
    assert (ours - expected).abs().mean() <= 0.005 * expected.mean()
    assert ours[-100:].mean() == pytest.approx(expected[-100:].mean().item(), rel=0.005)


_LOAD_WITH_SAELENS_ALONE = """
import json, sys, torch
from pathlib import Path
from sae_lens import SAE
folder = Path(sys.argv[1])
saes = {name: SAE.load_from_disk(folder / name) for name in ("topk", "batchtopk")}
x = torch.load(folder / "x.pt")
torch.save({name: sae(x).detach() for name, sae in saes.items()}, folder / "out.pt")
assert not any(name.startswith("mm_sae_plugin") for name in sys.modules)
print(json.dumps([[s.cfg.architecture(), s.cfg.metadata.training_architecture]
                  for s in saes.values()]))
"""


def test_plain_saelens_loads_what_is_saved(tmp_path):
    data, expected = activations(4 * BATCH), {}
    for architecture in ARCHITECTURES:
        stock, sparse = stock_and_sparse(architecture, d_in=D_IN, d_sae=D_SAE, k=K)
        for sae in (stock, sparse):
            trainer_of(sae, data, 5).fit()
        stock.save_inference_model(tmp_path / "stock")
        sparse.save_inference_model(tmp_path / architecture)
        expected[architecture] = SAE.load_from_disk(tmp_path / "stock")(data).detach()
    torch.save(data, tmp_path / "x.pt")
    done = subprocess.run(
        [sys.executable, "-c", _LOAD_WITH_SAELENS_ALONE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    names = json.loads(done.stdout.splitlines()[-1])
    assert names == [["topk", "sparse_topk"], ["jumprelu", "sparse_batchtopk"]]
    torch.testing.assert_close(torch.load(tmp_path / "out.pt"), expected, rtol=1e-4, atol=1e-4)


def test_checkpoints_come_back_as_sparse_training_saes(tmp_path):
    _, sparse = stock_and_sparse("batchtopk", d_in=D_IN, d_sae=D_SAE, k=K)
    trainer_of(sparse, activations(4 * BATCH), 5).fit()
    sparse.save_model(tmp_path)
    again = TrainingSAE.load_from_disk(tmp_path)
    assert type(again) is type(sparse)
    assert again.cfg.sparse_kernels is True
    assert float(again.state_dict()["topk_threshold"]) == pytest.approx(
        sparse.topk_threshold.item(), rel=1e-6
    )
    assert sparse.topk_threshold > 0


def test_zeros_among_the_codes_are_no_firings(layout):
    _, sparse = stock_and_sparse("topk", d_in=D_IN, d_sae=D_SAE, k=K)
    sparse.b_enc.data.fill_(-100.0)
    trainer = trainer_of(sparse, activations(4 * BATCH), 3)
    trainer.fit()
    assert (trainer.act_freq_scores == 0).all()
    assert (trainer.n_forward_passes_since_fired == 3).all()
    assert trainer.step(next(trainer.data_provider)).feature_acts.layout is layout


@pytest.mark.parametrize(
    "reason",
    [
        *("config", "hook", "shape", "input gradient", "half precision", "normalisation"),
        *("activation function", "method", "backward hook", "no rows"),
    ],
)
def test_dense_step_where_the_sparse_one_does_not_serve(reason):
    options: dict[str, Any] = {"dtype": "bfloat16"} if reason == "half precision" else {}
    if reason == "normalisation":
        options = {"normalize_activations": "layer_norm"}
    stock, sparse = stock_and_sparse("topk", d_in=D_IN, d_sae=D_SAE, k=K, **options)
    x = torch.randn(10, D_IN, dtype=stock.dtype)
    seen = []
    if reason == "config":
        sparse.cfg.sparse_kernels = False
    if reason == "hook":
        sparse.add_hook("hook_sae_acts_pre", lambda acts, hook: seen.append(acts.shape))
    if reason == "shape":
        x = x.view(2, 5, D_IN)
    if reason == "input gradient":
        x.requires_grad_()
    if reason == "activation function":
        stock.activation_fn = sparse.activation_fn = torch.nn.ReLU()
    if reason == "method":
        # As a script that wants no auxiliary loss would.
        stock.calculate_aux_loss = sparse.calculate_aux_loss = lambda **_: {}
    if reason == "backward hook":
        for sae in (stock, sparse):
            sae.hook_sae_acts_pre.register_full_backward_pre_hook(lambda hook, gradient: None)
    if reason == "no rows":
        x = x[:0]
    assert not sparse.takes_sparse_step(x)
    ours, theirs = step(sparse, x), step(stock, x)
    torch.testing.assert_close(ours.output.loss, theirs.output.loss, rtol=0, atol=0, equal_nan=True)
    assert not took_sparse_step(ours)
    assert seen == ([(10, D_SAE)] if reason == "hook" else [])
    sparse.reset_hooks()
    if reason == "hook":
        assert sparse.takes_sparse_step(x)


def test_methods_of_a_subclass_are_called():
    class Penalised(SparseTopKTrainingSAE):
        def calculate_aux_loss(self, **kwargs: Any):
            losses: Any = super().calculate_aux_loss(**kwargs)
            return {**losses, "l1": kwargs["feature_acts"].sum()}

    config = SparseTopKTrainingSAEConfig(d_in=8, d_sae=64, k=2, sparse_kernels=True)
    output = step(Penalised(config), torch.randn(4, 8)).output
    assert output.losses["l1"] > 0
    assert output.loss.item() == pytest.approx(sum(loss.item() for loss in output.losses.values()))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["x", "W_enc", "b_enc", "W_dec", "b_dec"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_not_finite_shows_as_with_stock(architecture, where, value):
    stock, sparse = stock_and_sparse(architecture, d_in=D_IN, d_sae=D_SAE, k=K)
    x = torch.randn(10, D_IN)
    # A search that passes NaN over would never meet it.
    for tensor in (x,) if where == "x" else (getattr(stock, where), getattr(sparse, where)):
        tensor.data.view(-1)[-1] = value
    ours, theirs = step(sparse, x), step(stock, x)
    for name, gradient in theirs.gradients.items():
        torch.testing.assert_close(
            ours.gradients[name], gradient, rtol=0, atol=0, equal_nan=True, msg=name
        )
    torch.testing.assert_close(ours.output.loss, theirs.output.loss, rtol=0, atol=0, equal_nan=True)
    assert not (theirs.output.loss.isfinite() and ours.codes.isfinite().all())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_k_can_be_changed_between_steps(architecture):
    stock, sparse = stock_and_sparse(architecture, d_in=D_IN, d_sae=D_SAE, k=K)
    x = torch.randn(10, D_IN)
    for sae in (stock, sparse):
        sae.activation_fn.k = 2
    assert_same_step(step(sparse, x), step(stock, x))


@pytest.mark.parametrize("k", [0, -1, 17])
def test_k_without_meaning_is_refused(k):
    with pytest.raises(UserError, match=f"k = {k} must be above 0 and at most d_sae = 16"):
        SparseTopKTrainingSAEConfig(d_in=8, d_sae=16, k=k)


# With 512 rows of width 64, a product of 2^24 multiplications.
@pytest.mark.parametrize(
    ("n_rows", "k", "is_sparse"), [(512, 32, True), (512, 33, False), (511, 32, False)]
)
def test_the_step_is_chosen_by_what_was_measured(n_rows, k, is_sparse):
    sae = SparseTopKTrainingSAE(SparseTopKTrainingSAEConfig(d_in=64, d_sae=512, k=k))
    assert took_sparse_step(step(sae, torch.randn(n_rows, 64))) is is_sparse


def test_sparse_saes_are_stock_saes_everywhere_else():
    stock, sparse = stock_and_sparse("topk", d_in=D_IN, d_sae=D_SAE, k=K)
    assert isinstance(sparse, TopKTrainingSAE)
    x = torch.randn(10, D_IN)
    assert torch.equal(sparse(x), stock(x))
    out, cache = sparse.run_with_cache(x)
    assert torch.equal(out, stock(x)) and cache["hook_sae_acts_post"].shape == (10, D_SAE)


def test_two_sparse_routes_at_once_are_refused():
    with pytest.raises(UserError, match="leave use_sparse_activations at False"):
        SparseTopKTrainingSAEConfig(d_in=8, d_sae=16, k=2, use_sparse_activations=True)


def test_gradients_reach_no_more_than_the_weights():
    _, sae = stock_and_sparse("topk", d_in=8, d_sae=16, k=2)
    result = step(sae, torch.randn(5, 8))
    assert not result.output.feature_acts.requires_grad
    assert all(gradient.isfinite().all() for gradient in result.gradients.values())


@pytest.mark.usefixtures("layout")
def test_what_the_trainer_logs_is_what_stock_logs():
    stock, sparse = stock_and_sparse("batchtopk", d_in=D_IN, d_sae=D_SAE, k=K)
    data, logged = activations(4 * BATCH), []
    for sae in (stock, sparse):
        trainer = trainer_of(sae, data, 5)
        output = trainer.step(next(trainer.data_provider))
        logged.append(trainer.build_train_step_log_dict(output, trainer.n_training_samples))
    assert logged[1].keys() == logged[0].keys()
    for name, value in logged[0].items():
        assert logged[1][name] == pytest.approx(value, rel=1e-4), name
