"""Beside the Adversarial Robustness Toolbox: the same model and budget, as much broken."""

import numpy as np
import pytest
import torch
from torch import nn

from mm_sae_plugin import load_model
from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.evaluation import right
from mm_sae_plugin.applications.defense.gradient_attacks import apgd, pgd
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.victim import Victim

N, EPS, N_STEPS, APART = 64, 4 / 255, 10, 0.04

attacks = pytest.importorskip("art.attacks.evasion", reason="needs the extra `robustness`")


class Module(nn.Module):
    def __init__(self, victim):
        super().__init__()
        self.victim = victim

    def forward(self, x):
        return self.victim(x)


@pytest.fixture(scope="module", params=["factorworld", "factorworld-robust"])
def asked(request):
    from art.estimators.classification import PyTorchClassifier

    task, model = Task.of_world("object", N), load_model(request.param)
    victim = Victim(model, task.classes(model))
    images = victim.pixels(task.pictures)
    theirs = PyTorchClassifier(
        Module(victim),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=victim.classes.shape[0],
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    return victim, theirs, images, task.indices


def survivors(asked, moved):
    victim, _, images, labels = asked
    assert Budget(EPS).holds(moved, images)
    return float(right(victim, moved, labels).float().mean())


def test_pgd_breaks_as_much_as_theirs(asked):
    victim, model, images, labels = asked
    ours = survivors(asked, pgd(victim, images, labels, Budget(EPS), N_STEPS).images)
    attack = attacks.ProjectedGradientDescentPyTorch(
        model,
        eps=EPS,
        eps_step=2.5 * EPS / N_STEPS,
        max_iter=N_STEPS,
        num_random_init=1,
        batch_size=N,
        verbose=False,
    )
    np.random.seed(0)  # noqa: NPY002 -- the toolbox draws from there
    theirs = survivors(asked, torch.from_numpy(attack.generate(images.numpy(), labels.numpy())))
    assert abs(ours - theirs) <= APART, (ours, theirs)


def test_apgd_breaks_as_much_as_theirs(asked):
    victim, model, images, labels = asked
    ours = survivors(asked, apgd(victim, images, labels, Budget(EPS), N_STEPS).images)
    attack = attacks.AutoProjectedGradientDescent(
        model,
        eps=EPS,
        eps_step=2 * EPS,
        max_iter=N_STEPS,
        nb_random_init=1,
        batch_size=N,
        loss_type="cross_entropy",
        verbose=False,
    )
    np.random.seed(0)  # noqa: NPY002 -- the toolbox draws from there
    theirs = survivors(asked, torch.from_numpy(attack.generate(images.numpy(), labels.numpy())))
    assert ours <= theirs + APART, (ours, theirs)
