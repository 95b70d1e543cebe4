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


class BatchEncoder:
    """Encodes the batches of a plan.

    Parameters
    ----------
    model
        The model, where and as it is to run.
    plan
        Images and captions in order.
    cfg
        What to take.
    n_tokens
        Rows per image.
    """

    def __init__(
        self, model: "HookedCLIP", plan: ExtractionPlan, cfg: ExtractConfig, n_tokens: int
    ) -> None:
        self.model = model
        self.plan = plan
        self.cfg = cfg
        self.n_tokens = n_tokens
        self._dtype = checked_dtype(cfg.dtype)
        self._are_cut: CutCaptions | None = None

    def encode(
        self, reader: HookReader, start: int, stop: int, decoded: DecodedBatch
    ) -> EncodedBatch:
        """Encode images ``start`` to ``stop`` and their captions.

        Raises
        ------
        Refused
            If something cannot be used and the config is strict.
        """
        skipped = [
            self._skip(start + i, reason, unreadable=True) for i, reason in decoded.bad.items()
        ]
        if decoded.pixels is None:
            return EncodedBatch(start, stop, [], torch.zeros(0, 0), [], None, skipped)
        images = [start + i for i in decoded.good]
        acts_image = reader.images(decoded.pixels)
        if self.cfg.text_hook is None:
            batch = self._images_alone(start, stop, images, acts_image, skipped)
        else:
            batch = self._with_captions(reader, start, stop, images, acts_image, skipped)
        if decoded.facts is None:
            return batch
        kept = set(batch.image_positions)
        rows = torch.tensor([image in kept for image in images])
        return replace(batch, facts=decoded.facts[rows])

    def _images_alone(
        self,
        start: int,
        stop: int,
        images: list[int],
        acts: Float[Tensor, "rows d_image"],
        skipped: list[Skip],
    ) -> EncodedBatch:
        rows, finite = self._stored(acts, self.n_tokens)
        skipped = skipped + [self._skip(image, _NOT_FINITE) for image in _pick(images, ~finite)]
        kept = _pick(images, finite)
        pairs = [pair for image in kept for pair in self.plan.pairs_of(image)]
        rows = rows[finite.repeat_interleave(self.n_tokens)]
        return EncodedBatch(start, stop, kept, rows, pairs, None, skipped)

    def _with_captions(
        self,
        reader: HookReader,
        start: int,
        stop: int,
        images: list[int],
        acts_image: Float[Tensor, "rows d_image"],
        skipped: list[Skip],
    ) -> EncodedBatch:
        captions, batch_size = self.plan.captions, self.cfg.batch_size
        listed = [(image, pair) for image in images for pair in self.plan.pairs_of(image)]
        silent = [(image, pair) for image, pair in listed if not captions[pair].strip()]
        skipped = skipped + [
            self._skip(image, self.plan.faults.get(pair, "the caption is empty"))
            for image, pair in silent
        ]
        pairs = [(image, pair) for image, pair in listed if captions[pair].strip()]
        # Both towers are under way before the first result is fetched from the device.
        parts = [pairs[i : i + batch_size] for i in range(0, len(pairs), batch_size)]
        cut, acts_text = [], []
        for part in parts:
            said = [captions[pair] for _, pair in part]
            tokens = self._tokens(said)
            acts_text.append(reader.texts(tokens))
            cut.append(self.are_cut(said, tokens))

        image_rows, finite = self._stored(acts_image)
        skipped += [self._skip(image, _NOT_FINITE) for image in _pick(images, ~finite)]
        if not acts_text:
            return EncodedBatch(start, stop, [], image_rows[:0], [], None, skipped, 0)
        text_rows, text_finite = self._stored(torch.cat(acts_text))
        skipped += [
            self._skip(image, f"{_NOT_FINITE} for the caption {captions[pair]!r}")
            for image, pair in _pick(pairs, ~text_finite)
        ]
        usable = set(_pick(images, finite))
        keep_pair = text_finite & torch.tensor([image in usable for image, _ in pairs])
        kept_pairs = _pick(pairs, keep_pair)
        n_cut = int((torch.cat(cut) & keep_pair).sum())
        # An image none of whose captions is left has nothing to be paired with.
        paired = {image for image, _ in kept_pairs}
        keep_image = torch.tensor([image in paired for image in images])
        return EncodedBatch(
            start=start,
            stop=stop,
            image_positions=_pick(images, keep_image),
            image_rows=image_rows[keep_image],
            pair_positions=[pair for _, pair in kept_pairs],
            text_rows=text_rows[keep_pair],
            skipped=skipped,
            n_captions_cut=n_cut,
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
        if self.cfg.strict:
            raise Refused(
                f"{image_id}: {reason}; mend or remove it, or leave strict out to skip it."
            )
        # Reasons quote file names and captions of any kind, and end in a file.
        return Skip(image, image_id, printable(reason), unreadable)


def _pick(items: Sequence[Item], mask: Bool[Tensor, "items"]) -> list[Item]:
    return [item for item, chosen in zip(items, mask.tolist(), strict=True) if chosen]
