"""Which part of a page is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def turned_to(tabs: Mapping[str, Any], shown: Any) -> list[Any]:
    """Keep the name of the part that is looked at in a field.

    Parameters
    ----------
    tabs
        The parts, by name.
    shown
        The field.

    Returns
    -------
    list
        The events of turning to a part, in the order of ``tabs``.
    """
    # In the browser: an answer from a busy server would come after the next part was turned to.
    return [
        tab.select(None, None, shown, js=f"() => {name!r}", api_visibility="private")
        for name, tab in tabs.items()
    ]
