"""What a visitor chose, written into the address of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mm_sae_plugin.errors import UserError

# Without "multiple" Gradio forgets an event while the one before it is under way.
_PRIVATE: dict[str, Any] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "trigger_mode": "multiple",
}
_OPENED = "() => { window.addressWasRead = true; }"
# Answers may overtake each other, so each comes back with the number of its question. Tabs tell of
# themselves before the address is read, and would have the page forget what it was asked for.
_ASK = """(number, ...fields) => {
  if (!window.addressWasRead) return ["", ...fields];
  window.addressAsked = (window.addressAsked ?? 0) + 1;
  return [String(window.addressAsked), ...fields];
}"""
_WRITE = """(number, query) => {
  if (number !== String(window.addressAsked)) return;
  const address = new URL(window.location);
  KEYS.forEach((key) => address.searchParams.delete(key));
  new URLSearchParams(query).forEach((value, key) => address.searchParams.set(key, value));
  window.history.replaceState(null, "", address);
}"""


@dataclass(frozen=True)
class Address:
    """Where what was chosen is written; make it with :meth:`of` inside the page's blocks."""

    fields: Sequence[Any]
    query_of: Callable[..., str]
    keys: Sequence[str]
    number: Any
    """Which question an answer is to."""
    query: Any

    @classmethod
    def of(
        cls, fields: Sequence[Any], query_of: Callable[..., str], keys: Sequence[str]
    ) -> Address:
        """Make it, of the page's fields.

        Parameters
        ----------
        fields
            Components whose values say all that the address holds.
        query_of
            Function of their values that returns the address's query. It may raise a
            :class:`UserError` where they cannot be: the address stays, and what uses them says so.
        keys
            All names that the query can have: others stay in the address.
        """
        import gradio as gr

        number = gr.Textbox("", label="How often the address was asked for", visible=False)
        query = gr.Textbox(label="What the address holds", visible=False)
        return cls(fields, query_of, keys, number, query)

    def opened_by(self, arrived: Any) -> Any:
        """Begin to write once an event has read the address; returns what follows that event."""
        return arrived.success(None, None, None, js=_OPENED, **_PRIVATE)

    def noted_after(self, event: Any) -> None:
        """Write what the fields hold whenever an event went well."""
        asked = event.success(
            self._answer,
            [self.number, *self.fields],
            [self.number, self.query],
            js=_ASK,
            queue=False,
            **_PRIVATE,
        )
        write = _WRITE.replace("KEYS", str(list(self.keys)))
        asked.success(None, [self.number, self.query], None, js=write, **_PRIVATE)

    def _answer(self, number: str, *values: Any) -> tuple[Any, Any]:
        import gradio as gr

        try:
            return number, self.query_of(*values)
        except UserError:
            return gr.skip(), gr.skip()
