"""Examples of a latent without its class or score: what would a person call it?"""

from __future__ import annotations

import random
from typing import Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.applications.explorer.rating import (
    ANSWERS,
    LEAST_RATINGS,
    Rating,
    agreement,
    load_ratings,
    save_rating,
)
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.typed import number_input, whole
from mm_sae_plugin.demos.explorer.latent_page import shown_captions, shown_pictures
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.study.given import refuse_no_latent

RATINGS = "blind_ratings.csv"
"""File in the SAE's folder."""


def rating_tab(explorer: Explorer) -> None:
    """Lay the tab out."""
    import gradio as gr

    study = explorer.study
    path = study.path / RATINGS
    alive = study.labels.alive.nonzero()[:, 0].tolist()

    def blind(latent: int) -> str:
        page = explorer.page(latent)
        parts = [
            "<h3>Images</h3>",
            shown_pictures(explorer, page.top_images, latent, with_heat=False, blind=True),
            "<h3>Captions</h3>",
            shown_captions(explorer, page.top_captions, None, blind=True),
        ]
        return "".join(part or "<p class='lt-soft'>None that it fires on.</p>" for part in parts)

    def another():
        if not alive:
            raise UserError("All latents of this SAE are dead: there is nothing to rate.")
        rated = {rating.latent for rating in load_ratings(path)}
        latent = random.choice([k for k in alive if k not in rated] or alive)
        return latent, blind(latent), None

    @told
    def begin():
        return *another(), _told_agreement(path)

    @told
    def answered(latent: Any, answer: str | None):
        number = whole("The latent", latent, -1)
        refuse_no_latent(max(number, 0), study.feature_map.n_features)
        if number < 0:
            raise UserError("Ask for a latent first.")
        if answer is None:
            raise UserError("Choose an answer first.")
        save_rating(path, Rating(number, answer, study.labels.classes[number]))
        return *another(), _told_agreement(path)

    gr.Markdown(
        "Examples that a latent fires on most, without its class or score. What is it about? "
        f"Answers are kept in `{RATINGS}` in the SAE's folder."
    )
    start = gr.Button("Show a latent", variant="primary")
    latent = number_input(-1, label="Latent", visible=False)
    examples = gr.HTML(padding=False)
    answer = gr.Radio(list(ANSWERS), label="It is about")
    save = gr.Button("Save the answer and show another")
    told_kappa = gr.Markdown()
    outputs = [latent, examples, answer, told_kappa]
    start.click(begin, None, outputs, api_name="rate")
    save.click(answered, [latent, answer], outputs, api_name="save_rating")


def _told_agreement(path) -> str:
    ratings = load_ratings(path)
    found = agreement(ratings)
    if found is None:
        return f"{len(ratings)} rated; agreement with the classes is told from {LEAST_RATINGS} on."
    if found.kappa is None:
        return f"{found.n} rated, all answers or all classes alike: kappa says nothing yet."
    return (
        f"{found.n} rated. Agreement with the classes: Cohen's kappa {found.kappa:.2f} "
        f"[{found.low:.2f}, {found.high:.2f}]; 1 is perfect, 0 that of chance."
    )
