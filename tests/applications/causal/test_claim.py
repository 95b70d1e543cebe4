"""Verdicts on C4, from costs that are known."""

import json

import numpy as np
import pytest

from mm_sae_plugin.applications.causal.claim import claim_c4
from mm_sae_plugin.applications.causal.costs import CostRow
from mm_sae_plugin.applications.causal.resampling import Estimate


def _row(name: str, n_latents: int, cost: float, energy: float, spread: float, seed: int):
    noise = np.random.default_rng(seed).normal(0, spread, 501)
    noise[0] = 0
    drawn = {"class": cost + noise, "latent": (cost + noise) / n_latents}
    drawn["energy"] = (cost + noise) / energy if energy else np.full(501, np.nan)
    costs = {per: Estimate.of(values, 0.95) for per, values in drawn.items()}
    tasks: tuple[str, ...] = ("retrieval", "zero_shot")
    of_tasks, drawn_of = {task: costs for task in tasks}, {task: drawn for task in tasks}
    return CostRow(name, "both", "carried", n_latents, None, None, True, {}, {}, of_tasks, drawn_of)


def _rows(image: float, text: float, cross: float, spread: float = 0.01, energy: float = 0.1):
    return [
        _row("ImgD", 100, image, 0.1, spread, 0),
        _row("TextD", 100, text, 0.1, spread, 1),
        _row("CrossD", 10, cross, energy, spread, 2),
    ]


def _verdicts(rows) -> dict[str, str]:
    return {one.per: one.verdict for one in claim_c4(rows, 0.95, 500, {"": "carried"})}


def test_a_small_class_costs_least_and_most():
    """The paradox: ten latents cost less than a hundred, and yet most for each of them."""
    found = _verdicts(_rows(0.4, 0.3, 0.2))
    assert found == {"class": "supported", "latent": "not supported", "energy": "supported"}


def test_no_difference_decides_nothing():
    assert _verdicts(_rows(0.2, 0.3, 0.2))["class"] == "undecided"
    assert _verdicts(_rows(0.4, 0.3, 0.2, spread=0.2))["class"] == "undecided"


def test_one_class_that_costs_less_refutes_it():
    assert _verdicts(_rows(0.4, 0.1, 0.2))["class"] == "not supported"


def test_two_differences_share_the_level():
    (claim, *_) = claim_c4(_rows(0.4, 0.3, 0.2, spread=0.1), 0.95, 500, {"": "carried"})
    rows = {row.name: row.drawn["retrieval"]["class"] for row in _rows(0.4, 0.3, 0.2, spread=0.1)}
    low = np.quantile((rows["TextD"] - rows["CrossD"])[1:], 0.0125)
    assert claim.tasks[0].differences["TextD"].low == pytest.approx(low)


def test_without_energy_there_is_no_cost_per_unit_of_it():
    found = claim_c4(_rows(0.4, 0.3, 0.2, energy=0.0), 0.95, 500, {"": "carried"})
    by_per = {one.per: one for one in found}
    assert (
        by_per["energy"].verdict == "undecided"
        and "an unknown amount without CrossD" in by_per["energy"].reason
    )
    assert json.dumps([one.record() for one in found], allow_nan=False)


def test_a_class_without_latents_is_named():
    found = claim_c4(_rows(0.4, 0.3, 0.2)[:2], 0.95, 500, {"": "carried"})
    assert {one.verdict for one in found} == {"undecided"}
    assert "No latent is labelled CrossD by carried" in found[0].reason


def test_tasks_that_disagree_do_not_support_it():
    rows, other = _rows(0.4, 0.3, 0.2), _rows(0.4, 0.1, 0.2)
    for row, replaced in zip(rows, other, strict=True):
        row.drawn["zero_shot"] = replaced.drawn["zero_shot"]
        row.costs["zero_shot"] = replaced.costs["zero_shot"]
    found = claim_c4(rows, 0.95, 500, {"": "carried"})[0]
    assert [task.verdict for task in found.tasks] == ["supported", "not supported"]
    assert found.verdict == "not supported"
