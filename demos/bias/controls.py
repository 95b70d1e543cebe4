"""The page's fields, and what is read from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mm_sae_plugin.applications.bias.attribution import SIDES
from mm_sae_plugin.demos.bias import drilling
from mm_sae_plugin.demos.bias.address import Asked
from mm_sae_plugin.demos.bias.attributing import OWN, PAPER
from mm_sae_plugin.demos.bias.subject import FLIPS, Subject, called
from mm_sae_plugin.demos.bias.toggling import class_choices
from mm_sae_plugin.demos.common.typed import number_input, or_else, whole
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.factors import WOMAN_GIVEN_OCCUPATION

_N_CONCEPTS = 10
"""Concepts to check; others are typed."""
_MODEL, _SHOW, _LATENTS, _PAIR = 2, 4, 7, 10
"""Places among the fields."""


@dataclass(frozen=True)
class Controls:
    """All fields of the page; made first and laid out where they belong."""

    subjects: Sequence[Subject]
    tab: Any
    flip: Any
    model: Any
    by: Any
    show: Any
    classes: Any
    concepts: Any
    latents: Any
    side: Any
    occupation: Any
    pair: Any

    @classmethod
    def make(cls, subjects: Sequence[Subject]) -> Controls:
        """Make the fields; none is in the page yet."""
        import gradio as gr

        last, n_pairs = subjects[-1], subjects[0].n_per_target
        names = [subject.name for subject in subjects]
        hidden: dict[str, Any] = {"render": False}
        return cls(
            subjects,
            gr.Textbox("audit", label="Part of the page", visible=False, render=False),
            gr.Dropdown(
                [(called(flip), key) for key, flip in FLIPS.items()],
                value=next(iter(FLIPS)),
                label="What differs between twins (gender, or what means nothing)",
                **hidden,
            ),
            gr.Radio(names, value=last.name, label="Model under Attribution and Toggle", **hidden),
            gr.Radio(
                [(f"{OWN} (the labels’ own)", OWN), PAPER],
                value=OWN,
                label="Classes by score",
                **hidden,
            ),
            gr.Dropdown(
                drilling.choices(last),
                value=first_of(last),
                label="Concept or latent: choose one, or type numbers",
                allow_custom_value=True,
                **hidden,
            ),
            gr.CheckboxGroup(class_choices(last), label="Take out classes", **hidden),
            gr.CheckboxGroup(
                drilling.choices(last)[:_N_CONCEPTS],
                label="Take out concepts that take most",
                **hidden,
            ),
            gr.Textbox(
                label="Other latents to take out, by number", placeholder="12, 77", **hidden
            ),
            gr.Radio(list(SIDES), value="both", label="On which side", **hidden),
            gr.Dropdown(
                list(WOMAN_GIVEN_OCCUPATION),
                value=next(iter(WOMAN_GIVEN_OCCUPATION)),
                label="Occupation",
                **hidden,
            ),
            number_input(
                1, label=f"Pair, 1 to {n_pairs}", minimum=1, maximum=n_pairs, render=False
            ),
        )

    @property
    def fields(self) -> list[Any]:
        """All of them, in the order that :meth:`read` takes."""
        removed = [self.classes, self.concepts, self.latents, self.side]
        looked_into = [self.tab, self.flip, self.model, self.by, self.show]
        return [*looked_into, *removed, self.occupation, self.pair]

    def read(self, values: Sequence[Any]) -> Asked:
        """Return what the fields hold.

        Raises
        ------
        UserError
            If one holds what cannot be.
        """
        tab, flip, model, by, show, classes, concepts, latents, side, occupation, pair = values
        subject = self.subject(model)
        for name, value, known in (
            ("association", flip, FLIPS),
            ("side", side, SIDES),
            ("occupation", occupation, WOMAN_GIVEN_OCCUPATION),
            ("score", by, (OWN, PAPER)),
        ):
            if value not in known:
                raise UserError(f"There is no {name} {value!r:.40}: choose {', '.join(known)}.")
        typed = ",".join([*(concepts or ()), str(latents or "")])
        return Asked(
            model,
            str(tab),
            flip,
            by,
            ",".join(map(str, drilling.read_latents(subject, show, "The concept"))),
            tuple(classes or ()),
            tuple(drilling.read_latents(subject, typed, "What is taken out", most=None)),
            side,
            occupation,
            whole("The pair", pair, 1, subject.n_per_target),
        )

    def mended(self, values: Sequence[Any]) -> list[Any]:
        """Return the values, those that cannot be read as the page has them by itself."""
        given = list(values)
        subject = self.subject(given[_MODEL])

        def latents(typed: Any) -> list[int]:
            return drilling.read_latents(subject, typed, "The latent")

        given[_SHOW] = or_else(latents, given[_SHOW], "")
        given[_LATENTS] = or_else(latents, given[_LATENTS], "")
        given[_PAIR] = or_else(lambda n: whole("", n, 1, subject.n_per_target), given[_PAIR], 1)
        return given

    def subject(self, name: Any) -> Subject:
        """Return the model of a name."""
        for subject in self.subjects:
            if subject.name == name:
                return subject
        names = ", ".join(subject.name for subject in self.subjects)
        raise UserError(f"There is no model {name!r:.60} here: choose {names}.")

    def of_model(self, asked: Asked) -> list[Any]:
        """Updates of show, classes, concepts, latents: their choices are the model's own."""
        import gradio as gr

        subject = self.subject(asked.model)
        concepts = drilling.choices(subject)
        offered = concepts[:_N_CONCEPTS]
        gone = set(asked.latents)
        checked = [value for _, value in offered if {*map(int, value.split(","))} <= gone]
        held = {int(latent) for value in checked for latent in value.split(",")}
        others = ", ".join(str(latent) for latent in asked.latents if latent not in held)
        return [
            gr.Dropdown(choices=concepts, value=asked.show or first_of(subject)),
            gr.CheckboxGroup(choices=class_choices(subject), value=list(asked.classes)),
            gr.CheckboxGroup(choices=offered, value=checked),
            others,
        ]


def first_of(subject: Subject) -> str | None:
    """What is looked into where nothing was chosen."""
    found = drilling.choices(subject)
    return found[0][1] if found else None
