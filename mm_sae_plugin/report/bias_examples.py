"""What the latents of an audit fire on, from the study's own store: never the audited pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from mm_sae_plugin.report.excerpts import Excerpt
from mm_sae_plugin.report.latent_cards import Example
from mm_sae_plugin.report.thumbnails import Thumbnails
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.words import SharedWords

if TYPE_CHECKING:
    from mm_sae_plugin.study import Study

_N_IMAGES, _N_CAPTIONS = 6, 3


@dataclass(frozen=True)
class LatentExamples:
    """What one latent fires on most."""

    name: str
    """What it may be called; empty where nothing is known."""
    images: list[Example]
    """Its strongest images, best first."""
    captions: list[Example]
    """Its strongest captions, best first."""


def examples_of(study: Study, latents: Iterable[int]) -> dict[int, LatentExamples]:
    """Look up exemplars of latents.

    Parameters
    ----------
    study : Study
        Labelled; its explorer's cache is read, or made in one pass over the store.
    latents : iterable of int

    Raises
    ------
    UserError
        If the store is gone, or there is no such latent.
    """
    from mm_sae_plugin.applications.explorer import Explorer

    explorer, store = Explorer.open(study), cast(PairedActivations, study.store)
    thumbnails, words = Thumbnails(store), SharedWords(store.captions)
    found = {}
    for latent in latents:
        page = explorer.page(latent)
        images, tops = page.top_images[:_N_IMAGES], page.top_captions[:_N_CAPTIONS]
        largest = max((one.activation for one in (*images, *tops)), default=1.0)
        captions = [store.captions[one.pair] for one in tops]
        shared = words.shared(captions)
        found[latent] = LatentExamples(
            page.row.get("name") or "",
            [
                Example(thumbnails.of(one.image), one.activation, 100 * one.activation / largest)
                for one in images
            ],
            [
                Example(Excerpt.of(said, shared), one.activation, 100 * one.activation / largest)
                for said, one in zip(captions, tops, strict=True)
            ],
        )
    return found
