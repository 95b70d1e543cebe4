"""What the labels would be at other settings: tau, and how often a latent must fire."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from mm_sae_plugin.stats.config import ModalityConfig, RuleName
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.kappa_interval import Kappa, kappa_with_interval
from mm_sae_plugin.stats.label_agreement import kappa_of_living
from mm_sae_plugin.stats.scores import PAPER_SCORE


@dataclass(frozen=True)
class SettingResult:
    """The labels at one setting."""

    score: str
    """Which score is classified."""
    rule: str
    """`paper` or `interval`."""
    parameter: str
    """What is varied: `tau` or `min_activations`."""
    value: float
    """What it is set to."""
    class_counts: dict[str, int]
    """Number of latents of every class, zeros included."""
    kappa: Kappa
    """Agreement with the same score and rule at the setting of the labels."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "score": self.score,
            "rule": self.rule,
            self.parameter: self.value,
            "class_counts": self.class_counts,
            "kappa_with_default": self.kappa.record(),
        }


def sweep_tau(
    labels: ModalityDominance, taus: Sequence[float], seed: int = 0
) -> tuple[SettingResult, ...]:
    """Widen and narrow the paper rule's middle band, from the sums that the labels hold.

    The score of the labels and the paper's are cut. Kappa is over latents alive, of whom tau
    decides nothing.

    Raises
    ------
    UserError
        If a tau is negative.
    """
    results = []
    for score in dict.fromkeys((labels.cfg.score, PAPER_SCORE)):
        cfg = replace(labels.cfg, score=score, rule="paper")
        default = _labelled(labels, cfg)
        for tau in taus:
            again = _labelled(labels, replace(cfg, tau=tau))
            kappa = kappa_of_living(default.classes, again.classes, seed=seed)
            results.append(SettingResult(score, "paper", "tau", tau, again.class_counts, kappa))
    return tuple(results)


def sweep_min_activations(
    labels: ModalityDominance, smallest: Sequence[int], seed: int = 0
) -> tuple[SettingResult, ...]:
    """Ask for more or fewer firings before a latent is labelled, from the sums that they hold.

    `Dead` counts as a class here, since this is what changes: under the interval rule nothing else
    does, and under the paper rule the borders move with who is alive.

    Raises
    ------
    UserError
        If a number is below 1.
    """
    results = []
    for rule in get_args(RuleName):
        cfg = replace(labels.cfg, rule=rule)
        default = _labelled(labels, cfg)
        for n in smallest:
            again = _labelled(labels, replace(cfg, min_activations=n))
            kappa = kappa_with_interval(default.classes, again.classes, seed=seed)
            results.append(
                SettingResult(cfg.score, rule, "min_activations", n, again.class_counts, kappa)
            )
    return tuple(results)


def _labelled(labels: ModalityDominance, cfg: ModalityConfig) -> ModalityDominance:
    return ModalityDominance.from_config(labels.statistics, cfg, labels.carried)
