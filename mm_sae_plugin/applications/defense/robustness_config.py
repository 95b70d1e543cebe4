"""How much an evaluation of robustness attacks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mm_sae_plugin.applications.defense.radius import Norm, check_radius
from mm_sae_plugin.errors import UserError, check_numbers

_LEAST_IMAGES = 16


@dataclass(frozen=True)
class RobustnessConfig:
    """Sizes, budgets and seeds."""

    eps: float = 4 / 255
    """Budget of the attacks, in pixels of [0, 1]; 4/255 is 0.0157."""
    norm: Norm = "Linf"
    """`Linf`: every pixel by at most eps. `L2`: the Euclidean length of the change."""
    n: int = 500
    """Images of the first task; PGD attacks all that are right."""
    n_others: int = 200
    """Images of every other task."""
    n_strong: int = 200
    """Images of the first task that APGD and Square attack, too, for the first seed of each arm."""
    n_pgd: int = 20
    """Steps of PGD."""
    n_apgd: int = 100
    """Steps of APGD on the cross entropy."""
    n_targeted: int = 30
    """Steps of APGD on the difference of logits ratio, towards each of three classes."""
    n_square: int = 200
    """Queries of Square."""
    sweep: tuple[float, ...] = (0.25, 0.5, 1.5, 2.0)
    """Other budgets, in multiples of eps, on as many images as the strong attacks."""
    seed: int = 0
    """Of all that is drawn."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_radius(self.eps, self.norm)
        if self.eps == 0:
            raise UserError("eps is 0, so that nothing may be attacked: give a budget above 0.")
        for name in ("n", "n_others", "n_strong"):
            check_enough(f"{name} is {getattr(self, name)}", getattr(self, name))
        for name in ("n_pgd", "n_apgd", "n_targeted", "n_square"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"{name} must be a number of steps, at least 1, not {getattr(self, name)}."
                )
        for factor in self.sweep:
            check_radius(self.eps * factor, self.norm)

    def quick(self) -> RobustnessConfig:
        """Return a smaller one, of two minutes: enough to see that all works, not to judge."""
        return replace(
            self,
            n=64,
            n_others=32,
            n_strong=32,
            n_apgd=20,
            n_targeted=10,
            n_square=50,
            sweep=(0.5, 2.0),
        )


def check_enough(told: str, n: int) -> None:
    """Raise ``UserError`` where images are too few to tell an accuracy; ``told`` says of what."""
    if n < _LEAST_IMAGES:
        raise UserError(
            f"{told}: of fewer than {_LEAST_IMAGES} images no accuracy can be told; give more."
        )
