"""One batch of images with their captions: encode, and set aside what cannot be used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.activations.capture import HookReader
from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.activations.cutting import CutCaptions
from mm_sae_plugin.activations.decoding import DecodedBatch
from mm_sae_plugin.activations.manifest import Skip
from mm_sae_plugin.activations.plan import ExtractionPlan
from mm_sae_plugin.devices import checked_dtype
from mm_sae_plugin.pairs.captions import printable

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP

Item = TypeVar("Item")

_NOT_FINITE = "the activations are not finite"


@dataclass(frozen=True)
class EncodedBatch:
    """What became of the distinct images ``start`` to ``stop``."""

    start: int
    """Position of the first image."""
    stop: int
    """One after the last."""
    image_positions: list[int]
    """The images that are kept."""
    image_rows: Float[Tensor, "rows d_image"]
    """Their rows, in the store's dtype."""
    pair_positions: list[int]
    """The captions that are kept."""
    text_rows: Float[Tensor, "pairs d_text"] | None
    """Their rows; None without a text tower."""
    skipped: list[Skip]
    """What is not kept."""
    n_captions_cut: int | None = None
    """Captions that are kept and were longer than the context; None without a text tower."""
    facts: Int[Tensor, "images 2"] | None = None
    """What is known of the files of the images that are kept."""


class Refused(Exception):
    """Something that cannot be used was met, and the run is strict."""


@dataclass(frozen=True)
class _Read:
    """What the towers made of a batch."""

    start: int
    stop: int
    images: list[int]
    """Images that could be opened."""
    acts_image: list[Float[Tensor, "_ _"]]
    """Their rows, for each config."""
    pairs: list[tuple[int, int]]
    """Image and position of each caption that says something."""
    acts_text: dict[str, Float[Tensor, "pairs _"]]
    """Their rows, for each text hook."""
    cut: Bool[Tensor, "pairs"]
    """Which of them were longer than the context."""
    unreadable: list[Skip]
    """Images that could not be opened."""
    silent: list[Skip]
    """Captions that say nothing."""


