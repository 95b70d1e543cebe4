"""What the fields become when one of them changes, and when a visitor arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.defense.address import OWN, READ, query_of, read, usual
from mm_sae_plugin.demos.defense.controls import AT_TASK, AT_TOWARD, AT_TRUTH, Controls
from mm_sae_plugin.demos.defense.drawing import sentence


class Page:
    """The events' functions; most take the values of all fields."""

    def __init__(self, controls: Controls) -> None:
        self._controls, self._subject = controls, controls.subject

    @told
    def task(self, *values: Any) -> list[Any]:
        """Show another task: picture and classes of the one before are nothing to it."""
        given = list(values)
        given[AT_TRUTH] = READ
        if given[AT_TOWARD] is not None:
            given[AT_TOWARD] = self._subject.tasks[given[AT_TASK]].names[0]
        asked = self._controls.asked(given)
        plain = usual(self._subject, asked.task)
        return self._controls.of_task(replace(asked, card=1, truth=plain.truth, toward=""))

    @told
    def aim(self, *values: Any) -> Any:
        """Show what the attack leads towards, or not."""
        given = list(values)
        given[AT_TOWARD] = given[AT_TOWARD] or self._subject.tasks[given[AT_TASK]].names[0]
        return self._controls.aim(self._controls.asked(given))

    def uploaded(self) -> str:
        """Nobody has said what a picture of one's own shows."""
        return READ

    def choose(self) -> Callable[..., Any]:
        """Make the function that takes a card of the gallery."""
        import gradio as gr

        def chosen(task: str, event):
            posed = self._subject.tasks[task]
            return posed.cards[event.index], posed.task.labels[event.index]

        # Gradio reads the annotation, and must not be imported above.
        chosen.__annotations__["event"] = gr.SelectData
        return chosen

    def query(self, *values: Any) -> str:
        """Say what the address is to hold: of what cannot be, what stands there by itself."""
        return query_of(self._controls.asked(self._controls.mended(values)), self._subject)

    def arrive(self) -> Callable[..., list[Any]]:
        """Make the function that shows what an address asks for."""
        import gradio as gr

        @told
        def arrived(request):
            asked, wrong = read(request.query_params, self._subject)
            picture, gallery, truth, toward = self._controls.of_task(asked)
            lines = []
            if wrong:
                keys = " and ".join(wrong)
                lines.append(
                    f"What the address gives for {keys} cannot be; the page's own is kept."
                )
            if asked.card == OWN:
                lines.append("The address does not hold your picture: choose it again.")
            return [
                gr.Tabs(selected=asked.tab),
                gallery,
                asked.tab,
                asked.task,
                picture,
                truth,
                asked.attack,
                toward,
                asked.eps,
                asked.steps,
                asked.seed,
                asked.defense,
                sentence(" ".join(lines)),
                gr.Button(interactive=True),
            ]

        # Gradio hands the request in where an annotation asks for it.
        arrived.__annotations__["request"] = gr.Request
        return arrived
