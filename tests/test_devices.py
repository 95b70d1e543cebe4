"""Names of devices and floating-point types, and cores."""

import os

import pytest
import torch

from mm_sae_plugin.devices import available_cores, checked_device, checked_dtype
from mm_sae_plugin.errors import UserError


@pytest.mark.parametrize("name", ["cpu", torch.device("cpu")])
def test_the_processor_is_always_there(name) -> None:
    assert checked_device(name) == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", "CPU!", "7:cpu"])
def test_unknown_names_are_named(name: str) -> None:
    with pytest.raises(UserError, match=f"There is no device '{name}'") as error:
        checked_device(name)
    assert "\n" not in str(error.value)


# No machine has a hundred cards, nor these all at once.
@pytest.mark.parametrize("name", ["cuda:99", "xpu:99", "hpu", "vulkan", "ipu"])
def test_absent_devices_are_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=r"^There is no .* here: .* device='cpu'\.$") as error:
        checked_device(name)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="has Apple's GPU")
def test_apples_gpu_elsewhere() -> None:
    with pytest.raises(UserError, match="no mps device here"):
        checked_device("mps")


def test_a_device_without_numbers_is_refused() -> None:
    with pytest.raises(UserError, match="'meta' holds no numbers"):
        checked_device("meta")


@pytest.mark.parametrize("name", ["bfloat16", torch.bfloat16])
def test_types_by_name(name) -> None:
    assert checked_dtype(name) is torch.bfloat16


@pytest.mark.parametrize("name", ["float8", "int8", "half precision", "nn", "", torch.int64])
def test_types_that_no_model_runs_in(name) -> None:
    with pytest.raises(UserError, match=r"give one of float32, float16, bfloat16, float64\.$"):
        checked_dtype(name)


def test_cores_are_those_that_this_process_may_use(monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1
