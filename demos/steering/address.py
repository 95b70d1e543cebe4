"""What of the page is in its address: enough to draw again, but for files of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any
from urllib.parse import urlencode

from mm_sae_plugin.demos.common.typed import whole_number
from mm_sae_plugin.demos.steering import stacking
from mm_sae_plugin.demos.steering.drawing import sentence
from mm_sae_plugin.demos.steering.editing import CLASSES, REACH, Editing
from mm_sae_plugin.demos.steering.window import SEED_DIGITS

LONGEST = 1000
"""Characters of a prompt."""
_OWN, _NONE = "own", "none"
KEYS = ("prompt", "seed", "from", "to", *CLASSES, "norm", "latents", "card", "preset")
"""Names of all that an address holds."""
HOLDS = (
    "The address above this page draws all this again, but for files of your own: it does not hold "
    "a reference that you uploaded or drew by hand, nor a preset."
)


def query_of(edit: Editing, prompt: str, seed: Any, first: Any, last: Any, *values: Any) -> str:
    """Return what the address holds of the fields of a drawing and of its edit."""
    path, *alphas, relative, preset, latents = values[:7]
    amounts = dict(zip(latents, values[7:], strict=False))
    card = edit.reference.number_of(path)
    held = {"prompt": prompt, "seed": seed, "from": first, "to": last}
    held |= dict(zip(CLASSES, alphas, strict=True))
    held["norm"] = (relative or "").strip()
    held["latents"] = ",".join(f"{latent}:{amount:g}" for latent, amount in amounts.items())
    held["card"] = card or (_NONE if path is None else _OWN)
    held["preset"] = "" if preset is None else _OWN
    return urlencode({name: value for name, value in held.items() if value != ""})


@dataclass
class _Asked:
    """An address that is read, and what is wrong with it."""

    params: Mapping[str, str]
    wrong: list[str] = field(default_factory=list)

    def whole(self, name: str, most: int | None = None) -> int | None:
        if name not in self.params:
            return None
        number = whole_number(self.params[name], SEED_DIGITS)
        if number is None or (most is not None and number > most):
            self.wrong.append(name)
            return None
        return number

    def real(self, name: str, reach: float) -> float | None:
        if name not in self.params:
            return None
        number = _real(self.params[name])
        if number is None or abs(number) > reach:
            self.wrong.append(name)
            return None
        return number

    def share(self, name: str) -> str | None:
        typed = self.params.get(name)
        if typed is not None and (_real(typed) is None or float(typed) < 0):
            self.wrong.append(name)
            return None
        return typed

    def card(self, paths: list[str]) -> Any:
        """Its path; None for no picture, and a skip where the page's own stays."""
        import gradio as gr

        given = self.params.get("card")
        if given == _NONE:
            return None
        number = None if given == _OWN else self.whole("card", len(paths))
        # Counted from 1; 0 is none of them.
        return paths[number - 1] if number else gr.skip()

    def prompt(self) -> str | None:
        given = self.params.get("prompt")
        if given is None:
            return None
        if not given.strip() or len(given) > LONGEST:
            self.wrong.append("prompt")
            return None
        return given.strip()

    def latents(self, n_latents: int) -> dict[int, float]:
        amounts: dict[int, float] = {}
        for part in filter(None, self.params.get("latents", "").split(",")):
            name, _, typed = part.partition(":")
            latent, amount = whole_number(name), _real(typed)
            if latent is None or latent >= n_latents or amount is None:
                self.wrong.append("latents")
                return {}
            amounts[latent] = min(max(amount, -stacking.REACH), stacking.REACH)
        if len(amounts) > stacking.MOST:
            self.wrong.append("latents")
            return {}
        return amounts


def arrival(edit: Editing, n_steps: int):
    """Make the event's function that reads the address.

    It returns what is shown in prompt, seed, first and last step, the strengths, the norm, the
    reference, the choice of single latents, their numbers and sliders, and the status.
    """
    import gradio as gr

    def kept(value: Any) -> Any:
        return gr.skip() if value is None else value

    def arrive(request):
        asked = _Asked(request.query_params)
        cards = edit.reference.cards
        first, last = asked.whole("from", n_steps - 1), asked.whole("to", n_steps)
        fields = [asked.prompt(), asked.whole("seed"), first, last]
        fields += [asked.real(name, REACH) for name in CLASSES]
        norm = asked.share("norm")
        reference = asked.card([card.path for card in cards])
        n_latents = edit.study.feature_map.n_features
        amounts = asked.latents(n_latents)
        stacked = edit.stacked.shown(amounts) if amounts else _skipped(2 + stacking.MOST)
        told = _told(asked)
        said = sentence(told) if told else gr.skip()
        return [*map(kept, [*fields, norm]), reference, *stacked, said]

    # Gradio hands the request in where an annotation asks for it, and must not be imported above.
    arrive.__annotations__["request"] = gr.Request
    return arrive


def _told(asked: _Asked) -> str:
    told = []
    if asked.wrong:
        named = " and ".join(asked.wrong)
        told.append(f"What the address gives for {named} cannot be; the page's own is kept.")
    if asked.params.get("card") == _OWN:
        told.append("The address does not hold the reference: choose the picture again.")
    if "preset" in asked.params:
        told.append("The address does not hold the preset: upload the file again.")
    return " ".join(told)


def _real(typed: str) -> float | None:
    try:
        value = float(typed)
    except ValueError:
        return None
    return value if isfinite(value) else None


def _skipped(n: int) -> list[Any]:
    import gradio as gr

    return [gr.skip() for _ in range(n)]
