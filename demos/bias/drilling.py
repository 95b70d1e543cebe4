"""One latent or concept: what it takes of the gap, how dominant it is, and what it fires on."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import torch

from mm_sae_plugin.applications.bias.attribution import SIDES
from mm_sae_plugin.applications.explorer.page import Example, LatentPage
from mm_sae_plugin.demos.bias.attributing import name_of
from mm_sae_plugin.demos.bias.drawing import class_dot, part, side_by_side, signed, soft, table
from mm_sae_plugin.demos.bias.subject import Subject
from mm_sae_plugin.demos.common.pieces import picture
from mm_sae_plugin.demos.common.typed import whole_number
from mm_sae_plugin.errors import UserError

_N_IMAGES, _N_CAPTIONS = 6, 3
_MOST = 12
"""Latents that are shown together."""


def choices(subject: Subject) -> list[tuple[str, str]]:
    """Concepts that take most of the gap, each with its latents: what is shown, and its value."""
    rows = []
    for row in subject.attributed.concepts:
        numbers = " + ".join(f"#{latent}" for latent in row.latents)
        name = next(filter(None, (name_of(subject, latent) for latent in row.latents)), "")
        told = f"{numbers} {name}".strip()
        rows.append((f"{told}: takes {signed(row.taken)}", _value(row.latents)))
    return rows


def drilled(subject: Subject, typed: Any) -> str:
    """All about the latents of a value of :func:`choices`, or about others by their numbers."""
    latents = read_latents(subject, typed, "The concept")
    if not latents:
        return ""
    title = "Latent" if len(latents) == 1 else "Concept of latents"
    numbers = " + ".join(f"#{latent}" for latent in latents)
    return part(
        f"{title} {numbers} of {subject.name}",
        side_by_side(
            [
                _contribution(subject, latents),
                "".join(_latent(subject, latent) for latent in latents),
            ]
        ),
    )


def read_latents(subject: Subject, typed: Any, what: str, most: int | None = _MOST) -> list[int]:
    """Return latents from a text such as ``12, #77``; each once.

    Raises
    ------
    UserError
        If one is no number of a latent, or there are more than ``most``.
    """
    # A line of the list may be handed in as it stands.
    text = str(typed or "").partition(":")[0].replace("+", ",").replace(";", ",")
    n_features, latents = subject.study.feature_map.n_features, []
    for piece in filter(str.strip, text.split(",")):
        # Lines of the list have a name behind the number.
        number = whole_number(piece.split()[0])
        if number is None or number >= n_features:
            raise UserError(
                f"{what} {piece.strip()[:40]!r} is no latent of {subject.name}: give numbers, 0 to "
                f"{n_features - 1}, with commas between."
            )
        latents.append(number)
    latents = list(dict.fromkeys(latents))
    if most is not None and len(latents) > most:
        raise UserError(f"{what} has {len(latents)} latents: give at most {most}.")
    return latents


def _value(latents: Sequence[int]) -> str:
    return ",".join(map(str, latents))


def _contribution(subject: Subject, latents: Sequence[int]) -> str:
    """What goes with it on either side and on both, and what is left occupation by occupation."""
    bench = subject.bench
    mask = torch.zeros(subject.study.feature_map.n_features, dtype=torch.bool)
    mask[list(latents)] = True
    found = bench.attribution
    taken = ", ".join(
        f"<b>{signed(found.whole - found.without(mask, side))}</b> "
        f"{'on both' if side == 'both' else f'removed on the {side} side'}"
        for side in SIDES
    )
    before, after = subject.attributed.measured.gaps, found.gaps_without(mask)
    rows = [(name, signed(gap), signed(after[name])) for name, gap in before.items()]
    return (
        f"<p>Of the signed gap of {signed(found.whole)} it takes {taken}.</p>"
        f"{table(('occupation', 'gap', 'without it'), rows)}"
    )


def _latent(subject: Subject, latent: int) -> str:
    page = subject.explorer.page(latent)
    name, row = name_of(subject, latent), page.row
    called = f"#{latent} {escape(name)}".strip()
    images = "".join(_picture(subject, example) for example in page.top_images[:_N_IMAGES])
    captions = "".join(_caption(subject, example) for example in page.top_captions[:_N_CAPTIONS])
    grid = f'<div class="bd-grid">{images}</div>' if images else soft("It fires on no image.")
    said = f'<ul class="bd-said">{captions}</ul>' if captions else soft("It fires on no caption.")
    return (
        f"<h4>{called}</h4><p>{class_dot(page.modality_class)}, {_dominance(subject, page)}; it "
        f"fires on {row['rate_image']:.1%} of images and {row['rate_text']:.1%} of captions.</p>"
        f"{grid}{said}"
    )


def _dominance(subject: Subject, page: LatentPage) -> str:
    score = page.scores[subject.study.labels.cfg.score]
    if score.value != score.value:
        return "its dominance cannot be told"
    return f"dominance {score.value:.2f} [{score.low:.2f}, {score.high:.2f}], 0 text and 1 image"


def _picture(subject: Subject, example: Example) -> str:
    store = subject.study.store
    image, caption = store.open_image(example.image), store.captions[example.pair]
    return picture(image, caption, f"{example.activation:.2f}")


def _caption(subject: Subject, example: Example) -> str:
    said = escape(subject.study.store.captions[example.pair])
    return f'<li dir="auto">{said} <span class="bd-soft">{example.activation:.2f}</span></li>'
