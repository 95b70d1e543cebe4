"""What of the page is in its address: prompt, seed and the strengths of the classes."""

from __future__ import annotations

from math import isfinite
from typing import Any

from mm_sae_plugin.demos.common.typed import whole_number
from mm_sae_plugin.demos.steering.drawing import sentence
from mm_sae_plugin.demos.steering.editing import CLASSES

_LONGEST = 1000
NOTE = f"""(prompt, seed, ...strengths) => {{
  const address = new URL(window.location);
  address.searchParams.set("prompt", prompt);
  address.searchParams.set("seed", seed);
  {list(CLASSES)}.forEach((name, n) => address.searchParams.set(name, strengths[n]));
  window.history.replaceState(null, "", address);
}}"""
"""JavaScript that puts prompt, seed and strengths into the address."""


def arrival(n_strengths: int = len(CLASSES)):
    """Make the event's function that reads the address: prompt, seed, strengths and status."""
    import gradio as gr

    def arrive(request):
        asked = request.query_params
        wrong = []
        prompt = asked.get("prompt", "")[:_LONGEST].strip()
        seed = whole_number(asked.get("seed", "0"))
        if seed is None:
            wrong.append("seed")
        strengths: list[Any] = []
        for name in CLASSES:
            value = _strength(asked.get(name))
            if value is None and name in asked:
                wrong.append(name)
            strengths.append(gr.skip() if value is None else value)
        told: Any = gr.skip()
        if wrong:
            told = sentence(
                f"The address gives no number for {' and '.join(wrong)}; the page's own is kept."
            )
        fields = [prompt or gr.skip(), gr.skip() if "seed" not in asked or seed is None else seed]
        return *fields, *strengths[:n_strengths], told

    # Gradio hands the request in where an annotation asks for it, and must not be imported above.
    arrive.__annotations__["request"] = gr.Request
    return arrive


def _strength(typed: str | None) -> float | None:
    try:
        value = float(typed or "")
    except ValueError:
        return None
    return min(max(value, -2.0), 2.0) if isfinite(value) else None
