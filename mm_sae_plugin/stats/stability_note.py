"""What is kept beside an SAE's labels of how stable they are: one small file, and one sentence."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.files import parse_json, write_json_atomically
from mm_sae_plugin.saes.folder_files import STABILITY_FILENAME, check_files, written
from mm_sae_plugin.stats.shares import Share


@dataclass(frozen=True)
class SeedNote:
    """How many classes survived one other seed."""

    seed: int
    """Of the other SAE."""
    n_alive: int
    """Latents that are not dead."""
    n_alive_kept: int
    """Those of them that have the same class there, `Undetermined` taken for one."""
    n_decided: int
    """Latents with a modality class: image-dominant, cross-modal or text-dominant."""
    n_decided_matched: int
    """Those of them that the other SAE has, too."""
    n_decided_kept: int
    """Those of them that have the same class there."""
    chance: float | None
    """Share of `n_decided_matched` that would by chance; None where there are none."""


@dataclass(frozen=True)
class StabilityNote:
    """The share of latents whose class survives another seed."""

    seeds: tuple[SeedNote, ...]
    """At least one."""
    min_cosine: float
    """From which decoder cosine on two latents are called the same."""
    labels_id: str
    """Digest of the classes that it is about, as :func:`labels_id` gives it."""
    confidence: float = 0.95
    """Of the interval."""

    def sentence(self) -> str:
        """Say it in one sentence, to be printed beside a table of labels."""
        first = self.seeds[0]
        has_it = f"that its SAE has, too (decoder cosine of at least {self.min_cosine:g})"
        chances = [note.chance for note in self.seeds if note.chance is not None]
        by_chance = f", by chance {100 * mean(chances):.0f}%" if chances else ""
        if len(self.seeds) == 1:
            kept = self._share(first.n_decided_kept, first.n_decided)
            there = self._share(first.n_decided_kept, first.n_decided_matched)
            alive = self._share(first.n_alive_kept, first.n_alive)
            return (
                f"Another seed: of {first.n_decided:,} latents with a modality class, {kept} keep "
                f"it; of {first.n_decided_matched:,} {has_it}, {there}{by_chance}. Of all "
                f"{first.n_alive:,} alive, Undetermined included, {alive}."
            )
        kept = _range([(note.n_decided_kept, note.n_decided) for note in self.seeds])
        there = _range([(note.n_decided_kept, note.n_decided_matched) for note in self.seeds])
        alive = _range([(note.n_alive_kept, note.n_alive) for note in self.seeds])
        return (
            f"{len(self.seeds)} other seeds: of {first.n_decided:,} latents with a modality class, "
            f"{kept} keep it; of those {has_it}, {there}{by_chance}. Of all {first.n_alive:,} "
            f"alive, Undetermined included, {alive}."
        )

    def _share(self, count: int, n: int) -> str:
        share = Share.of(count, n, self.confidence)
        if share.value is None or share.low is None or share.high is None:
            return "none"
        return f"{100 * share.value:.0f}% ({100 * share.low:.0f}–{100 * share.high:.0f}%)"

    def save(self, sae_dir: str | Path) -> None:
        """Write `stability.json` into an SAE folder; a training or other labels make it void."""
        with written(sae_dir, STABILITY_FILENAME):
            write_json_atomically(Path(sae_dir) / STABILITY_FILENAME, asdict(self))


def read_stability(sae_dir: str | Path, classes: Sequence[str]) -> StabilityNote | None:
    """Read what :meth:`StabilityNote.save` wrote.

    Parameters
    ----------
    sae_dir : str or Path
        The SAE folder.
    classes : sequence of str
        The classes that the SAE's latents have now.

    Returns
    -------
    StabilityNote or None
        None where stability was never measured, or for other labels than these.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = Path(sae_dir) / STABILITY_FILENAME
    if not path.is_file():
        return None
    remedy = "run `mm-sae evaluate` on this SAE again"
    check_files(sae_dir, STABILITY_FILENAME, remedy=remedy)
    try:
        content: dict[str, Any] = dict(parse_json(path.read_text(encoding="utf-8")))
        content["seeds"] = tuple(SeedNote(**seed) for seed in content["seeds"])
        note = StabilityNote(**content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({one_line(error)}): {remedy}.") from error
    return note if note.labels_id == labels_id(classes) else None


def told_of_stability(sae_dir: str | Path, classes: Sequence[str]) -> str:
    """Say how many classes survive another seed, or that nobody has looked.

    Parameters
    ----------
    sae_dir, classes
        As in :func:`read_stability`.
    """
    note = read_stability(sae_dir, classes)
    if note is None:
        return "Whether these classes survive another seed is not known: `mm-sae evaluate` tells."
    return note.sentence()


def labels_id(classes: Sequence[str]) -> str:
    """Digest of the classes of all latents, in their order."""
    return hashlib.sha256(",".join(classes).encode()).hexdigest()[:16]


def _range(counted: Sequence[tuple[int, int]]) -> str:
    shares = [100 * count / n for count, n in counted if n]
    if not shares:
        return "none"
    low, high = f"{min(shares):.0f}", f"{max(shares):.0f}"
    return f"{high}%" if low == high else f"{low}–{high}%"
