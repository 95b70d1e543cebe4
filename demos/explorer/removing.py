"""What removing a latent does to the similarity of a pair of the store."""

from __future__ import annotations

from html import escape
from textwrap import shorten
from typing import Any

from mm_sae_plugin.applications.explorer import Explorer, similarities
from mm_sae_plugin.applications.explorer.page import LatentPage
from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.demos.common.typed import whole_number
from mm_sae_plugin.demos.explorer import drawing
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit

_MOST = 80
"""Characters of a caption in a line of the list."""


def pairs_of(explorer: Explorer, page: LatentPage) -> list[tuple[str, int]]:
    """Pairs to choose from: those that a latent's page shows, each once, the strongest first."""
    examples = [*page.top_images[:4], *page.top_captions[:4], *page.random_images]
    examples += [*page.random_captions, *page.image_alone[:2], *page.caption_alone[:2]]
    captions = explorer.study.store.captions
    pairs = dict.fromkeys(example.pair for example in examples)
    return [(f"{pair}: {shorten(captions[pair], _MOST, placeholder=' …')}", pair) for pair in pairs]


def without_it(explorer: Explorer, latent: int, pair: Any) -> str:
    """Show a pair, its similarity as it is, and with the latent ablated on both sides.

    Raises
    ------
    UserError
        If the store has no such pair, its picture is gone, or the SAE cannot be edited.
    """
    study, number = explorer.study, _number(explorer, pair)
    store = study.store
    caption = store.captions[number]
    image = store.open_image(int(store.image_index[number]))
    if image is None:
        raise UserError(f"The picture of pair {number} is not there any more: choose another pair.")
    with alone_with(study.model):
        (before,) = similarities(study, image, [caption])
        edit = FeatureEdit.ablate(study, latents=[latent])
        (after,) = similarities(study, image, [caption], edit)
    change = round(after, 3) - round(before, 3)
    return (
        f'<div class="lt-pair">{drawing.picture(image, caption, f"pair {number}")}<div>'
        f'<p dir="auto">{escape(caption)}</p><p>Similarity {before:.3f}; without latent {latent} '
        f"<b>{after:.3f}</b>, a change of {change:+.3f}.</p></div></div>"
    )


def _number(explorer: Explorer, pair: Any) -> int:
    last = explorer.study.store.manifest.n_pairs - 1
    # A number may be typed, and a line of the list handed in as it stands.
    typed = str(pair).partition(":")[0].strip()
    number = whole_number(typed)
    if number is None or number > last:
        raise UserError(f"There is no pair {typed[:40]!r}: give a number, 0 to {last}.")
    return number
