"""The width of activations, checked where a feature map is given them."""

from torch import Tensor

from mm_sae_plugin.errors import UserError


def check_acts_width(who: str, d_in: int, acts: Tensor) -> None:
    """Refuse activations of another width than a feature map takes.

    Raises
    ------
    UserError
        Naming both widths.
    """
    width = acts.shape[-1]
    if width != d_in:
        raise UserError(
            f"{who} takes activations of width {d_in}, but these are {width} wide: give those of "
            "the encoder and hook that it was made for."
        )
