"""Collecting encoded batches into shards, and closing a store."""

from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.activations.encoding import EncodedBatch
from mm_sae_plugin.activations.facts import FACTS, picture_facts
from mm_sae_plugin.activations.identity import Identity
from mm_sae_plugin.activations.manifest import (
    Progress,
    ShardInfo,
    SideStatistics,
    StoreManifest,
)
from mm_sae_plugin.activations.plan import ExtractionPlan
from mm_sae_plugin.activations.shards import read_shard, write_tensors
from mm_sae_plugin.activations.spans import next_number, shard_file
from mm_sae_plugin.activations.tables import IMAGES_TABLE, PAIRS_TABLE, write_table
from mm_sae_plugin.files import sha256_of_file
from mm_sae_plugin.pairs import PairSource

STATISTICS = "statistics.safetensors"
_SIDES = ("image", "text")


class ShardWriter:
    """Gathers the batches of a span, and writes its shard."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._number = next_number(progress.shards)
        self._batches: list[EncodedBatch] = []

    @property
    def n_skipped(self) -> int:
        """Images and captions that could not be used, so far."""
        return len(self._progress.skipped) + sum(len(b.skipped) for b in self._batches)

    def add(self, batch: EncodedBatch) -> None:
        """Take one batch."""
        # One step, so that an interrupt finds the whole batch or nothing of it.
        self._batches.append(batch)

    def flush(self) -> None:
        """Write what has been gathered; nothing is written twice, even after an interrupt."""
        progress = self._progress
        batches = [batch for batch in self._batches if batch.start >= progress.n_done]
        if not batches:
            return
        shard = write_shard(self._folder, self._number, progress.n_done, batches)
        skipped = [entry for batch in batches for entry in batch.skipped]
        # If that fails, the batches are still here.
        progress.advance(self._folder, batches[-1].stop, shard, skipped)
        self._number += 1
        self._batches = []


def write_shard(
    folder: Path, number: int, start: int, batches: list[EncodedBatch]
) -> ShardInfo | None:
    """Write the batches of a span, whole or not at all; None where nothing of them is kept.

    Parameters
    ----------
    folder
        The store's.
    number
        The shard's.
    start
        Position of the span's first image.
    batches
        In order.

    Raises
    ------
    UserError
        If the disk is full or nothing may be written there.
    """
    batches = [batch for batch in batches if batch.image_positions]
    if not batches:
        return None
    images = [i for batch in batches for i in batch.image_positions]
    pairs = [i for batch in batches for i in batch.pair_positions]
    tensors = {
        "image_positions": torch.tensor(images, dtype=torch.int64),
        "pair_positions": torch.tensor(pairs, dtype=torch.int64),
        **_with_sums("image", torch.cat([batch.image_rows for batch in batches])),
    }
    text_rows = [batch.text_rows for batch in batches if batch.text_rows is not None]
    if text_rows:
        tensors |= _with_sums("text", torch.cat(text_rows))
    facts = [batch.facts for batch in batches if batch.facts is not None]
    if facts:
        tensors[FACTS] = torch.cat(facts)
    path = folder / shard_file(number)
    write_tensors(path, tensors)
    return ShardInfo(
        file=path.name,
        sha256=sha256_of_file(path),
        n_bytes=path.stat().st_size,
        start=start,
        stop=batches[-1].stop,
        n_images=len(images),
        n_pairs=len(pairs),
        n_captions_cut=_sum_of_known([batch.n_captions_cut for batch in batches]),
    )


def note_file(number: int) -> str:
    """Return the name of the note that stands beside a shard until the driver has read it."""
    return f"span-{number:05d}.json"


def close_store(
    folder: Path,
    progress: Progress,
    plan: ExtractionPlan,
    n_tokens: int,
    source: PairSource,
    context_length: int | None,
) -> StoreManifest:
    """Write the tables, the statistics and at last the manifest of a finished extraction."""
    images: list[int] = []
    pairs: list[int] = []
    for shard in progress.shards:
        image_part, pair_part = read_shard(folder, shard, ("image_positions", "pair_positions"))
        images += image_part.tolist()
        pairs += pair_part.tolist()
    row_of = {image: row for row, image in enumerate(images)}
    owners = [row_of[image] for image in plan.owners_of(pairs)]
    write_table(folder / IMAGES_TABLE, plan.image_table(images))
    write_table(folder / PAIRS_TABLE, plan.pair_table(pairs, owners))

    sides = _SIDES if progress.identity.text_hook else _SIDES[:1]
    sums = {side: _total(folder, progress.shards, side) for side in sides}
    means = {f"mean_{side}": total[0] / total[1] for side, total in sums.items()}
    write_tensors(folder / STATISTICS, means)
    statistics = {side: _statistics(*total) for side, total in sums.items()}
    widths = {side: len(total[0]) for side, total in sums.items()}
    facts = picture_facts(folder, progress.shards)
    n_cut = _sum_of_known([shard.n_captions_cut for shard in progress.shards])
    manifest = StoreManifest(
        key=progress.identity.key_with(None if facts is None else facts.digest),
        **asdict(progress.identity),
        # A source of one's own need have neither columns nor files.
        image_column=getattr(source, "image_column", "image"),
        n_images=len(images),
        n_pairs=len(pairs),
        n_tokens=n_tokens,
        d_image=widths["image"],
        d_text=widths.get("text"),
        image_statistics=statistics["image"],
        text_statistics=statistics.get("text"),
        files={
            name: sha256_of_file(folder / name) for name in (IMAGES_TABLE, PAIRS_TABLE, STATISTICS)
        },
        shards=progress.shards,
        skipped=[
            *plan.skipped,
            *((skip.image_id, skip.reason) for skip in progress.skipped),
        ],
        pictures=facts,
        reader=getattr(source, "reader", None),
        n_captions_cut=n_cut,
        context_length=None if n_cut is None else context_length,
    )
    manifest.save(folder)
    _remove_others(folder, progress.shards)
    return manifest


def new_progress(folder: Path, identity: Identity) -> Progress:
    """Mark an empty folder as a store under way."""
    progress = Progress(identity)
    progress.save(folder)
    return progress


def _remove_others(folder: Path, shards: list[ShardInfo]) -> None:
    # An extraction that began anew with larger shards leaves some of the earlier ones behind.
    listed = {shard.file for shard in shards}
    for path in folder.glob("shard-*.safetensors"):
        if path.name not in listed:
            path.unlink()
    # Nor do notes of spans count any more, or what a killed worker was at.
    for pattern in ("span-*.json", ".shard-*.partial", ".span-*.partial"):
        for path in folder.glob(pattern):
            path.unlink()


def _sum_of_known(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _with_sums(side: str, rows: Float[Tensor, "rows d"]) -> dict[str, Tensor]:
    # Taken while the rows are at hand, so that closing a large store need not read them again.
    wide = rows.double()
    norms = wide.norm(dim=1)
    moments = torch.stack([torch.tensor(float(len(rows))), norms.sum(), norms.square().sum()])
    return {
        f"{side}_rows": rows,
        f"{side}_sum": wide.sum(dim=0),
        f"{side}_moments": moments.double(),
    }


def _total(
    folder: Path, shards: list[ShardInfo], side: str
) -> tuple[Float[Tensor, "d"], float, float, float]:
    parts = [read_shard(folder, shard, (f"{side}_sum", f"{side}_moments")) for shard in shards]
    row_sum = torch.stack([row_sum for row_sum, _ in parts]).sum(dim=0)
    n_rows, norm_sum, square_sum = torch.stack([m for _, m in parts]).sum(dim=0).tolist()
    return row_sum, n_rows, norm_sum, square_sum


def _statistics(
    row_sum: Float[Tensor, "d"], n_rows: float, norm_sum: float, square_sum: float
) -> SideStatistics:
    return SideStatistics(
        n_rows=int(n_rows),
        mean_norm=norm_sum / n_rows,
        rms_norm=(square_sum / n_rows) ** 0.5,
        norm_of_mean=float((row_sum / n_rows).norm()),
    )
