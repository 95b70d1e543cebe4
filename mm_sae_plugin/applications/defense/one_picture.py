"""One picture, attacked through every defense in turn, and what each of them then says.

Pictures are kept as a file would keep them, with 8 bits a channel, and judged as they are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.contenders import Contender
from mm_sae_plugin.applications.defense.gradient_attacks import OnStep, apgd, pgd
from mm_sae_plugin.applications.defense.losses import Loss, cross_entropy_loss
from mm_sae_plugin.applications.defense.square import square
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.errors import UserError

TOWARD = "toward"
"""PGD towards a class that the picture does not show."""
ATTACKS = ("PGD", "APGD", "Square", TOWARD)
"""What a picture may be attacked with."""
QUERIES_PER_STEP = 10
"""Square asks so often where the others take a step: a query is cheaper than a gradient."""


@dataclass(frozen=True)
class PictureAttack:
    """How a picture is attacked."""

    name: str = "PGD"
    """One of ``ATTACKS``."""
    eps: float = 4 / 255
    """L∞ budget in pixels of [0, 1]; of 8 bits, so that it should be a whole number of 1/255."""
    n_steps: int = 20
    """Steps, of Square ten queries each."""
    target: int | None = None
    """Number of the class that the attack leads towards, where it leads towards one."""
    seed: int = 0
    """Of its start, and of what Square draws."""

    def __post_init__(self) -> None:
        Budget(self.eps)
        if self.name not in ATTACKS:
            raise UserError(f"There is no attack {self.name!r:.40}: choose {', '.join(ATTACKS)}.")
        if self.n_steps < 1:
            raise UserError(f"An attack takes at least 1 step, not {self.n_steps}.")
        if (self.name == TOWARD) != (self.target is not None):
            raise UserError(f"The attack {TOWARD!r}, and no other, needs a class to lead towards.")

    def on(
        self,
        victim: Victim,
        image: Float[Tensor, "1 3 h w"],
        truth: int,
        on_step: OnStep | None = None,
    ) -> Float[Tensor, "1 3 h w"]:
        """Return the picture that the attack finds, with 8 bits a channel.

        Parameters
        ----------
        victim : Victim
            Attacked through its defense.
        image : float
            With 8 bits a channel.
        truth : int
            Number of the class that it shows.
        on_step : callable, optional
            Is told before each step how many have begun; what it raises ends the attack.
        """
        label = torch.tensor([truth], device=image.device)
        budget, n = Budget(self.eps), self.n_steps
        if self.name == "Square":
            n, step = n * QUERIES_PER_STEP, _by_step(on_step)
            found = square(victim, image, label, budget, n, self.seed, step)
        elif self.name == "APGD":
            found = apgd(victim, image, label, budget, n, seed=self.seed, on_step=on_step)
        else:
            loss = self._loss
            found = pgd(victim, image, label, budget, n, None, loss, self.seed, on_step)
        return as_kept(found.images)

    @property
    def _loss(self) -> Loss:
        if self.target is None:
            return cross_entropy_loss
        aim = torch.tensor([self.target])
        return lambda logits, _: -cross_entropy_loss(logits, aim.to(logits.device))


@dataclass(frozen=True)
class Said:
    """What one contender says: a probability for each class."""

    clean: Float[Tensor, "k"]
    """Of the picture as it is."""
    static: Float[Tensor, "k"]
    """Of the one that was made against the undefended encoder."""
    adaptive: Float[Tensor, "k"] | None = None
    """Of the one that was made through this very defense; None until it was."""


@dataclass(frozen=True)
class Outcome:
    """What became of one picture."""

    truth: int
    """Number of the class that it shows."""
    clean: Float[Tensor, "1 3 h w"]
    """The picture at the encoder's size, pixels in [0, 1]."""
    static: Float[Tensor, "1 3 h w"]
    """The one that was made against the undefended encoder."""
    adaptive: dict[str, Float[Tensor, "1 3 h w"]]
    """Contender to the picture that was made through it."""
    said: dict[str, Said]
    """Contender to what it says; all of them."""


def attack_picture(
    found: Sequence[Contender],
    classes: Float[Tensor, "k d"],
    picture: Image.Image,
    attack: PictureAttack,
    truth: int | None = None,
    first: str | None = None,
    on_step: Callable[[str, int], None] | None = None,
) -> Iterator[Outcome]:
    """Attack a picture through every contender; yields after each, the undefended encoder first.

    Parameters
    ----------
    found : sequence of Contender
        The undefended encoder first.
    classes : float
        Unit-length joint vector of each class.
    picture : PIL image
    attack : PictureAttack
    truth : int, optional
        Number of the class that it shows; by default what the undefended encoder reads.
    first : str, optional
        Contender that comes directly after the undefended one.
    on_step : callable, optional
        Is told before each step which contender is attacked, and how many steps have begun.
    """
    victims = {contender.name: contender.victim(classes) for contender in found}
    bare, *others = victims
    others.sort(key=lambda name: name != first)
    clean = as_kept(victims[bare].pixels([picture]))
    if truth is None:
        truth = int(_says(victims[bare], clean).argmax())
    if truth == attack.target:
        raise UserError(
            "The picture is read as the class that the attack is to lead towards: choose another."
        )

    def made(name: str) -> Float[Tensor, "1 3 h w"]:
        step = None if on_step is None else partial(on_step, name)
        return attack.on(victims[name], clean, truth, step)

    static = made(bare)
    said = {name: Said(_says(v, clean), _says(v, static)) for name, v in victims.items()}
    said[bare] = replace(said[bare], adaptive=said[bare].static)
    adaptive = {bare: static}
    yield Outcome(truth, clean, static, dict(adaptive), dict(said))
    for name in others:
        adaptive[name] = made(name)
        now = _says(victims[name], adaptive[name])
        said[name] = replace(said[name], adaptive=now)
        yield Outcome(truth, clean, static, dict(adaptive), dict(said))


def as_kept(pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Return pixels as a file of 8 bits a channel keeps them."""
    return (255 * pixels).round() / 255


def as_picture(pixels: Float[Tensor, "1 3 h w"]) -> Image.Image:
    """Return one image of pixels in [0, 1]."""
    rows = (255 * pixels[0]).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(rows.permute(1, 2, 0).cpu().numpy())


def difference_picture(
    moved: Float[Tensor, "1 3 h w"], clean: Float[Tensor, "1 3 h w"], eps: float
) -> Image.Image:
    """Return what changed, grey where nothing did, black and white at the ends of the budget."""
    return as_picture(0.5 + (moved - clean) / (2 * max(eps, 1 / 255)))


@torch.no_grad()
def _says(victim: Victim, pixels: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "k"]:
    return victim(pixels)[0].softmax(0)


def _by_step(on_step: OnStep | None) -> OnStep | None:
    """Tell of Square's queries as of steps."""
    if on_step is None:
        return None

    def query(n: int) -> None:
        if n % QUERIES_PER_STEP == 1:
            on_step(n // QUERIES_PER_STEP + 1)

    return query
