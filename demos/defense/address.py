"""What of the page is in its address: all that a visitor chose, but for a picture of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from mm_sae_plugin.applications.defense.one_picture import ATTACKS, TOWARD
from mm_sae_plugin.demos.common.typed import whole_number
from mm_sae_plugin.demos.defense.subject import N_CARDS, Subject

TABS = ("attack", "evaluation")
"""How an address calls the parts of the page."""
MOST_EPS, MOST_STEPS = 16, 100
"""Ends of the sliders, the first in 1/255."""
LONGEST = 200
"""Characters of a text that an attack leads towards."""
READ = "as read"
"""Stands for the class that the undefended encoder reads."""
OWN = 0
"""Number of a picture of one's own."""
KEYS = (
    "tab",
    "task",
    "card",
    "truth",
    "attack",
    "toward",
    "eps",
    "steps",
    "seed",
    "defense",
)
"""Names of all that an address holds."""


@dataclass(frozen=True)
class Asked:
    """What is attacked, and how."""

    defense: str
    """The contender that is looked at closely."""
    tab: str = TABS[0]
    task: str = "object"
    card: int = 1
    """Which picture of the task's, from 1; ``OWN`` is one that was uploaded."""
    truth: str = READ
    """The class that it shows, or ``READ``."""
    attack: str = ATTACKS[0]
    toward: str = ""
    """A class, or a text, where the attack leads towards one."""
    eps: int = 4
    """Budget, in 1/255."""
    steps: int = 20
    seed: int = 0


def usual(subject: Subject, task: str = "object") -> Asked:
    """Return what the page shows by itself: the first defense there is, if any."""
    names = subject.names
    first = subject.tasks[task].task.labels[0]
    return Asked(names[min(1, len(names) - 1)], task=task, truth=first)


def query_of(asked: Asked, subject: Subject) -> str:
    """Return what the address holds: what is not as the page opens by itself."""
    as_opened, told = usual(subject), {}
    for key in KEYS:
        value = getattr(asked, key)
        if key == "toward" and asked.attack != TOWARD:
            continue
        if value != getattr(as_opened, key) or key in ("task", "truth"):
            told[key] = "own" if key == "card" and value == OWN else str(value)
    return urlencode(told)


def read(params: Mapping[str, str], subject: Subject) -> tuple[Asked, list[str]]:
    """Return what an address asks for, and the keys of which it asks for what cannot be."""
    wrong: list[str] = []

    def one_of(key: str, values: Sequence[str], otherwise: str) -> str:
        given = params.get(key, otherwise)
        if given in values:
            return given
        wrong.append(key)
        return otherwise

    def whole(key: str, otherwise: int, least: int, most: int) -> int:
        number = whole_number(params.get(key, str(otherwise)))
        if number is not None and least <= number <= most:
            return number
        wrong.append(key)
        return otherwise

    task = one_of("task", list(subject.tasks), "object")
    posed, plain = subject.tasks[task], usual(subject, task)
    is_own = params.get("card") == "own"
    card = OWN if is_own else whole("card", plain.card, 1, N_CARDS)
    shown = READ if is_own else posed.task.labels[card - 1]
    toward = params.get("toward", "")
    if len(toward) > LONGEST:
        wrong.append("toward")
        toward = ""
    return (
        Asked(
            one_of("defense", subject.names, plain.defense),
            one_of("tab", TABS, plain.tab),
            task,
            card,
            one_of("truth", (READ, *posed.names), shown),
            one_of("attack", ATTACKS, plain.attack),
            toward,
            whole("eps", plain.eps, 0, MOST_EPS),
            whole("steps", plain.steps, 1, MOST_STEPS),
            whole("seed", plain.seed, 0, 999_999_999),
        ),
        wrong,
    )
