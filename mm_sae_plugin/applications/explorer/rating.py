"""Blind ratings: what a person makes of a latent's examples, without its class or score."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import plain_write_errors
from mm_sae_plugin.stats.agreement import cohen_kappa

ANSWERS: dict[str, str] = {
    "vision": "ImgD",
    "language": "TextD",
    "both": "CrossD",
    "cannot tell": "Undetermined",
}
"""What can be answered, and the class that agrees with it."""
LEAST_RATINGS = 10
"""Ratings from which agreement is told."""
_N_RESAMPLES = 2_000
_COLUMNS = ("time", "latent", "answer", "class")


@dataclass(frozen=True)
class Rating:
    """One answer."""

    latent: int
    """Which latent was shown."""
    answer: str
    """One of `ANSWERS`."""
    modality_class: str
    """The class that its labels gave it then."""


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa of answers and classes."""

    n: int
    """Ratings that it rests on."""
    kappa: float | None
    """1 is perfect agreement, 0 that of chance; None where all answers or all classes are alike."""
    low: float | None
    """Lower end of the 95% interval, by resampling ratings; None where kappa is."""
    high: float | None
    """Upper end."""


def save_rating(path: Path, rating: Rating) -> None:
    """Add a rating to a CSV file, which is begun where there is none.

    Raises
    ------
    UserError
        If the answer is none of `ANSWERS`, or the file cannot be written.
    """
    if rating.answer not in ANSWERS:
        raise UserError(f"Choose one answer of {', '.join(ANSWERS)}.")
    with plain_write_errors(path), path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(_COLUMNS)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        writer.writerow((now, rating.latent, rating.answer, rating.modality_class))


def load_ratings(path: Path) -> list[Rating]:
    """Read what :func:`save_rating` wrote; nothing where there is no file.

    Raises
    ------
    UserError
        If the file is no such table.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [Rating(int(row["latent"]), row["answer"], row["class"]) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no blind ratings: move it away to begin anew.") from error


def agreement(ratings: Sequence[Rating]) -> Agreement | None:
    """Compare answers with classes; None with fewer than `LEAST_RATINGS` ratings."""
    if len(ratings) < LEAST_RATINGS:
        return None
    answers = np.array([ANSWERS[rating.answer] for rating in ratings])
    classes = np.array([rating.modality_class for rating in ratings])
    kappa = cohen_kappa(answers.tolist(), classes.tolist())
    if kappa is None:
        return Agreement(len(ratings), None, None, None)
    drawn = np.random.default_rng(0).integers(0, len(ratings), (_N_RESAMPLES, len(ratings)))
    resampled = [cohen_kappa(answers[i].tolist(), classes[i].tolist()) for i in drawn]
    low, high = np.quantile([value for value in resampled if value is not None], [0.025, 0.975])
    return Agreement(len(ratings), kappa, float(low), float(high))