class BatchEncoder:
    """Encodes the batches of a plan, once for all stores that are made of it.

    Parameters
    ----------
    model
        The model, where and as it is to run.
    plan
        Images and captions in order.
    cfgs
        What to take for each store. They differ in nothing but the hooks.
    n_tokens
        Rows per image of each.
    """

    def __init__(
        self,
        model: "HookedCLIP",
        plan: ExtractionPlan,
        cfgs: Sequence[ExtractConfig],
        n_tokens: Sequence[int],
    ) -> None:
        self.model = model
        self.plan = plan
        self.cfgs = cfgs
        self.n_tokens = n_tokens
        self._dtype = checked_dtype(cfgs[0].dtype)
        self._are_cut: CutCaptions | None = None

    def encode(
        self, reader: HookReader, start: int, stop: int, decoded: DecodedBatch
    ) -> list[EncodedBatch]:
        """Encode images ``start`` to ``stop`` and their captions: a batch for each store.

        Raises
        ------
        Refused
            If something cannot be used and the config is strict.
        """
        unreadable = [
            self._skip(start + i, reason, unreadable=True) for i, reason in decoded.bad.items()
        ]
        if decoded.pixels is None:
            none = EncodedBatch(start, stop, [], torch.zeros(0, 0), [], None, unreadable)
            return [none for _ in self.cfgs]
        images = [start + i for i in decoded.good]
        read = self._read(reader, start, stop, images, decoded.pixels, unreadable)
        return [self._batch(store, read, decoded) for store in range(len(self.cfgs))]

    def _read(
        self,
        reader: HookReader,
        start: int,
        stop: int,
        images: list[int],
        pixels: Float[Tensor, "images 3 height width"],
        unreadable: list[Skip],
    ) -> _Read:
        acts_image = reader.images(pixels)
        if not any(cfg.text_hook for cfg in self.cfgs):
            none = torch.zeros(0, dtype=torch.bool)
            return _Read(start, stop, images, acts_image, [], {}, none, unreadable, [])
        captions, batch_size = self.plan.captions, self.cfgs[0].batch_size
        listed = [(image, pair) for image in images for pair in self.plan.pairs_of(image)]
        silent = [
            self._skip(image, self.plan.faults.get(pair, "the caption is empty"))
            for image, pair in listed
            if not captions[pair].strip()
        ]
        pairs = [(image, pair) for image, pair in listed if captions[pair].strip()]
        # Both towers are under way before the first result is fetched from the device.
        cut, parts = [torch.zeros(0, dtype=torch.bool)], []
        for i in range(0, len(pairs), batch_size):
            said = [captions[pair] for _, pair in pairs[i : i + batch_size]]
            tokens = self._tokens(said)
            parts.append(reader.texts(tokens))
            cut.append(self.are_cut(said, tokens))
        acts_text = {hook: torch.cat([part[hook] for part in parts]) for hook in (parts or [{}])[0]}
        return _Read(
            start, stop, images, acts_image, pairs, acts_text, torch.cat(cut), unreadable, silent
        )

    def _batch(self, store: int, read: _Read, decoded: DecodedBatch) -> EncodedBatch:
        text_hook = self.cfgs[store].text_hook
        if text_hook is None:
            batch = self._images_alone(store, read)
        else:
            batch = self._with_captions(read.acts_image[store], text_hook, read)
        if decoded.facts is None:
            return batch
        kept = set(batch.image_positions)
        return replace(batch, facts=decoded.facts[torch.tensor([i in kept for i in read.images])])

    def _images_alone(self, store: int, read: _Read) -> EncodedBatch:
        n_tokens = self.n_tokens[store]
        rows, finite = self._stored(read.acts_image[store], n_tokens)
        skipped = [self._skip(image, _NOT_FINITE) for image in _pick(read.images, ~finite)]
        kept = _pick(read.images, finite)
        pairs = [pair for image in kept for pair in self.plan.pairs_of(image)]
        rows = rows[finite.repeat_interleave(n_tokens)]
        skipped = [*read.unreadable, *skipped]
        return EncodedBatch(read.start, read.stop, kept, rows, pairs, None, skipped)

    def _with_captions(
        self, acts_image: Float[Tensor, "images d_image"], text_hook: str, read: _Read
    ) -> EncodedBatch:
        images, pairs = read.images, read.pairs
        image_rows, finite = self._stored(acts_image)
        skipped = [*read.unreadable, *read.silent]
        skipped += [self._skip(image, _NOT_FINITE) for image in _pick(images, ~finite)]
        if not pairs:
            rows = image_rows[:0]
            return EncodedBatch(read.start, read.stop, [], rows, [], None, skipped, 0)
        text_rows, text_finite = self._stored(read.acts_text[text_hook])
        skipped += [
            self._skip(image, f"{_NOT_FINITE} for the caption {self.plan.captions[pair]!r}")
            for image, pair in _pick(pairs, ~text_finite)
        ]
        usable = set(_pick(images, finite))
        keep_pair = text_finite & torch.tensor([image in usable for image, _ in pairs])
        kept_pairs = _pick(pairs, keep_pair)
        # An image none of whose captions is left has nothing to be paired with.
        paired = {image for image, _ in kept_pairs}
        keep_image = torch.tensor([image in paired for image in images])
        return EncodedBatch(
            start=read.start,
            stop=read.stop,
            image_positions=_pick(images, keep_image),
            image_rows=image_rows[keep_image],
            pair_positions=[pair for _, pair in kept_pairs],
            text_rows=text_rows[keep_pair],
            skipped=skipped,
            n_captions_cut=int((read.cut & keep_pair).sum()),
        )

    @property
    def are_cut(self) -> CutCaptions:
        """Finds the captions that are longer than the context."""
        if self._are_cut is None:
            assert self.model.tokenizer is not None
            self._are_cut = CutCaptions(self.model.tokenizer)
        return self._are_cut

    def _tokens(self, captions: list[str]) -> Int[Tensor, "captions ctx"]:
        assert self.model.tokenizer is not None
        return self.model.tokenizer(captions)

    def _stored(
        self, acts: Float[Tensor, "rows d"], rows_each: int = 1
    ) -> tuple[Float[Tensor, "rows d"], Bool[Tensor, "items"]]:
        rows = acts.to(self._dtype).cpu()
        # After the cast: a large number may have become infinite in a narrow dtype.
        finite = torch.isfinite(rows).all(dim=1).unflatten(0, (-1, rows_each)).all(dim=1)
        return rows, finite

    def _skip(self, image: int, reason: str, unreadable: bool = False) -> Skip:
        image_id = self.plan.image_ids[image]
        if self.cfgs[0].strict:
            raise Refused(
                f"{image_id}: {reason}; mend or remove it, or leave strict out to skip it."
            )
        # Reasons quote file names and captions of any kind, and end in a file.
        return Skip(image, image_id, printable(reason), unreadable)


def _pick(items: Sequence[Item], mask: Bool[Tensor, "items"]) -> list[Item]:
    return [item for item, chosen in zip(items, mask.tolist(), strict=True) if chosen]
