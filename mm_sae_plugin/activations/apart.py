"""An extraction whose shards are made elsewhere, in any order: in processes, or by Ray.

A worker writes its shard and, after it, a note of what became of the span. The driver takes spans
in order. What was finished out of order when a run was interrupted is found again by its notes.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mm_sae_plugin.activations.capture import HookReader, prepare_model
from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.activations.decoding import decoded_batches
from mm_sae_plugin.activations.encoding import BatchEncoder, EncodedBatch, Refused
from mm_sae_plugin.activations.facts import refuse_changed_pictures
from mm_sae_plugin.activations.manifest import Progress, ShardInfo, Skip
from mm_sae_plugin.activations.plan import ExtractionPlan
from mm_sae_plugin.activations.shards import check_shard
from mm_sae_plugin.activations.spans import Span, spans_of
from mm_sae_plugin.activations.writer import note_file, write_shard
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json, write_json_atomically
from mm_sae_plugin.pairs import ImageOpener, PictureOpener

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP

# Hooks are state of the model, which threads of one process share.
_one_at_a_time = threading.Lock()


@runtime_checkable
class ShardEngine(Protocol):
    """Where shards are made; every engine of :mod:`mm_sae_plugin.engines` is one."""

    def map(self, task: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
        """Yield ``task(part)`` for every part, in order."""
        ...


@dataclass(frozen=True)
class SpanPart:
    """What a worker needs to know of one span."""

    span: Span
    """Which it is."""
    plan: ExtractionPlan
    """Of its images alone, counted from 0."""
    first_pair: int
    """Position of its first caption in the whole plan."""

    @property
    def name(self) -> str:
        """Which images these are, in words."""
        return f"images {self.span.start:,} to {self.span.stop - 1:,} of the source"


@dataclass(frozen=True)
class SpanDone:
    """What became of a span."""

    start: int
    """Position of the first image."""
    stop: int
    """One after the last."""
    shard: ShardInfo | None
    """Its shard; None where nothing could be used."""
    skipped: list[Skip]
    """What could not be used."""
    refused: str | None = None
    """Why a strict run ends here."""

    @classmethod
    def of_note(cls, folder: Path, span: Span) -> "SpanDone | None":
        """Return what an earlier run noted of a span, if it still holds."""
        with suppress(OSError, ValueError, TypeError, KeyError, UserError):
            note = parse_json((folder / note_file(span.number)).read_text(encoding="utf-8"))
            shard = ShardInfo(**note["shard"]) if note["shard"] else None
            done = cls(**{**note, "shard": shard, "skipped": [Skip(**s) for s in note["skipped"]]})
            # An image that could not be opened is tried again.
            if (done.start, done.stop) == (span.start, span.stop) and not any(
                skip.unreadable for skip in done.skipped
            ):
                if shard is not None:
                    check_shard(folder, shard)
                return done
        return None


@dataclass(frozen=True)
class SpanTask:
    """Encodes one span and writes its shard; pickles if model and opener do."""

    model: "HookedCLIP"
    """As the caller gave it; each worker takes it where the config says."""
    opener: ImageOpener
    """Opens the pictures."""
    cfg: ExtractConfig
    """What to take."""
    n_tokens: int
    """Rows per image."""
    folder: Path
    """The store's folder, the same for every worker."""

    def __call__(self, part: SpanPart) -> SpanDone:
        """Return what became of the span; its shard is written, and then its note."""
        with _one_at_a_time:
            return self._done(part)

    @cached_property
    def _prepared(self) -> "HookedCLIP":
        return prepare_model(self.model, self.cfg)

    def _done(self, part: SpanPart) -> SpanDone:
        span = part.span
        # An engine that lost its answer asks again.
        noted = SpanDone.of_note(self.folder, span)
        if noted is not None:
            return noted
        try:
            batches = list(self._encoded(part))
        except Refused as refused:
            return SpanDone(span.start, span.stop, None, [], str(refused))
        shard = write_shard(self.folder, span.number, span.start, batches)
        skipped = [skip for batch in batches for skip in batch.skipped]
        done = SpanDone(span.start, span.stop, shard, skipped)
        write_json_atomically(self.folder / note_file(span.number), asdict(done))
        return done

    def _encoded(self, part: SpanPart) -> Iterator[EncodedBatch]:
        model = self._prepared
        encoder = BatchEncoder(model, part.plan, [self.cfg], [self.n_tokens])
        assert model.preprocess is not None
        spans = Span(0, 0, part.plan.n_images).batches(self.cfg.batch_size)
        decoded_of = decoded_batches(
            self.opener,
            model.preprocess,
            [part.plan.image_keys[start:stop] for start, stop in spans],
            # There are workers enough already, unless somebody says otherwise.
            self.cfg.num_workers or 0,
            pin_memory=model.device.type == "cuda",
        )
        with HookReader(model, self.cfg).attached() as reader:
            for (start, stop), decoded in zip(spans, decoded_of, strict=True):
                (batch,) = encoder.encode(reader, start, stop, decoded)
                yield _moved(batch, part)


