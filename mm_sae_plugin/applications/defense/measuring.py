"""One contender on every task: right as it is, under static images, and in the worst case."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.permutation import proportion_interval
from mm_sae_plugin.applications.bias.utility import utility
from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.contenders import Contender
from mm_sae_plugin.applications.defense.evaluation import (
    APGD,
    APGD_TARGETED,
    PGD,
    SQUARE,
    Attack,
    evaluate,
    right,
    standard_attacks,
)
from mm_sae_plugin.applications.defense.gradient_attacks import (
    Attacked,
    Classifier,
    apgd_targeted,
    pgd,
)
from mm_sae_plugin.applications.defense.robustness_config import RobustnessConfig
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.training_set import pixels_of
from mm_sae_plugin.applications.defense.vector_attacks import embedding_attack
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.models import HookedCLIP

More = Callable[[Victim], Mapping[str, Attack]]
"""Further attacks on a victim, by their names."""
_N_TARGETS = 3
_BATCH = 64


@dataclass(frozen=True)
class Posed:
    """A task as tensors."""

    name: str
    """Its task's."""
    images: Float[Tensor, "n 3 h w"]
    """Pixels in [0, 1]."""
    labels: Int[Tensor, "n"]
    """Number of each image's class."""
    classes: Float[Tensor, "k d"]
    """Unit-length joint vector of each class."""
    static: Float[Tensor, "n 3 h w"]
    """The images, as PGD moved them against the bare encoder."""

    @property
    def fingerprint(self) -> str:
        """What says whether two are the same: of the name and all numbers but the static images,
        which follow from them."""
        digest = hashlib.sha256(self.name.encode())
        for numbers in (self.images, self.labels, self.classes):
            digest.update(numbers.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @classmethod
    def of(cls, task: Task, model: HookedCLIP, cfg: RobustnessConfig) -> Posed:
        """Embed a task and attack the bare encoder on it."""
        classes, labels = task.classes(model), task.indices
        victim = Victim(model, classes)
        images = pixels_of(model, task.pictures).float() / 255
        parts = zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
        moved = [
            pgd(victim, x, y, budget_of(cfg), cfg.n_pgd, seed=cfg.seed).images for x, y in parts
        ]
        return cls(task.name, images, labels, classes, torch.cat(moved))


@dataclass(frozen=True)
class TaskResult:
    """One contender on one task."""

    name: str
    """The contender's."""
    kind: str
    """How it came about."""
    seed: int
    """Of its training."""
    task: str
    """The task's name."""
    n: int
    """Images."""
    clean: float
    """Share that is right as they are."""
    static: float
    """Share that is right, and stays right under images made against the bare encoder."""
    adaptive: float
    """Share that no attack through the defense finds anything against, nor a static one."""
    wilson: list[float]
    """Interval of the adaptive share: low, high."""
    strong: dict[str, float] = field(default_factory=dict)
    """On the images that all attacks saw: what is left after each, in order; `n` says how many."""
    sweep: dict[str, dict[str, float]] = field(default_factory=dict)
    """Budget to `static` and `adaptive`, by PGD, from 0 on; on the images of `strong`."""
    retrieval: float | None = None
    """Clean images that find their own caption among 256; None where there are no captions."""
    seconds: float = 0.0
    """What the attacks took."""
    robust: str = ""
    """Image by image: 1 where it is right in the worst case."""

    @property
    def worst(self) -> Bool[Tensor, "n"]:
        """Which images are right in the worst case."""
        return torch.tensor([each == "1" for each in self.robust])


def measure(
    contender: Contender,
    posed: Posed,
    cfg: RobustnessConfig,
    is_strong: bool,
    retrieval: float | None = None,
    more: More | None = None,
) -> TaskResult:
    """Attack one contender on one task.

    Parameters
    ----------
    contender : Contender
    posed : Posed
    cfg : RobustnessConfig
    is_strong : bool
        Whether all other attacks and the sweep are run, too.
    retrieval : float, optional
        Is only handed on.
    more : callable, optional
        Attacks beside the usual ones, such as on the latents of an SAE.
    """
    started = time.time()
    victim = contender.victim(posed.classes)
    is_bare = contender.kind == "undefended"
    static = None if is_bare else posed.static
    attacks = {PGD: _pgd(cfg)}
    found = evaluate(victim, posed.images, posed.labels, budget_of(cfg), attacks, static)
    right_static = found.clean & found.survived.get("static", found.survived[PGD])
    worst, strong, sweep = found.worst.clone(), {}, {}
    if is_strong:
        n = min(cfg.n_strong, len(worst))
        sweep, worst[:n] = _sweep(victim, posed, cfg, right_static[:n], worst[:n])
        left = worst[:n].nonzero()[:, 0]
        strong = {"n": float(n), "clean": _rate(found.clean[:n]), PGD: _rate(worst[:n])}
        attacks = _strong(victim, cfg, {} if more is None else more(victim))
        standing = evaluate(victim, posed.images[left], posed.labels[left], budget_of(cfg), attacks)
        for name, survived in standing.survived.items():
            strong[name] = float(survived.sum()) / n
        worst[left] = standing.worst
    interval = proportion_interval(int(worst.sum()), len(worst))
    return TaskResult(
        contender.name,
        contender.kind,
        contender.seed,
        posed.name,
        len(worst),
        _rate(found.clean),
        _rate(right_static),
        _rate(worst),
        [interval.low, interval.high],
        strong,
        sweep,
        retrieval,
        round(time.time() - started, 2),
        "".join("1" if each else "0" for each in worst.tolist()),
    )


@torch.no_grad()
def retrieval_of(
    contender: Contender, images: Float[Tensor, "n 3 h w"], captions: Float[Tensor, "n d"]
) -> float | None:
    """Return the share of clean images that find their own caption."""
    victim = contender.victim(captions)
    rows = torch.cat([victim.vectors(part) for part in images.split(_BATCH)])
    return utility(normalize(rows, dim=1), captions, {}).retrieval


def budget_of(cfg: RobustnessConfig) -> Budget:
    """Return what the attacks of an evaluation may change."""
    return Budget(cfg.eps, cfg.norm)


def _pgd(cfg: RobustnessConfig) -> Attack:
    return lambda model, x, y, budget: pgd(
        model, x, y, budget, cfg.n_pgd, seed=cfg.seed, until_fooled=True
    )


def _strong(victim: Victim, cfg: RobustnessConfig, more: Mapping[str, Attack]) -> dict[str, Attack]:
    def targeted(model: Classifier, x: Tensor, y: Tensor, budget: Budget) -> Attacked:
        return apgd_targeted(model, x, y, budget, cfg.n_targeted, _N_TARGETS, cfg.seed)

    attacks = standard_attacks(cfg.n_pgd, cfg.n_apgd, cfg.n_square)
    without_gradients = {SQUARE: attacks.pop(SQUARE)}
    return {
        APGD: attacks[APGD],
        APGD_TARGETED: targeted,
        "embedding": embedding_attack(victim, cfg.n_pgd, cfg.seed),
        **more,
        **without_gradients,
    }


def _sweep(
    victim: Victim,
    posed: Posed,
    cfg: RobustnessConfig,
    right_static: Bool[Tensor, "n"],
    right_pgd: Bool[Tensor, "n"],
) -> tuple[dict[str, dict[str, float]], Bool[Tensor, "n"]]:
    """Measure other budgets; what is found within one lies within every larger one.

    Takes what is right within the configured budget under static images and under PGD; returns,
    beside the figures, what is still right within it once smaller ones have been searched.
    """
    n = len(right_pgd)
    images, labels, found = posed.images[:n], posed.labels[:n], {}
    clean = right(victim, images, labels)
    standing = clean.clone()
    found[_written(0.0)] = {"static": _rate(clean), "adaptive": _rate(clean)}
    for factor in sorted({*cfg.sweep, 1.0}):
        budget = Budget(cfg.eps * factor, cfg.norm)
        if factor == 1:
            of_static = right_static
            standing &= right_pgd
            right_pgd = standing.clone()
        else:
            # The same change, in the length of this budget.
            static = budget.project(images + (posed.static[:n] - images) * factor, images)
            of_static = clean & right(victim, static, labels)
            left = standing.nonzero()[:, 0]
            pgd_alone, moved = {PGD: _pgd(cfg)}, static[left]
            one = evaluate(victim, images[left], labels[left], budget, pgd_alone, moved)
            standing[left] = one.worst
        found[_written(budget.eps)] = {"static": _rate(of_static), "adaptive": _rate(standing)}
    return found, right_pgd


def _written(eps: float) -> str:
    return f"{eps:.6f}"


def _rate(right: Sequence[bool] | Tensor) -> float:
    return float(torch.as_tensor(right).float().mean())
