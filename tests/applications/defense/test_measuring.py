"""One contender on one task: how clean, static and adaptive figures stand to each other."""

from dataclasses import replace

import pytest
import torch

from mm_sae_plugin.applications.bias.permutation import proportion_interval
from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.contenders import Contender, contenders
from mm_sae_plugin.applications.defense.evaluation import right
from mm_sae_plugin.applications.defense.gradient_attacks import Attacked
from mm_sae_plugin.applications.defense.measuring import (
    Posed,
    budget_of,
    measure,
    retrieval_of,
)
from mm_sae_plugin.applications.defense.robustness_config import RobustnessConfig
from mm_sae_plugin.applications.defense.tasks import Captioned, Task
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.models import load_model

N = 20
CFG = RobustnessConfig(
    n=N, n_strong=16, n_pgd=2, n_apgd=3, n_targeted=2, n_square=10, sweep=(0.5, 2.0)
)


@pytest.fixture(scope="module")
def found():
    """The undefended encoder, the shipped one, and one whose vectors are turned a little."""
    chance = torch.Generator().manual_seed(0)
    turn = torch.eye(128) + 0.02 * torch.randn(128, 128, generator=chance)
    return contenders(load_model("factorworld"), changes={"turned": lambda rows: rows @ turn})


@pytest.fixture(scope="module")
def posed(found):
    return Posed.of(Task.of_world("object", N), found[0].model, CFG)


@pytest.fixture(scope="module")
def rows(found, posed):
    return [measure(each, posed, CFG, is_strong=True, retrieval=0.5) for each in found]


def test_a_task_is_attacked_against_the_bare_encoder(found, posed):
    assert posed.name == "object" and posed.images.shape == (N, 3, 48, 48)
    assert budget_of(CFG).holds(posed.static, posed.images)
    victim = found[0].victim(posed.classes)
    clean, attacked = (right(victim, x, posed.labels) for x in (posed.images, posed.static))
    assert clean.float().mean() > 0.8 and attacked.sum() < clean.sum() - 5


def test_no_figure_is_above_the_one_that_it_is_part_of(rows):
    for row in rows:
        assert 1 >= row.clean >= row.static >= row.adaptive >= 0, row.name
        ordered = [row.strong[name] for name in row.strong if name != "n"]
        assert ordered == sorted(ordered, reverse=True), row.name
    bare, shipped, turned = rows
    assert shipped.adaptive > bare.adaptive + 0.2
    # What does not know the defense flatters it.
    assert turned.static > turned.adaptive
    # Images made against the undefended encoder are its own PGD.
    assert bare.static <= bare.clean - 0.2


def test_attacks_are_told_in_order_and_on_how_many_images(rows):
    for row in rows:
        assert list(row.strong) == [
            "n",
            "clean",
            "PGD",
            "APGD-CE",
            "APGD-DLR",
            "embedding",
            "Square",
        ]
        assert row.strong["n"] == 16 and row.n == N
        assert row.seconds > 0 and row.retrieval == 0.5


def test_accuracy_does_not_rise_with_the_budget(rows):
    for row in rows:
        budgets = sorted(row.sweep, key=float)
        assert budgets == [f"{CFG.eps * factor:.6f}" for factor in (0, 0.5, 1, 2)]
        adaptive = [row.sweep[each]["adaptive"] for each in budgets]
        assert adaptive == sorted(adaptive, reverse=True), (row.name, adaptive)
        assert row.sweep[budgets[0]] == {"static": adaptive[0], "adaptive": adaptive[0]}
        assert adaptive[0] == row.strong["clean"]
        for each in row.sweep.values():
            assert each["adaptive"] <= each["static"]


def test_the_worst_case_is_told_image_by_image(rows, found, posed):
    for row, contender in zip(rows, found, strict=True):
        assert row.worst.shape == (N,) and row.robust == "".join(str(int(x)) for x in row.worst)
        count = int(row.worst.sum())
        assert row.adaptive == pytest.approx(count / N)
        interval = proportion_interval(count, N)
        assert row.wilson == [interval.low, interval.high]
        assert interval.low <= row.adaptive <= interval.high
        # What stands is at least right as it is, and under the static images.
        victim = contender.victim(posed.classes)
        for pixels in (posed.images, posed.static):
            assert right(victim, pixels, posed.labels)[row.worst].all() or row.name == "none"