def encode_apart(
    task: SpanTask, engine: ShardEngine, plan: ExtractionPlan, state: Progress, progress: bool
) -> None:
    """Have what is left of a plan encoded, and note each span in order.

    Raises
    ------
    Refused
        If something cannot be used and the config is strict.
    UserError
        If the workers do not write into the folder that this process reads, or pictures of shards
        that an interrupted run left have changed.
    """
    from tqdm import tqdm

    folder = task.folder
    spans = spans_of(plan, task.cfg, task.n_tokens, state)
    found = {span: SpanDone.of_note(folder, span) for span in spans}
    noted = {span: done for span, done in found.items() if done is not None}
    if isinstance(task.opener, PictureOpener):
        shards = [done.shard for done in noted.values() if done.shard is not None]
        refuse_changed_pictures(folder, shards, plan, task.opener)
    results = engine.map(task, (_part(plan, span) for span in spans if span not in noted))
    bar = tqdm(
        total=plan.n_images,
        initial=state.n_done,
        desc="extract",
        unit="image",
        disable=not progress,
    )
    try:
        with bar:
            for span in spans:
                done = noted.get(span) or next(results)
                if done.refused is not None:
                    raise Refused(done.refused)
                _take(done, span, state, folder)
                bar.update(span.stop - span.start)
            # An engine may have something to put away.
            assert next(results, None) is None
    finally:
        # At once, also where the traceback of an interruption still holds it.
        if isinstance(results, Generator):
            results.close()


def _take(done: SpanDone, span: Span, state: Progress, folder: Path) -> None:
    if done.shard is not None and not (folder / done.shard.file).is_file():
        raise UserError(
            f"A worker wrote {done.shard.file} and it is not in {folder} here: give a folder that "
            "all machines share."
        )
    state.advance(folder, done.stop, done.shard, done.skipped)
    (folder / note_file(span.number)).unlink(missing_ok=True)


def _part(plan: ExtractionPlan, span: Span) -> SpanPart:
    first, last = plan.first_pair[span.start], plan.first_pair[span.stop]
    piece = ExtractionPlan(
        image_keys=plan.image_keys[span.start : span.stop],
        image_ids=plan.image_ids[span.start : span.stop],
        first_pair=[pair - first for pair in plan.first_pair[span.start : span.stop + 1]],
        captions=plan.captions[first:last],
        faults={pair - first: why for pair, why in plan.faults.items() if first <= pair < last},
    )
    return SpanPart(span, piece, first)


def _moved(batch: EncodedBatch, part: SpanPart) -> EncodedBatch:
    """Return a batch of the part's own plan with the positions of the whole one."""
    first = part.span.start
    return replace(
        batch,
        start=batch.start + first,
        stop=batch.stop + first,
        image_positions=[image + first for image in batch.image_positions],
        pair_positions=[pair + part.first_pair for pair in batch.pair_positions],
        skipped=[replace(skip, position=skip.position + first) for skip in batch.skipped],
    )
