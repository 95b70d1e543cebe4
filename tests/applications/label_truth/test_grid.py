"""Which dictionaries a sweep trains, and what it refuses."""

from collections import Counter
from typing import Any

import pytest

from mm_sae_plugin.applications.label_truth import Cell, SweepConfig, grid
from mm_sae_plugin.errors import UserError


def test_the_default_grid():
    cells = grid(SweepConfig())
    assert len(cells) == len(set(cells)) == 5 * 3 + 6
    usual = [cell for cell in cells if cell.is_usual_topk and cell.model == "factorworld"]
    assert Counter(cell.d_sae for cell in usual) == dict.fromkeys((96, 256, 512, 1024, 4096), 3)
    assert {(cell.d_sae, cell.k) for cell in usual} == {
        *((96, 12), (256, 16), (512, 16), (1024, 16), (4096, 16))
    }
    others = [cell for cell in cells if cell not in usual]
    assert set(others) == {
        Cell("factorworld", "topk", 512, 8, 0),
        Cell("factorworld", "topk", 512, 32, 0),
        Cell("factorworld", "batchtopk", 512, 16, 0),
        Cell("factorworld", "jumprelu", 512, 16, 0),
        Cell("factorworld", "matryoshka_batchtopk", 512, 16, 0),
        Cell("factorworld-declip", "topk", 512, 16, 0),
    }


def test_the_largest_come_first_and_have_names_of_their_own():
    cells = grid(SweepConfig())
    assert [cell.d_sae for cell in cells] == sorted((cell.d_sae for cell in cells), reverse=True)
    assert len({cell.name for cell in cells}) == len(cells)


def test_the_full_grid_holds_the_default_one():
    full = grid(SweepConfig(full=True))
    assert len(full) == len(set(full)) == 5 * 4 * 2 * 3 + 2
    assert set(grid(SweepConfig())) <= set(full)


def test_other_sizes_vary_nothing_else():
    cells = grid(SweepConfig(sizes=(64, 128), seeds=(5,)))
    assert set(cells) == {
        Cell("factorworld", "topk", 64, 12, 5),
        Cell("factorworld", "topk", 128, 16, 5),
    }


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sizes": ()}, "sizes"),
        ({"sizes": (256, 8)}, "not 8"),
        ({"seeds": (-1,)}, "not -1"),
        ({"pairs": 10}, "500 pairs"),
        ({"training_steps": 0}, "training_steps"),
        ({"n_workers": 0}, "n_workers"),
    ],
)
def test_options_without_meaning_are_refused(wrong: dict[str, Any], named: str):
    with pytest.raises(UserError, match=named):
        SweepConfig(**wrong)
