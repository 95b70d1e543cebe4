"""What is attacked: from pixels in [0, 1], through a model and its defense, to logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.defense.tasks import Pictures
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP

Change = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n d"]]
"""What a defense makes of images' joint vectors, with gradients; any length."""
_PROBE_SIDE = 64
_ROUNDING = 1e-3


@dataclass(frozen=True)
class PixelScale:
    """How a model's inputs follow from pixels in [0, 1]: channel by channel, a line."""

    low: Float[Tensor, "3 1 1"]
    """What black becomes."""
    high: Float[Tensor, "3 1 1"]
    """What white becomes."""

    @classmethod
    def of(cls, model: HookedCLIP) -> PixelScale:
        """Ask the model's own preprocessing, with a black picture, a grey one and a white one.

        Raises
        ------
        UserError
            If it is no line, or depends on the place in the picture.
        """
        low, middle, high = (_flat(model, grey) for grey in (0, 51, 255))
        wanted = low + (high - low) * 51 / 255
        if (high <= low).any() or not torch.allclose(middle, wanted, atol=_ROUNDING):
            raise UserError(
                f"The preprocessing of {model.cfg.model_name} is more than resizing and a mean and "
                "a spread for each channel, so that pixels in [0, 1] cannot be attacked behind it."
            )
        return cls(low[:, None, None], high[:, None, None])

    def inputs(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Return what the model takes."""
        return pixels * (self.high - self.low).to(pixels) + self.low.to(pixels)

    def pixels(self, inputs: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Return the pixels in [0, 1] that inputs come from."""
        span = (self.high - self.low).to(inputs)
        return ((inputs - self.low.to(inputs)) / span).clamp(0, 1)


class Victim:
    """A classifier of pixels: a model, a defense of its joint vector, and classes.

    Parameters
    ----------
    model : HookedCLIP
        In evaluation mode; its own weights may be the defense.
    classes : float
        Unit-length joint vector of each class.
    defense : callable, optional
        What happens to images' unit-length joint vectors; attacks go through it.
    """

    def __init__(
        self,
        model: HookedCLIP,
        classes: Float[Tensor, "k d"],
        defense: Change | None = None,
    ) -> None:
        self.model, self.classes, self.defense = model, classes, defense
        self.scale = PixelScale.of(model)
        self.temperature = float(model.logit_scale.detach().exp())

    def pixels(self, pictures: Pictures) -> Float[Tensor, "n 3 h w"]:
        """Return pictures at the model's own size, pixels in [0, 1]."""
        return self.scale.pixels(self.model.to_pixels(list(pictures)))

    def vectors(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Return unit-length joint vectors behind the defense, where the pixels lie."""
        rows = self.model.encode_image(self.scale.inputs(pixels), normalize=True)
        rows = rows if self.defense is None else normalize(self.defense(rows), dim=1)
        return rows.to(pixels.device)

    def __call__(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n k"]:
        """Return logits, where the pixels lie."""
        return self.temperature * self.vectors(pixels) @ self.classes.T.to(pixels.device)


def _flat(model: HookedCLIP, grey: int) -> Float[Tensor, "3"]:
    picture = Image.new("RGB", (_PROBE_SIDE, _PROBE_SIDE), (grey,) * 3)
    inputs = model.to_pixels([picture])[0].float().cpu()
    means = inputs.flatten(1).mean(1)
    if (inputs.flatten(1) - means[:, None]).abs().max() > _ROUNDING:
        raise UserError(
            f"The preprocessing of {model.cfg.model_name} gives a picture of one colour several: "
            "its pixels cannot be attacked behind it."
        )
    return means
