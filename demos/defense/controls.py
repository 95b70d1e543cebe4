"""The page's fields, and what is read from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.defense.one_picture import ATTACKS, TOWARD
from mm_sae_plugin.demos.common.typed import (
    dropdown_input,
    filled,
    finite_number,
    number_input,
    or_else,
    slider_input,
    whole,
)
from mm_sae_plugin.demos.common.uploads import picture_input, uploaded_picture
from mm_sae_plugin.demos.defense.address import (
    LONGEST,
    MOST_EPS,
    MOST_STEPS,
    OWN,
    READ,
    TABS,
    Asked,
    usual,
)
from mm_sae_plugin.demos.defense.subject import Subject, called
from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

_ATTACKS = {
    "PGD": "PGD: steps along the gradient",
    "APGD": "APGD: the same, sets its own steps",
    "Square": "Square: sees answers only, 10 a step",
    TOWARD: "PGD toward a class or text",
}

AT_TASK, AT_TRUTH, AT_TOWARD = 1, 3, 5
_AT_EPS, _AT_STEPS, _AT_SEED = 6, 7, 8
"""Places among the fields."""


@dataclass(frozen=True)
class Controls:
    """All fields of the page; made first and laid out where they belong."""

    subject: Subject
    tab: Any
    task: Any
    picture: Any
    gallery: Any
    truth: Any
    attack: Any
    toward: Any
    eps: Any
    steps: Any
    seed: Any
    defense: Any

    @classmethod
    def make(cls, subject: Subject) -> Controls:
        """Make the fields; none is in the page yet."""
        import gradio as gr

        asked = usual(subject)
        posed = subject.tasks[asked.task]
        hidden: dict[str, Any] = {"render": False}
        return cls(
            subject,
            gr.Textbox(asked.tab, label="Part of the page", visible=False, **hidden),
            gr.Radio(
                list(subject.tasks),
                value=asked.task,
                label="What the encoder is asked for",
                **hidden,
            ),
            picture_input(label="Picture", height=190, value=posed.cards[0], **hidden),
            gr.Gallery(
                _cards(subject, asked.task),
                label="Or one of these cards",
                columns=6,
                rows=1,
                allow_preview=False,
                object_fit="cover",
                interactive=False,
                buttons=[],
                elem_classes="df-cards",
                **hidden,
            ),
            dropdown_input(
                _truths(subject, asked.task),
                asked.truth,
                label="What the picture shows",
                **hidden,
            ),
            gr.Radio(
                [(told, name) for name, told in _ATTACKS.items()],
                value=asked.attack,
                label="Attack",
                **hidden,
            ),
            gr.Dropdown(
                posed.names,
                value=_other(posed.names, asked.truth),
                label="Toward: a class, or any text",
                allow_custom_value=True,
                visible=False,
                **hidden,
            ),
            slider_input(
                0,
                MOST_EPS,
                asked.eps,
                step=1,
                label="ε: how far each pixel may move, in 1/255",
                **hidden,
            ),
            slider_input(1, MOST_STEPS, asked.steps, step=1, label="Steps", **hidden),
            number_input(asked.seed, label="Seed of the start", minimum=0, **hidden),
            gr.Radio(
                [(called(name), name) for name in subject.names],
                value=asked.defense,
                label="Defense that the attack goes through",
                **hidden,
            ),
        )

    @property
    def fields(self) -> list[Any]:
        """All of them, in the order that :meth:`read` takes."""
        what = [self.tab, self.task, self.picture, self.truth]
        return [*what, self.attack, self.toward, self.eps, self.steps, self.seed, self.defense]

    def read(self, values: Sequence[Any]) -> tuple[Asked, Image]:
        """Return what the fields hold, and the picture.

        Raises
        ------
        UserError
            If one holds what cannot be, or there is no picture.
        """
        asked = self.asked(values)
        return asked, uploaded_picture(values[2])

    def asked(self, values: Sequence[Any]) -> Asked:
        """Return what the fields hold, whatever the picture is."""
        tab, task, path, truth, attack, toward, eps, steps, seed, defense = values
        _one_of("task", task, list(self.subject.tasks))
        names = self.subject.tasks[task].names
        _one_of("class", truth, [READ, *names])
        _one_of("attack", attack, ATTACKS)
        _one_of("defense", defense, self.subject.names)
        text = _text(toward) if attack == TOWARD else ""
        return Asked(
            defense,
            tab if tab in TABS else TABS[0],
            task,
            self._card(task, path),
            truth,
            attack,
            text,
            _eps(eps),
            _steps(steps),
            _seed(seed),
        )

    def mended(self, values: Sequence[Any]) -> list[Any]:
        """Return the values, those that cannot be read as the page has them by itself."""
        given, plain = list(values), usual(self.subject)
        names = self.subject.tasks[given[AT_TASK]].names
        given[AT_TOWARD] = or_else(_text, given[AT_TOWARD], _other(names, given[AT_TRUTH]))
        for at, read, own in (
            (_AT_EPS, _eps, plain.eps),
            (_AT_STEPS, _steps, plain.steps),
            (_AT_SEED, _seed, plain.seed),
        ):
            given[at] = or_else(read, given[at], own)
        return given

    def of_task(self, asked: Asked) -> list[Any]:
        """Updates of picture, gallery, truth and toward: they are the task's own."""
        import gradio as gr

        posed = self.subject.tasks[asked.task]
        picture = None if asked.card == OWN else posed.cards[asked.card - 1]
        return [
            picture,
            _cards(self.subject, asked.task),
            gr.Dropdown(choices=_truths(self.subject, asked.task), value=asked.truth),
            self.aim(asked),
        ]

    def aim(self, asked: Asked) -> Any:
        """Update of toward: it is there for the one attack that needs it."""
        import gradio as gr

        names = self.subject.tasks[asked.task].names
        value = asked.toward or _other(names, asked.truth)
        return gr.Dropdown(choices=names, value=value, visible=asked.attack == TOWARD)

    def _card(self, task: str, path: str | None) -> int:
        """Which of the task's cards a picture is, from 1."""
        if path is None:
            return OWN
        # Gradio copies files, so their places say nothing.
        try:
            content = Path(path).read_bytes()
        except OSError:
            return OWN
        found = [_content(card) == content for card in self.subject.tasks[task].cards]
        return found.index(True) + 1 if True in found else OWN


