"""Which latents get a card."""

from collections.abc import Sequence

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.stats.density import fires_densely
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.study.given import refuse_no_latent

SHOWN_CLASSES = ("ImgD", "TextD", "CrossD", "Undetermined")


def latents_to_show(dominance: ModalityDominance, n_per_class: int = 8) -> dict[str, list[int]]:
    """The latents of each class that best stand for it.

    Returns
    -------
    dict
        Class to latents, best first. `Undetermined` is left out when it is empty, since the paper
        rule never gives it.

    Raises
    ------
    UserError
        If `n_per_class` is negative.
    """
    if n_per_class < 0:
        raise UserError(f"n_per_class must be 0 or more; got {n_per_class}.")
    ranked = ranked_latents(dominance)
    chosen = {name: ranked[name][:n_per_class] for name in SHOWN_CLASSES}
    if not chosen["Undetermined"]:
        del chosen["Undetermined"]
    return chosen


def ranked_latents(dominance: ModalityDominance) -> dict[str, list[int]]:
    """All latents of every class, best first, with the dense ones behind the others."""
    dense = fires_densely(dominance.statistics).tolist()
    return {
        name: sorted(dominance.strongest(name, dominance.n_features), key=lambda i: dense[i])
        for name in CLASSES
    }


def checked_latents(latents: Sequence[int], n_latents: int) -> list[int]:
    """Latents that were asked for, each once, in the order asked.

    Raises
    ------
    UserError
        If there are none, or one that the SAE does not have.
    """
    if not latents:
        raise UserError("No latent was given; give their numbers, such as 12,77.")
    for latent in latents:
        refuse_no_latent(latent, n_latents)
    return list(dict.fromkeys(latents))


def parse_latents(given: str, n_latents: int) -> list[int]:
    """Read numbers of latents, separated by commas, and check them.

    Raises
    ------
    UserError
        If something between the commas is no number, or no latent of this SAE.
    """
    words = [word.strip() for word in given.split(",") if word.strip()]
    for word in words:
        # Only plain digits and a sign: int() would also take 1_000 and digits of other scripts.
        if not (word.removeprefix("-").isascii() and word.removeprefix("-").isdigit()):
            raise UserError(f"{word!r} is no number of a latent; give numbers, such as 12,77.")
    return checked_latents([int(word) for word in words], n_latents)
