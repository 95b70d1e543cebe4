"""Memory of a pass goes with the dictionary, not with the pairs."""

import gc
import subprocess
import sys

import torch

from mm_sae_plugin.stats import ModalityStatistics, Reading, run_pass
from mm_sae_plugin.stats.carried.moments import ProbeMoments
from mm_sae_plugin.stats.monosemanticity.pairwise import PairwiseSums
from mm_sae_plugin.stats.monosemanticity.top import ExampleRows
from tests.memory import memory_mib, reset_peak
from tests.stats.fakes import FakeFeatureMap, random_store
from tests.stats.monosemanticity.judged import random_rows

D_IN, N_FEATURES = 8, 2048
SIZES = (4_000, 32_000)


def added_mib(n_images: int) -> float:
    """Peak of memory that every sum over a store takes, beyond the store."""
    torch.set_num_threads(1)
    store = random_store(n_images, D_IN, max_captions=1)
    judged = random_rows(n_images)
    reset_peak()
    before = memory_mib("VmRSS")
    sums = {
        "scores": ModalityStatistics(N_FEATURES),
        "carry": ProbeMoments.of(store, N_FEATURES),
        "pairwise": PairwiseSums("image", judged, N_FEATURES),
        "examples": ExampleRows.of(store, 20),
    }
    run_pass(store, [Reading(FakeFeatureMap(D_IN, N_FEATURES, bias=-2.5), sums)])
    return memory_mib("VmHWM") - before


def n_tensors_of(n_batches: int) -> int:
    """How many tensors there are more when some batches have been summed."""
    before = _n_tensors()
    store = random_store(64 * n_batches, D_IN, max_captions=1)
    sums = {"scores": ModalityStatistics(32), "carry": ProbeMoments.of(store, 32)}
    # Every part is one batch.
    kept = run_pass(store, [Reading(FakeFeatureMap(D_IN, 32), sums)], part_size=64)
    n_tensors = _n_tensors() - before
    assert kept
    return n_tensors


def _n_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


def _alone(call: str) -> float:
    # A process each: what the allocator keeps of one would hide what the other takes.
    command = [sys.executable, "-c", f"from {__name__} import *; print({call})"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_no_batch_leaves_a_tensor_behind():
    # Small ones that lie between what batches need and free keep an allocator from using it again.
    assert n_tensors_of(40) == n_tensors_of(4)


def test_eight_times_the_pairs_take_no_more_memory():
    few, many = (_alone(f"added_mib({n})") for n in SIZES)
    codes = (SIZES[1] - SIZES[0]) * N_FEATURES * 4 / 2**20
    # The codes of both sides would be twice as much; what the allocator keeps differs a little.
    assert many - few < codes, (few, many, codes)