def test_without_the_strong_attacks_pgd_alone_is_told(rows, found, posed):
    quick = [measure(each, posed, CFG, is_strong=False) for each in found]
    for strong, row in zip(rows, quick, strict=True):
        assert row.strong == {} and row.sweep == {} and row.retrieval is None
        assert (row.clean, row.static) == (strong.clean, strong.static)
        assert (strong.worst & ~row.worst).sum() == 0
        assert float(row.worst[:16].float().mean()) >= strong.strong["PGD"]


def test_further_attacks_count(found, posed):
    def inverting(model, x, y, budget):
        moved = budget.project(1 - x, x)
        with torch.no_grad():
            return Attacked(moved, model(moved).argmax(1) != y)

    seen = []

    def more(victim):
        seen.append(victim)
        return {"inverting": inverting}

    cfg = replace(CFG, sweep=(), n_apgd=1, n_targeted=1, n_square=1)
    row = measure(found[1], posed, cfg, is_strong=True, more=more)
    assert list(row.strong)[-2:] == ["inverting", "Square"] and seen[0].model is found[1].model


def test_it_repeats_to_the_last_digit(rows, found, posed):
    again = measure(found[1], posed, CFG, is_strong=True, retrieval=0.5)
    assert replace(again, seconds=0.0) == replace(rows[1], seconds=0.0)
    other = replace(CFG, seed=1)
    moved = Posed.of(Task.of_world("object", 16), found[0].model, other).static
    assert not moved.equal(posed.static[:16])


class Narrow(Victim):
    """Wrong where all pixels rise by about half the budget; a single step of the whole misses."""

    def vectors(self, pixels):
        level = (pixels.mean((1, 2, 3)) - 0.5) / CFG.eps
        return torch.stack([0.2 - (level - 0.5).abs(), torch.zeros_like(level)], 1)


class Overshot(Contender):
    def victim(self, classes):
        return Narrow(self.model, classes)


def test_what_a_smaller_budget_finds_counts_within_a_larger_one(found):
    images = torch.full((16, 3, 48, 48), 0.5)
    labels = torch.ones(16, dtype=torch.long)
    posed = Posed("grey", images, labels, torch.eye(2), images)
    overshot = Overshot("overshot", "training-free", found[0].model)
    cfg = replace(CFG, n_pgd=1, n_apgd=1, n_targeted=1, n_square=1)
    for sweep, left in (((2.0,), 1.0), ((0.5, 2.0), 0.0)):
        row = measure(overshot, posed, replace(cfg, sweep=sweep), is_strong=True)
        assert row.clean == row.static == 1.0 and row.adaptive == left == row.strong["PGD"]
        adaptive = [row.sweep[each]["adaptive"] for each in sorted(row.sweep, key=float)]
        assert adaptive == [1.0, *[left] * (len(sweep) + 1)]


def test_budgets_of_the_euclidean_norm(found):
    cfg = replace(CFG, norm="L2", eps=0.5, sweep=(2.0,), n_apgd=1, n_targeted=1, n_square=1)
    posed = Posed.of(Task.of_world("object", 16), found[0].model, cfg)
    assert Budget(0.5, "L2").holds(posed.static, posed.images)
    row = measure(found[0], posed, cfg, is_strong=True)
    assert row.clean >= row.static >= row.adaptive and "1.000000" in row.sweep
    assert row.adaptive < row.clean


def test_captions_find_their_own_image_and_shuffled_ones_do_not(found):
    captioned = Captioned.of_world(32)
    bare = found[0]
    pixels = bare.victim(torch.eye(128)[:2]).pixels(captioned.pictures)
    with torch.no_grad():
        captions = bare.model.encode_text(list(captioned.captions), normalize=True)
    own = retrieval_of(bare, pixels, captions)
    shuffled = retrieval_of(bare, pixels, captions.roll(1, 0))
    assert own is not None and own > 0.5
    assert shuffled is not None and shuffled <= 3 / 32
    # A defense that looks at nothing finds nothing.
    blind = replace(bare, change=lambda rows: torch.ones_like(rows))
    assert retrieval_of(blind, pixels, captions) == pytest.approx(1 / 32)
