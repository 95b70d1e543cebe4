"""What a store remembers of its pictures' files: whether they changed, and what looks odd.

One row of two numbers per picture stands in a shard: a cheap hash of the file, and flags. A
picture that is exchanged in place is noticed by its hash when the same extraction is run again;
one that was copied or touched is not refused, since neither place nor date counts.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import torch

from mm_sae_plugin.activations.manifest import PictureFacts, ShardInfo
from mm_sae_plugin.activations.plan import ExtractionPlan
from mm_sae_plugin.activations.shards import read_if_there, read_shard
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import BadImage, ImageKey, Picture, PictureOpener

FACTS = "picture_facts"
"""Name of the tensor in a shard, int64 ``[n_images, 2]``: hash and flags."""
_HAD_ALPHA = 1
_ONE_COLOUR = 2
# Reading the ends of files is waiting, not computing.
_READERS = 8


def facts_of(picture: Picture) -> tuple[int, int]:
    """Return hash and flags of a picture."""
    return picture.digest, _HAD_ALPHA * picture.had_alpha + _ONE_COLOUR * picture.one_colour


def picture_facts(folder: Path, shards: Sequence[ShardInfo]) -> PictureFacts | None:
    """Sum up the facts of all shards; None unless every shard has some."""
    parts = [read_if_there(folder, shard, FACTS) for shard in shards]
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    facts = torch.cat(known)
    digests, flags = facts[:, 0], facts[:, 1]
    return PictureFacts(
        digest=sha256(digests.numpy().astype("<i8").tobytes()).hexdigest(),
        n_with_alpha=int((flags & _HAD_ALPHA).count_nonzero()),
        n_one_colour=int((flags & _ONE_COLOUR).count_nonzero()),
    )


def refuse_changed_pictures(
    folder: Path, shards: Sequence[ShardInfo], plan: ExtractionPlan, opener: PictureOpener
) -> None:
    """Refuse to go on with shards whose pictures are no longer what they were.

    Pictures that are gone are not refused: what was taken from them is still right.

    Raises
    ------
    UserError
        Naming the first picture that changed.
    """
    from tqdm import tqdm

    changed: list[int] = []
    n_checked = 0
    with ThreadPoolExecutor(_READERS) as pool:
        for shard in tqdm(shards, desc="compare pictures", unit="shard", delay=2, leave=False):
            facts = read_if_there(folder, shard, FACTS)
            if facts is None:
                continue
            images = read_shard(folder, shard, ("image_positions",))[0].tolist()
            now = pool.map(lambda key: _digest(opener, key), [plan.image_keys[i] for i in images])
            pairs = zip(images, facts[:, 0].tolist(), now, strict=True)
            changed += [image for image, then, found in pairs if found not in (None, then)]
            n_checked += len(images)
    if changed:
        raise UserError(
            f"{len(changed):,} of {n_checked:,} pictures have changed since {folder} was "
            f"extracted, the first of them {plan.image_ids[changed[0]]}: give another folder for "
            "the store, or remove this one."
        )


def _digest(opener: PictureOpener, image_key: ImageKey) -> int | None:
    try:
        return opener.digest(image_key)
    except BadImage:
        return None
