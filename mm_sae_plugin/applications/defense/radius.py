"""How far an attack may go, as a number and a norm: what a configuration can check at once."""

from typing import Literal

from mm_sae_plugin.errors import UserError

Norm = Literal["Linf", "L2"]
NORMS: tuple[Norm, ...] = ("Linf", "L2")


def check_radius(eps: float, norm: Norm) -> None:
    """Raise ``UserError`` where a radius is no number, below 0, or, for L∞, above 1."""
    if norm not in NORMS:
        raise UserError(f"The norm must be Linf or L2, not {norm!r:.40}.")
    most = 1.0 if norm == "Linf" else float("inf")
    if not 0 <= eps <= most or eps == float("inf"):
        raise UserError(
            f"eps must be from 0 to {'1' if norm == 'Linf' else 'a finite length'} in pixels of "
            f"[0, 1], not {eps:g}: 4/255 is {4 / 255:.4f}."
        )
