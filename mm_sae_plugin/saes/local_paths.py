"""Taking the places of one computer out of notes that others will read."""

import re
from typing import Any

# A whole note that is a path, perhaps after a word such as `hf:`; other addresses (`https://…`)
# are none. What the path ends with is kept.
_WHOLE = re.compile(
    r"(?P<kind>(?:[\w-]{2,}:)?)(?:file://)?(?:~|/(?!/)|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\).*?"
    r"(?P<name>[^/\\]*)[/\\]?",
    re.DOTALL,
)
# One within a sentence ends at a space or a mark of punctuation.
_PART = r"[^\s/\\:;,'\"()]+"
_INSIDE = re.compile(rf"(?<![\w/:.~-])(?:~|[A-Za-z]:)?(?:[/\\]{_PART})+[/\\]({_PART})")


def without_local_paths(content: Any) -> Any:
    """Return JSON content whose strings name files but not where they lie.

    ``"/home/ada/captions.csv"`` becomes ``"captions.csv"``, ``"hf:/data/clip"`` becomes
    ``"hf:clip"``; repository ids, hook names and web addresses stay as they are.

    Parameters
    ----------
    content : JSON content
        Not changed.
    """
    if isinstance(content, dict):
        return {name: without_local_paths(value) for name, value in content.items()}
    if isinstance(content, list):
        return [without_local_paths(value) for value in content]
    if not isinstance(content, str):
        return content
    whole = _WHOLE.fullmatch(content)
    if whole is not None:
        return whole["kind"] + whole["name"]
    return _INSIDE.sub(r"\1", content)
