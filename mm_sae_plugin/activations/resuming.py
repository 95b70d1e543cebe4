"""What a folder holds already, and what of it can be kept."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mm_sae_plugin.activations.decoding import Preprocess, can_be_opened
from mm_sae_plugin.activations.identity import Identity
from mm_sae_plugin.activations.manifest import MANIFEST, PROGRESS, Progress, StoreManifest
from mm_sae_plugin.activations.plan import ExtractionPlan
from mm_sae_plugin.activations.shards import check_shard
from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json
from mm_sae_plugin.pairs import ImageOpener

_EARLIER_READING = (
    "was made by an earlier version of mm_sae_plugin, which laid transparent pictures on black, "
    "did not turn photographs upright and read some captions otherwise: a store in it can be used "
    "as it is, but this extraction needs another folder."
)
# The fingerprint of FactorWorld's pairs, which says in figures what they are.
_WORLD = re.compile(r"factorworld:v\d+:seed(?P<seed>\d+):n(?P<n_pairs>\d+)")


@dataclass(frozen=True)
class Wanted:
    """What an extraction is to be."""

    identity: Identity
    """What decides its content."""
    legacy_weights_id: Callable[[], str]
    """Tells what earlier versions called the same weights; it reads them all."""


@dataclass(frozen=True)
class Found:
    """What a folder holds of the wanted extraction."""

    store: ActivationStore | None
    """The complete store."""
    progress: Progress | None
    """How far it came. None for a new folder, and for a complete store that came without it."""


def find_earlier(out: Path, wanted: Wanted) -> Found:
    """Return what a folder holds of the wanted extraction; of a damaged store, what is whole.

    Raises
    ------
    UserError
        If it holds anything else.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder for the store.")
    if (out / MANIFEST).is_file():
        manifest = StoreManifest.load(out)
        _refuse_other(out / MANIFEST, manifest.identity, wanted)
        try:
            store = ActivationStore.open(out)
        except UserError:
            # Damaged: what is whole is kept and the rest is computed again.
            (out / MANIFEST).unlink()
        else:
            return Found(store, _progress_of(store))
    if (out / PROGRESS).is_file():
        progress = Progress.load(out)
        _refuse_other(out / PROGRESS, progress.identity, wanted)
        progress.rewind(_n_whole(out, progress))
        return Found(None, progress)
    if out.is_dir() and any(out.iterdir()):
        raise UserError(
            f"{out} is not empty and no activation store: give a new folder for the store."
        )
    return Found(None, None)


def first_mended(
    progress: Progress, plan: ExtractionPlan, opener: ImageOpener, preprocess: Preprocess
) -> int | None:
    """Return the position of the first image that could not be opened and now can, if any is."""
    from tqdm import tqdm

    lost = sorted({skip.position for skip in progress.skipped if skip.unreadable})
    for position in tqdm(lost, desc="try skipped", unit="image", delay=2, leave=False):
        if can_be_opened(opener, preprocess, plan.image_keys[position]):
            return position
    return None


def _progress_of(store: ActivationStore) -> Progress | None:
    """Return the progress that a complete store was closed from, if it came with it."""
    if not (store.path / PROGRESS).is_file():
        return None
    try:
        progress = Progress.load(store.path)
    except UserError:
        return None
    return progress if progress.shards == store.manifest.shards else None


def _refuse_other(file: Path, there: Identity, wanted: Wanted) -> None:
    out = file.parent
    now = wanted.identity
    legacy = None if there.weights_id == now.weights_id else wanted.legacy_weights_id()
    conflicts = there.conflicts(now, legacy)
    of_pairs = {"reading", "fingerprint"} & conflicts.keys()
    if of_pairs == conflicts.keys() and now.reading and _is_of_unnoted_reading(file, there):
        raise UserError(f"{out} {_EARLIER_READING}")
    phrases = [*conflicts.values()]
    was, wanted_now = _pairs_in_words(there), _pairs_in_words(now)
    if of_pairs and was != wanted_now and _is_of_world(there, now):
        others = [words for name, words in conflicts.items() if name not in of_pairs]
        phrases = [f"{was} there, {wanted_now} now", *others]
    if phrases:
        raise UserError(
            f"{out} holds other activations ({'; '.join(phrases)}): give another "
            "folder, or remove this one."
        )
    unchecked = there.unchecked(now)
    if unchecked:
        warnings.warn(
            f"{out} does not say all of what it was extracted with, as stores of earlier versions "
            f"do not; whether it is the same now was not checked: {', '.join(unchecked)}.",
            stacklevel=5,
        )


def _is_of_unnoted_reading(file: Path, there: Identity) -> bool:
    """Whether files were read by an earlier version, which did not note by what rules."""
    content = parse_json(file.read_text(encoding="utf-8"))
    return "reading" not in content.get("identity", content) and not _is_of_world(there)


def _is_of_world(*identities: Identity) -> bool:
    return any(_WORLD.fullmatch(identity.fingerprint) for identity in identities)


def _pairs_in_words(identity: Identity) -> str:
    world = _WORLD.fullmatch(identity.fingerprint)
    if world is None:
        return f"pairs of {identity.source}"
    return f"{int(world['n_pairs']):,} FactorWorld pairs of seed {world['seed']}"


def _n_whole(out: Path, progress: Progress) -> int:
    for number, shard in enumerate(progress.shards):
        try:
            check_shard(out, shard)
        except UserError:
            return number
    return len(progress.shards)
