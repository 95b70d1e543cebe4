"""What a classifier reads off pictures of FactorWorld, against what a prompt asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mm_sae_plugin.applications.steering.evaluation import DETAILS, Reader
from mm_sae_plugin.factorworld import FACTORS
from mm_sae_plugin.factorworld.captions import write_caption

if TYPE_CHECKING:
    from PIL.Image import Image

_PUNCTUATION = ".,;:!?"
# What every picture shows and the classifier reads; the others are of one kind of scene.
_ALWAYS = ("colour", "place", *DETAILS)


@dataclass(frozen=True)
class Answer:
    """One factor: what was asked, and what is read."""

    factor: str
    asked: str | None
    """The value that the prompt names; None where it leaves the factor open."""
    before: str
    """What the picture without the edit shows."""
    after: str
    """What the edited picture shows."""
    reference: str | None = None
    """What the reference shows; None where there is none, or it is no card."""

    @property
    def is_changed(self) -> bool:
        """Whether the edit changed it."""
        return self.before != self.after


def asked_by(prompt: str) -> dict[str, str]:
    """Return the factors that a prompt names and that pictures always show, with their values.

    Where it names several values of a factor, the first one counts.
    """
    words = [word.strip(_PUNCTUATION) for word in prompt.lower().split()]
    asked: dict[str, str] = {}
    for word in words:
        factor, value = _WORDS.get(word, (None, None))
        if factor is not None and value is not None:
            asked.setdefault(factor, value)
    return asked


def read_against(
    classifier: Reader, prompt: str, before: Image, after: Image, reference: Image | None = None
) -> list[Answer]:
    """Read a picture and its edited twin, factor by factor.

    Parameters
    ----------
    classifier : Reader
        Such as the package's `FactorClassifier`.
    prompt : str
        What both were drawn of.
    before, after : PIL image
        Of 64 × 64 pixels.
    reference : PIL image, optional
        What the edit leads to, of as many pixels.

    Returns
    -------
    list of Answer
        Of what the prompt asks for, and then of what every picture shows.
    """
    asked = asked_by(prompt)
    names = list(FACTORS)
    shown = [before, after] + ([] if reference is None else [reference])
    pictures = np.stack([np.asarray(picture.convert("RGB")) for picture in shown])
    read = classifier.answers(pictures)
    answers = []
    for name in dict.fromkeys([*asked, *_ALWAYS]):
        values = FACTORS[name].values
        answers.append(
            Answer(name, asked.get(name), *(values[n] for n in read[:, names.index(name)]))
        )
    return answers


def _words() -> dict[str, tuple[str, str]]:
    """Every word that names a value which pictures always show, and plurals of objects."""
    found = {}
    for factor in FACTORS.values():
        if factor.drawn == 1 and factor.said:
            found.update({value: (factor.name, value) for value in factor.values})
    for noun in FACTORS["object"].values:
        plural = write_caption({"count": "two", "object": noun}).split()[-1]
        found[plural] = ("object", noun)
    return found


_WORDS = _words()
