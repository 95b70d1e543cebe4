"""The same sums come from sparse and from dense codes, to the precision of float64."""

import pytest
import torch
from torch import Tensor

from mm_sae_plugin.features import SAEFeatureMap
from mm_sae_plugin.stats import (
    EvaluationSums,
    ExampleRows,
    ModalityStatistics,
    Reading,
    TruthSums,
    active_codes,
    run_pass,
)
from mm_sae_plugin.stats.active_codes import ActiveCodes
from mm_sae_plugin.stats.carried import moments
from mm_sae_plugin.stats.carried.moments import ProbeMoments
from tests.saes.tiny import tiny_sae
from tests.stats.fakes import FakeFeatureMap, FakeStore, random_store

N_FEATURES = 24


def labelled_store() -> FakeStore:
    store = random_store(n_images=400)
    n = len(store.texts)
    store.labels["drawn.hue"] = ["red" if i % 3 else "" for i in range(n)]
    store.labels["said.hue"] = ["red" if i % 2 else "blue" for i in range(n)]
    return store


def states() -> dict[str, Tensor]:
    """All that every accumulator sums up of a store, in parts and batches that cut images."""
    store = labelled_store()
    sums = {
        "scores": ModalityStatistics(N_FEATURES),
        "carry": ProbeMoments.of(store, N_FEATURES),
        "evaluation": EvaluationSums(),
        "examples": ExampleRows.of(store),
        "truth": TruthSums.of(store, ["hue"], N_FEATURES),
    }
    # Few codes of any batch are active.
    feature_map = FakeFeatureMap(12, N_FEATURES, bias=-2.2)
    (taken,) = run_pass(store, [Reading(feature_map, sums)], part_size=300)
    return {
        f"{name}/{key}": tensor
        for name, accumulator in taken.items()
        for key, tensor in accumulator.state_dict().items()
    }


def assert_same_sums(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if not tensor.dtype.is_floating_point:
            assert torch.equal(found[name], tensor), name
            continue
        # A sum in which terms cancel is as exact as its largest terms allow.
        scale = 1e-12 * float(tensor.abs().max())
        torch.testing.assert_close(found[name], tensor, rtol=1e-12, atol=scale, msg=name)


def test_sparse_and_dense_codes_give_the_same_sums(monkeypatch):
    taken_as = set()
    is_few = ActiveCodes.are_few.fget
    assert is_few is not None

    def noted(self) -> bool:
        taken_as.add(is_few(self))
        return is_few(self)

    monkeypatch.setattr(ActiveCodes, "are_few", property(noted))
    sparse = states()
    assert taken_as == {True}
    taken_as.clear()
    monkeypatch.setattr(active_codes, "MOST_ACTIVE", 0.0)
    dense = states()
    assert taken_as == {False}
    assert_same_sums(sparse, dense)


def test_what_waits_to_be_summed_is_summed_however_long_it_waits(monkeypatch):
    at_last = states()
    monkeypatch.setattr(moments, "_ENTRIES_PER_LATENT", 0)
    at_once = states()
    monkeypatch.setattr(moments, "_ENTRIES_PER_LATENT", 3)
    now_and_then = states()
    assert_same_sums(at_last, at_once)
    assert_same_sums(now_and_then, at_once)


def test_products_are_those_of_dense_codes_in_float64():
    generator = torch.Generator().manual_seed(0)
    codes = (torch.randn(40, 17, generator=generator) - 1.5).relu()
    codes[:, [0, 9, 16]] = 0
    table = torch.randn(40, 5, generator=generator)
    total = torch.ones(17, 5, dtype=torch.float64)
    total.addmm_(ActiveCodes.of(codes).by_latent(), table.double())
    torch.testing.assert_close(total - 1, codes.double().T @ table.double(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_active_is_found_row_by_row(dtype):
    codes = torch.tensor([[0, 2.0, 0, 1], [0, 0, 0, -0.0], [0.5, 0, 0, 3]], dtype=dtype)
    active = ActiveCodes.of(codes)
    assert active.rows.tolist() == [0, 0, 2, 2]
    assert active.latents.tolist() == [1, 3, 0, 3]
    assert active.values.tolist() == [2, 1, 0.5, 3] and active.values.dtype == dtype
    assert active.sums().tolist() == [0.5, 2, 0, 4]
    assert active.sums(power=2).tolist() == [0.25, 4, 0, 10]
    twice = ActiveCodes.joined([active, active.of_rows(torch.tensor([True, True, False]))])
    assert twice.n_rows == 6 and twice.rows.tolist() == [0, 0, 2, 2, 3, 3]
    assert ActiveCodes.of(torch.zeros(3, 4)).sums().tolist() == [0.0] * 4


def test_an_evaluation_is_of_a_modality_s_own_codes_under_the_swap_null():
    store = random_store(n_images=70, d_in=8)
    feature_map = SAEFeatureMap(tiny_sae())
    plain, swapped = (
        run_pass(store, [Reading(feature_map, {"evaluation": EvaluationSums()}, swap_seed=seed)])
        for seed in (None, 3)
    )
    expected = plain[0]["evaluation"].state_dict()
    for name, tensor in swapped[0]["evaluation"].state_dict().items():
        assert torch.equal(tensor, expected[name]), name
