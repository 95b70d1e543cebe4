"""One SAE from several processes is the SAE of one, and none of them ever hangs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.jobs import make_runner, train_each, train_until, train_with_own
from tests.training.together import run_together

ARCHITECTURES: dict[str, dict[str, Any]] = {
    name: {"architecture": name}
    for name in (
        *("topk", "abstopk", "batchtopk", "matryoshka_batchtopk", "standard", "gated", "jumprelu"),
        *("matching_pursuit", "sparse_topk", "sparse_batchtopk", "aligned_topk", "group_topk"),
    )
}


def same_sae(folder: Path, other: Path) -> None:
    ours = load_file(folder / "sae_weights.safetensors")
    theirs = load_file(other / "sae_weights.safetensors")
    for name, weights in ours.items():
        torch.testing.assert_close(weights, theirs[name], rtol=0, atol=1e-5, msg=name)


def test_each(tmp_path):
    options = {name: {**o, "out": tmp_path / "two" / name} for name, o in ARCHITECTURES.items()}
    first, second = run_together(train_each, options)
    print(first, second)
    for name, o in ARCHITECTURES.items():
        r = make_runner(**o, out=tmp_path / "one" / name).run()
        a = load_file(tmp_path / "one" / name / "sae_weights.safetensors")
        b = load_file(tmp_path / "two" / name / "sae_weights.safetensors")
        m = [json.loads((tmp_path / d / name / "cfg.json").read_text())["metadata"] for d in ("one", "two")]
        print(name, {k: (a[k] - b[k]).abs().max().item() for k in a}, [(x["num_dead_features"], x["l0"]) for x in m])


@pytest.mark.parametrize("h", ["terminated", "interrupted", "killed", "failed", "silent"])
def test_until(tmp_path, h):
    for o in run_together(train_until, {"out": tmp_path / "sae"}, 10, h, timeout=5.0):
        print(o)
    print(*tmp_path.rglob("*"))


def test_own(tmp_path):
    for o in run_together(train_with_own, {"out": tmp_path / "sae"}, {"lr": 0.1}):
        print(o)
