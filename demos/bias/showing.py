"""What the parts of the page show, by what its fields hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mm_sae_plugin.demos.bias.address import Asked, query_of, read
from mm_sae_plugin.demos.bias.attributing import attributed, strongest
from mm_sae_plugin.demos.bias.auditing import audited
from mm_sae_plugin.demos.bias.comparing import compared
from mm_sae_plugin.demos.bias.controls import Controls, first_of
from mm_sae_plugin.demos.bias.drawing import sentence
from mm_sae_plugin.demos.bias.drilling import drilled
from mm_sae_plugin.demos.bias.subject import FLIPS
from mm_sae_plugin.demos.bias.toggling import removal, toggled
from mm_sae_plugin.demos.common.errors import told


class Page:
    """The events' functions; each takes the values of all fields."""

    def __init__(self, controls: Controls) -> None:
        self._controls, self._subjects = controls, controls.subjects

    @told
    def audit(self, *values: Any) -> tuple[str, str]:
        """Show the answers for a flip, and its twins."""
        asked = self._controls.read(values)
        return audited(self._subjects, FLIPS[asked.flip]), self._twins(asked)

    @told
    def model(self, *values: Any) -> list[Any]:
        """Show another model: what was chosen of the one before is nothing to it."""
        show, removed = 4, slice(5, 8)
        given = list(values)
        given[show], given[removed] = "", [[], [], ""]
        asked = self._controls.read(given)
        return [*self._controls.of_model(asked), *self._of_model(asked)]

    @told
    def classes(self, *values: Any) -> str:
        """Show the classes by the other score."""
        asked = self._controls.read(values)
        return attributed(self._controls.subject(asked.model), asked.by)

    @told
    def drill(self, *values: Any) -> str:
        """Show latents."""
        asked = self._controls.read(values)
        return drilled(self._controls.subject(asked.model), asked.show)

    @told
    def toggle(self, *values: Any) -> str:
        """Take out what is checked."""
        return self._toggled(self._controls.read(values))

    @told
    def twins(self, *values: Any) -> str:
        """Show another pair."""
        return self._twins(self._controls.read(values))

    def query(self, *values: Any) -> str:
        """Say what the address is to hold: of what cannot be, what stands there by itself."""
        return query_of(self._controls.read(self._controls.mended(values)))

    def arrive(self) -> Callable[..., list[Any]]:
        """Make the function that shows what an address asks for."""
        import gradio as gr

        @told
        def arrived(request):
            asked, wrong = read(request.query_params, self._subjects)
            show, *removed = self._controls.of_model(asked)
            fields = [asked.tab, asked.flip, asked.model, asked.by, show, *removed]
            fields += [asked.side, asked.occupation, asked.pair]
            said = ""
            if wrong:
                keys = " and ".join(wrong)
                said = f"What the address gives for {keys} cannot be; the page's own is kept."
            return [
                gr.Tabs(selected=asked.tab),
                *fields,
                audited(self._subjects, FLIPS[asked.flip]),
                *self._of_model(asked),
                self._twins(asked),
                sentence(said),
            ]

        # Gradio hands the request in where an annotation asks for it.
        arrived.__annotations__["request"] = gr.Request
        return arrived

    def _of_model(self, asked: Asked) -> list[str]:
        subject = self._controls.subject(asked.model)
        shown = asked.show or first_of(subject)
        return [
            attributed(subject, asked.by),
            strongest(subject),
            drilled(subject, shown),
            self._toggled(asked),
        ]

    def _toggled(self, asked: Asked) -> str:
        subject = self._controls.subject(asked.model)
        return toggled(subject, removal(subject, asked.classes, asked.latents), asked.side)

    def _twins(self, asked: Asked) -> str:
        return compared(self._subjects, FLIPS[asked.flip], asked.occupation, asked.pair)
