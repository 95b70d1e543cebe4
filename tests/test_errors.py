"""Configs say which of their numbers is none."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mm_sae_plugin.activations import ExtractConfig
from mm_sae_plugin.applications.label_truth.config import SweepConfig
from mm_sae_plugin.commands.quickstart import QuickstartConfig
from mm_sae_plugin.errors import UserError, check_numbers
from mm_sae_plugin.factorworld.export import WorldConfig
from mm_sae_plugin.stats import ModalityConfig
from mm_sae_plugin.training import MultimodalSAERunnerConfig


@dataclass
class _Config:
    n: int = 1
    share: float | None = None
    word: str = "a"
    path: str | Path = "b"
    flag: bool = False
    range: tuple[float, float] = (0.0, 1.0)
    several: int | str = 1
    seed: int = 0


@pytest.mark.parametrize(
    "given",
    [
        {"n": np.int64(3)},
        {"share": 1},
        {"share": np.float32(0.5)},
        {"share": None},
        {"word": 3},
        {"several": "all"},
    ],
)
def test_numbers_of_every_library_pass_and_others_are_not_looked_at(given):
    check_numbers(_Config(**given))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"n": "64"}, "n must be a whole number, not '64'"),
        ({"n": 6.5}, "n must be a whole number, not 6.5"),
        ({"n": True}, "n must be a whole number, not True"),
        ({"n": None}, "n must be a whole number, not None"),
        ({"share": "half"}, "share must be a number, not 'half'"),
        ({"share": [1] * 99}, r"share must be a number, not \[1, 1"),
        ({"seed": -1}, r"A seed must be a whole number from 0, below 2\^63, not -1\."),
        ({"seed": 2**63}, r"below 2\^63, not 9223372036854775808\."),
    ],
)
def test_what_is_no_number_is_named(given, told):
    with pytest.raises(UserError, match=told) as error:
        check_numbers(_Config(**given))
    assert len(str(error.value)) < 90


@pytest.mark.usefixtures("any_types")
@pytest.mark.parametrize(
    ("config", "field"),
    [
        (ExtractConfig, "batch_size"),
        (ExtractConfig, "num_workers"),
        (MultimodalSAERunnerConfig, "d_sae"),
        (MultimodalSAERunnerConfig, "lr"),
        (ModalityConfig, "confidence"),
    ],
)
def test_configs_look_at_their_numbers(config, field):
    with pytest.raises(UserError, match=f"{field} must be a .*number, not 'x'"):
        config(**{field: "x"})


def test_no_config_takes_a_seed_below_0(tmp_path):
    for config in (
        lambda: WorldConfig(tmp_path, seed=-1),
        lambda: MultimodalSAERunnerConfig(seed=-1),
        lambda: QuickstartConfig(seed=-1),
        lambda: SweepConfig(seeds=(0, -1)),
    ):
        with pytest.raises(UserError, match=r"A seed must be a whole number from 0.*, not -1\."):
            config()
