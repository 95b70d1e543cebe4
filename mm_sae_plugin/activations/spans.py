"""Where the shards of an extraction begin and end: known from the plan, before anything is encoded.

So whoever makes a shard, in whatever order, makes the same file.
"""

import re
from dataclasses import dataclass

from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.activations.manifest import Progress, ShardInfo
from mm_sae_plugin.activations.plan import ExtractionPlan


@dataclass(frozen=True)
class Span:
    """Consecutive images of a plan that share a shard."""

    number: int
    """The shard's."""
    start: int
    """Position of the first image."""
    stop: int
    """One after the last."""

    @property
    def file(self) -> str:
        """Name of the shard."""
        return shard_file(self.number)

    def batches(self, batch_size: int) -> list[tuple[int, int]]:
        """Return first image and end of each batch."""
        starts = range(self.start, self.stop, batch_size)
        return [(start, min(start + batch_size, self.stop)) for start in starts]


def spans_of(
    plan: ExtractionPlan, cfg: ExtractConfig, n_tokens: int, progress: Progress
) -> list[Span]:
    """Cut what is left of a plan: batches are joined until their rows fill a shard.

    Rows are those planned; what turns out unusable makes a shard smaller.
    """
    spans: list[Span] = []
    number = next_number(progress.shards)
    begun, n_rows = progress.n_done, 0
    for start in range(progress.n_done, plan.n_images, cfg.batch_size):
        stop = min(start + cfg.batch_size, plan.n_images)
        n_pairs = plan.first_pair[stop] - plan.first_pair[start]
        n_rows += max((stop - start) * n_tokens, n_pairs)
        if n_rows >= cfg.shard_size or stop == plan.n_images:
            spans.append(Span(number + len(spans), begun, stop))
            begun, n_rows = stop, 0
    return spans


def next_number(shards: list[ShardInfo]) -> int:
    """Return the number of the shard after those that are finished.

    It is not how many there are: a span of which nothing could be used has no shard.
    """
    if not shards:
        return 0
    digits = re.search(r"\d+", shards[-1].file)
    assert digits is not None
    return int(digits[0]) + 1


def shard_file(number: int) -> str:
    """Return the name of a shard."""
    return f"shard-{number:05d}.safetensors"
