"""What is evaluated: the encoder as it is, fine-tuned towers, and defenses that train nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.defense.towers import TunedTower
from mm_sae_plugin.applications.defense.victim import Change, Victim
from mm_sae_plugin.factorworld.embedded import EMBEDDED_MODELS
from mm_sae_plugin.models import HookedCLIP, load_model

Kind = Literal["undefended", "shipped", "fine-tuned", "training-free"]
NONE = "none"
"""Name of the encoder as it is."""
SHIPPED = {"factorworld": "factorworld-robust"}
"""Embedded encoder to the embedded one that was fine-tuned from it."""


@dataclass(frozen=True)
class Contender:
    """One defense, or none."""

    name: str
    """Of the arm, the embedded model, or what is done to the vectors."""
    kind: Kind
    """How it came about."""
    model: HookedCLIP
    """Nobody else's, so that contenders may be attacked side by side."""
    change: Change | None = None
    """What happens to images' joint vectors."""
    seed: int = 0
    """Of its training."""

    def victim(self, classes: Float[Tensor, "k d"]) -> Victim:
        """Return it as a classifier of pixels."""
        return Victim(self.model, classes, self.change)


def contenders(
    model: HookedCLIP,
    towers: Sequence[TunedTower] = (),
    changes: Mapping[str, Change] | None = None,
) -> list[Contender]:
    """Return all that is evaluated, the undefended encoder first.

    Parameters
    ----------
    model : HookedCLIP
        As it is before any defense.
    towers : sequence of TunedTower
        Made from it.
    changes : mapping of str to callable, optional
        Defenses that train nothing.

    Raises
    ------
    UserError
        If a tower is of another encoder, or damaged.
    """
    found = [Contender(NONE, "undefended", model)]
    shipped = SHIPPED.get(model.cfg.model_name)
    if shipped and shipped in EMBEDDED_MODELS:
        found.append(Contender(shipped, "shipped", load_model(shipped)))
    found += [
        Contender(tower.arm, "fine-tuned", tower.on(model), None, tower.seed) for tower in towers
    ]
    found += [
        Contender(name, "training-free", tower_copy(model), change)
        for name, change in (changes or {}).items()
    ]
    return found


def tower_copy(model: HookedCLIP) -> HookedCLIP:
    """Return the same encoder, whose hooks are its own."""
    from mm_sae_plugin.applications.defense.towers import with_weights

    return with_weights(model, {})
