"""The accelerators' path: the same numbers, and the host never waits for a value."""

import pytest
import torch

from mm_sae_plugin.saes.sparse import step as sparse_step
from tests.saes.sparse.pairs import assert_same_step, step, stock_and_sparse
from tests.synchronisation import NoSynchronisation

ARCHITECTURES = ("topk", "batchtopk")


@pytest.fixture
def as_on_an_accelerator(monkeypatch):
    monkeypatch.setattr(sparse_step, "host_runs_ahead", lambda tensor: True)


@pytest.mark.usefixtures("as_on_an_accelerator")
@pytest.mark.parametrize("n_dead", [0, 3, 60, 128])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_path_of_accelerators_equals_stock(architecture, n_dead):
    stock, sparse = stock_and_sparse(architecture, d_in=24, d_sae=128, k=6)
    x, is_dead = torch.randn(50, 24), torch.arange(128) >= 128 - n_dead
    ours, theirs = step(sparse, x, is_dead), step(stock, x, is_dead)
    assert not ours.output.feature_acts.is_sparse
    assert_same_step(ours, theirs)
    torch.testing.assert_close(ours.output.hidden_pre, theirs.output.hidden_pre)
    if architecture == "batchtopk":
        assert sparse.topk_threshold == pytest.approx(stock.topk_threshold.item(), rel=1e-6)


@pytest.mark.usefixtures("as_on_an_accelerator")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_path_of_accelerators_needs_no_value_on_the_host(architecture, dtype):
    _, sparse = stock_and_sparse(architecture, d_in=24, d_sae=128, k=6, dtype=dtype)
    monitored = torch.randn(50, 24, dtype=getattr(torch, dtype))
    is_dead = torch.arange(128) < 20
    with NoSynchronisation():
        sparse_output = step_without_copies(sparse, monitored, is_dead)
    assert sparse_output.isfinite()


def step_without_copies(sae, x, is_dead):
    return sae.sparse_forward_pass(sparse_step.TrainStepInput(x, {}, is_dead, 0, False)).loss


def test_the_monitor_sees_the_path_of_the_cpu():
    _, sparse = stock_and_sparse("topk", d_in=24, d_sae=128, k=6)
    with NoSynchronisation(), pytest.raises(AssertionError, match="between host and device"):
        step_without_copies(sparse, torch.randn(50, 24), torch.arange(128) < 20)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_synchronisation_on_cuda(architecture, dtype):
    _, sparse = stock_and_sparse(architecture, d_in=64, d_sae=512, k=8, dtype=dtype)
    sparse.to("cuda")
    x = torch.randn(256, 64, dtype=getattr(torch, dtype), device="cuda")
    is_dead = torch.arange(512, device="cuda") < 20
    step_without_copies(sparse, x, is_dead).backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step_without_copies(sparse, x, is_dead).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
