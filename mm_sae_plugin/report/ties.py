"""What a latent belongs to, in a few words: the other half of its concept, or what it goes with."""

from mm_sae_plugin.stats.dominance import ModalityDominance


def tie(dominance: ModalityDominance, latent: int) -> str | None:
    """Say what a latent is split from, or by what it is carried; None for one that stands alone."""
    carried = dominance.carried
    if carried is None:
        return None
    concept = dominance.concept_of(latent)
    if concept is not None:
        others = [f"#{other}" for other in concept.latents if other != latent]
        part = "one half" if len(others) == 1 else "a part"
        return f"split: {part} of a concept with {', '.join(others)}"
    if carried.associated[latent]:
        other = int(carried.associated_with[latent])
        return "carried by association only" + (f", through #{other}" if other >= 0 else "")
    return None