def _cards(subject: Subject, task: str) -> list[tuple[str, str]]:
    posed = subject.tasks[task]
    return list(zip(posed.cards, posed.task.labels, strict=True))


def _truths(subject: Subject, task: str) -> list[Any]:
    return [("what the undefended encoder reads", READ), *subject.tasks[task].names]


def _other(names: Sequence[str], truth: str) -> str:
    return next(name for name in names if name != truth)


def _one_of(what: str, value: Any, known: Sequence[str]) -> None:
    if value not in known:
        raise UserError(f"There is no {what} {value!r:.40}: choose {', '.join(known)}.")


def _text(toward: Any) -> str:
    text = filled("What the attack leads towards", toward, "choose a class, or give a text")
    text = text.strip()
    if len(text) > LONGEST:
        raise UserError(
            f"The text that the attack leads towards has {len(text)} characters: give at most "
            f"{LONGEST}."
        )
    return text


def _eps(value: Any) -> int:
    return _within("ε", value, 0, MOST_EPS)


def _steps(value: Any) -> int:
    return _within("The number of steps", value, 1, MOST_STEPS)


def _seed(value: Any) -> int:
    return whole("The seed", value)


def _within(name: str, value: Any, least: int, most: int) -> int:
    number = finite_number(name, value)
    if not least <= number <= most or number != int(number):
        raise UserError(f"{name} must be a whole number from {least} to {most}, and is {number:g}.")
    return int(number)


@cache
def _content(path: str) -> bytes:
    return Path(path).read_bytes()
