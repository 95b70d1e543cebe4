"""Sparse steps give what SAELens' dense steps give."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from mm_sae_plugin.saes.sparse.codes import codes_of_equal_rows
from mm_sae_plugin.saes.sparse.decode import _by_latent
from tests.saes.sparse.pairs import assert_same_step, step, stock_and_sparse

ARCHITECTURES = ("topk", "batchtopk")


@st.composite
def cases(draw):
    d_sae = draw(st.integers(1, 150))
    config = {
        "d_in": draw(st.integers(2, 40)),
        "d_sae": d_sae,
        "k": draw(st.one_of(st.just(1), st.just(d_sae), st.integers(1, d_sae))),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "rescale_acts_by_decoder_norm": draw(st.booleans()),
        "apply_b_dec_to_input": draw(st.booleans()),
        "aux_loss_coefficient": draw(st.sampled_from([1.0, 0.25])),
    }
    n_dead = draw(st.one_of(st.just(0), st.just(d_sae), st.integers(0, d_sae)))
    return config, draw(st.integers(1, 40)), n_dead, draw(st.integers(0, 10_000))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@settings(max_examples=80, deadline=None, derandomize=True)
@given(case=cases())
def test_gradients_of_random_shapes_equal_stocks(architecture, case):
    config, n_rows, n_dead, seed = case
    generator = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, config["dtype"])
    x = torch.randn(n_rows, config["d_in"], dtype=dtype, generator=generator)
    is_dead = torch.zeros(config["d_sae"], dtype=torch.bool)
    is_dead[torch.randperm(config["d_sae"], generator=generator)[:n_dead]] = True
    stock, sparse = stock_and_sparse(architecture, seed=seed, **config)
    assert sparse.takes_sparse_step(x)
    assert_same_step(step(sparse, x, is_dead), step(stock, x, is_dead))
    if architecture == "batchtopk":
        assert sparse.topk_threshold == pytest.approx(stock.topk_threshold.item(), rel=1e-6)


# More rows than a block holds, and dead latents few, some and more than are selected densely.
@pytest.mark.parametrize("n_dead", [0, 3, 30, 700])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_several_blocks_of_rows(architecture, n_dead):
    stock, sparse = stock_and_sparse(architecture, d_in=24, d_sae=1003, k=7)
    # Of nine million pre-activations the last that is chosen and the first that is not lie 4e-6
    # apart with this seed, and with one in three so near that blocks may round them either way.
    x = torch.randn(9000, 24, generator=torch.Generator().manual_seed(1))
    is_dead = torch.arange(1003) < n_dead
    assert_same_step(step(sparse, x, is_dead), step(stock, x, is_dead))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_without_a_positive_pre_activation_stay_empty(architecture):
    stock, sparse = stock_and_sparse(architecture, d_in=16, d_sae=64, k=4)
    x = torch.randn(20, 16)
    # Rows at the bias have pre-activations b_enc, all negative; the others keep a few.
    for sae in (stock, sparse):
        sae.b_enc.data.fill_(-0.5)
    x[:5] = stock.b_dec.data
    ours = step(sparse, x)
    assert (ours.codes[:5] == 0).all() and (ours.codes[5:] > 0).any()
    assert_same_step(ours, step(stock, x))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_active_at_all(architecture):
    stock, sparse = stock_and_sparse(architecture, d_in=16, d_sae=64, k=4)
    for sae in (stock, sparse):
        sae.b_enc.data.fill_(-100.0)
    x, is_dead = torch.randn(20, 16), torch.ones(64, dtype=torch.bool)
    ours = step(sparse, x, is_dead)
    assert (ours.codes == 0).all()
    assert_same_step(ours, step(stock, x, is_dead))


def test_of_equal_pre_activations_topk_takes_the_same_ones_as_torch():
    stock, sparse = stock_and_sparse("topk", d_in=16, d_sae=256, k=5)
    for sae in (stock, sparse):
        # Latents come in fours that differ in the decoder alone, and no rescaling tells them apart.
        sae.cfg.rescale_acts_by_decoder_norm = False
        sae.W_enc.data.copy_(sae.W_enc.data[:, :64].repeat(1, 4))
        sae.b_enc.data.copy_(sae.b_enc.data[:64].repeat(4))
    x = torch.randn(200, 16)
    ours = step(sparse, x)
    n_equal = ours.codes.sort(dim=1).values.diff(dim=1)[:, -5:].eq(0).sum()
    assert n_equal > 400
    assert_same_step(ours, step(stock, x))


def test_of_equal_pre_activations_batchtopk_takes_as_many():
    stock, sparse = stock_and_sparse("batchtopk", d_in=16, d_sae=256, k=5)
    for sae in (stock, sparse):
        sae.W_enc.data.fill_(0.01)
        sae.W_dec.data.fill_(0.2)
        sae.b_enc.data.fill_(0.5)
    x = torch.randn(200, 16)
    ours, theirs = step(sparse, x), step(stock, x)
    # Which of the equal latents are kept is arbitrary; what they add up to is not.
    assert (ours.codes > 0).sum() == (theirs.codes > 0).sum() == 1000
    assert sorted(ours.codes[ours.codes > 0].tolist()) == pytest.approx(
        sorted(theirs.codes[theirs.codes > 0].tolist())
    )
    assert ours.gradients["b_enc"].sum().item() == pytest.approx(
        theirs.gradients["b_enc"].sum().item(), rel=1e-5
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_autocast_reconstructs_at_least_as_well_as_stock(architecture):
    stock, sparse = stock_and_sparse(architecture, d_in=64, d_sae=256, k=16)
    x = torch.randn(100, 64, generator=torch.Generator().manual_seed(0))
    exact = step(stock, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs, ours = step(stock, x), step(sparse, x)

    def error(result):
        return (result.output.sae_out.float() - exact.output.sae_out).norm()

    assert ours.output.sae_out.dtype == theirs.output.sae_out.dtype
    assert error(ours) <= 1.05 * error(theirs)
    for name, gradient in exact.gradients.items():
        assert (ours.gradients[name] - gradient).norm() <= 0.15 * gradient.norm(), name


@pytest.mark.parametrize("d_sae", [3, 2**16, 2**16 + 1])
def test_entries_are_sorted_by_latent_and_then_by_row(d_sae):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randint(max(0, d_sae - 50), d_sae, (40, 2), generator=generator)
    codes = codes_of_equal_rows(latents, torch.ones(40, 2), d_sae)
    rows, sorted_latents, starts, order = _by_latent(codes)
    expected = codes.latents.sort(stable=True)
    assert torch.equal(sorted_latents, expected.values) and torch.equal(order, expected.indices)
    assert torch.equal(rows, order // 2)
    assert torch.equal(starts.diff(), codes.latents.bincount(minlength=d_sae))
