"""Stores that are being made: encoded together, and kept whatever ends it."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mm_sae_plugin.activations.apart import ShardEngine, SpanTask, encode_apart
from mm_sae_plugin.activations.capture import HookReader
from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.activations.decoding import decoded_batches, default_num_workers
from mm_sae_plugin.activations.encoding import BatchEncoder, Refused
from mm_sae_plugin.activations.identity import Identity
from mm_sae_plugin.activations.manifest import Progress
from mm_sae_plugin.activations.plan import ExtractionPlan
from mm_sae_plugin.activations.spans import spans_of
from mm_sae_plugin.activations.writer import ShardWriter
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import ImageOpener

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP

_Item = TypeVar("_Item")

# Share of the time that is told.
_MUCH = 0.1


@dataclass(frozen=True)
class WantedStore:
    """A store that is to be made."""

    out: Path
    cfg: ExtractConfig
    n_tokens: int
    identity: Identity


@dataclass(frozen=True)
class StoreUnderWay:
    """A store that is being made."""

    wanted: WantedStore
    state: Progress


def encode_or_keep(
    model: "HookedCLIP",
    plan: ExtractionPlan,
    stores: Sequence[StoreUnderWay],
    opener: ImageOpener,
    progress: bool,
    engine: ShardEngine | None,
) -> None:
    """Encode what is left; whatever ends it early, what was encoded is written."""
    writers = [ShardWriter(one.wanted.out, one.state) for one in stores]
    try:
        if engine is None:
            _encode_here(model, plan, stores, writers, opener, progress)
        else:
            (one,) = stores
            cfg, n_tokens = one.wanted.cfg, one.wanted.n_tokens
            task = SpanTask(model, opener, cfg, n_tokens, one.wanted.out.absolute())
            encode_apart(task, engine, plan, one.state, progress)
    except KeyboardInterrupt as interruption:
        for writer in writers:
            writer.flush()
        n_done = min(one.state.n_done for one in stores)
        more = f" and {len(stores) - 1} more" if len(stores) > 1 else ""
        raise type(interruption)(
            f"Extraction stopped: {n_done:,} of {plan.n_images:,} images are kept in "
            f"{stores[0].wanted.out}{more}; run the same command again to go on."
        ) from None
    except Refused as refused:
        for writer in writers:
            writer.flush()
        raise UserError(str(refused)) from refused


def _encode_here(
    model: "HookedCLIP",
    plan: ExtractionPlan,
    stores: Sequence[StoreUnderWay],
    writers: Sequence[ShardWriter],
    opener: ImageOpener,
    progress: bool,
) -> None:
    """Encode what is left in this process; pictures are opened ahead of the model."""
    from tqdm import tqdm

    cfgs = [one.wanted.cfg for one in stores]
    n_tokens = [one.wanted.n_tokens for one in stores]
    encoder = BatchEncoder(model, plan, cfgs, n_tokens)
    # Shards end where rows fill them, for each store elsewhere; the batches are the same.
    spans = [spans_of(plan, one.wanted.cfg, one.wanted.n_tokens, one.state) for one in stores]
    ends = [{span.stop for span in of_store} for of_store in spans]
    cfg, first = cfgs[0], stores[0].state.n_done
    limits = [limit for span in spans[0] for limit in span.batches(cfg.batch_size)]
    n_left = plan.n_images - first
    assert model.preprocess is not None
    decoded_of = decoded_batches(
        opener,
        model.preprocess,
        [plan.image_keys[start:stop] for start, stop in limits],
        default_num_workers(n_left) if cfg.num_workers is None else cfg.num_workers,
        pin_memory=model.device.type == "cuda",
    )
    bar = tqdm(
        total=plan.n_images, initial=first, desc="extract", unit="image", disable=not progress
    )
    waits = Waits()
    with bar, HookReader(model, *cfgs).attached() as reader:
        for (start, stop), decoded in zip(limits, waits.watched(decoded_of), strict=True):
            batches = encoder.encode(reader, start, stop, decoded)
            for writer, batch, ends_here in zip(writers, batches, ends, strict=True):
                writer.add(batch)
                if stop in ends_here:
                    writer.flush()
            bar.update(stop - start)
            n_skipped = max(writer.n_skipped for writer in writers)
            told: dict[str, int | str] = {"skipped": n_skipped} if n_skipped else {}
            if waits.share > _MUCH:
                told["waiting for pictures"] = f"{waits.share:.0%}"
            if told:
                bar.set_postfix(told, refresh=False)


class Waits:
    """What share of the time the model waits for pictures: they, not it, are then to be sped up."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._waited = 0.0

    def watched(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the items, counting the time until each comes."""
        left = iter(items)
        while True:
            asked = time.perf_counter()
            try:
                item = next(left)
            except StopIteration:
                return
            self._waited += time.perf_counter() - asked
            yield item

    @property
    def share(self) -> float:
        """From 0 to 1, since the beginning."""
        return self._waited / (time.perf_counter() - self._began)
