"""Pairs as independent encoders see them: embedded once, for any number of feature maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.independent_encoder import IndependentEncoder
from mm_sae_plugin.stats.examples import first_of_caption
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.passes import pair_parts
from mm_sae_plugin.stats.sampled import draw_images, pairs_of_images

if TYPE_CHECKING:
    from PIL.Image import Image

# Rows on which two encoders are compared, and how near all their cosines must be to be one.
_N_COMPARED = 256
_SAME_COSINE = 1e-3


@dataclass(frozen=True)
class EmbeddedRows:
    """One modality's rows as an independent encoder sees them."""

    unit: Float[Tensor, "n_rows d"]
    """float32, of length 1 where `used`."""
    used: Bool[Tensor, "n_rows"]
    """Which rows count: of captions that repeat the first, and none that the encoder has no row
    for."""
    fold: Int[Tensor, "n_rows"]
    """In which fold of images each row lies."""
    encoder: str
    """Name of the encoder."""
    identity: str
    """Its weights."""

    @cached_property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def n_used(self) -> int:
        """Number of rows that count."""
        return int(self.used.sum())


@dataclass(frozen=True)
class EmbeddedPairs:
    """Some images of a store with their captions, embedded."""

    store: PairedActivations
    """The pairs: codes are taken of these."""
    image: EmbeddedRows | None
    """The images, one row each; None where there is no encoder of images."""
    text: EmbeddedRows | None
    """The captions, one row a pair; None where there is no encoder of captions."""
    joint: tuple[EmbeddedRows, EmbeddedRows] | None
    """Images and captions in one space; None where no encoder sees both."""
    n_missing: int = 0
    """Pictures that were drawn for the sample and were not found."""


def embed_pairs(
    store: PairedActivations,
    image: IndependentEncoder | None = None,
    text: IndependentEncoder | None = None,
    joint: IndependentEncoder | None = None,
    n_images: int | None = None,
    n_folds: int = 10,
    seed: int = 0,
    progress: bool = False,
) -> EmbeddedPairs:
    """Embed images and captions of a store with encoders that are not the one interpreted.

    Each picture is opened once. Memory is one row per image and caption.

    Parameters
    ----------
    store : PairedActivations
        What the features are of.
    image, text, joint : IndependentEncoder, optional
        Of the images, of the captions, and one of both for what fires across modalities.
    n_images : int, optional
        Draw so many images, with all of their captions; all by default.
    n_folds : int
        Folds of images for intervals, at least 2.
    seed : int
        Of the draw and the folds.
    progress : bool
        Show a progress bar.

    Raises
    ------
    UserError
        If none of the pictures is found, or an encoder gives the interpreted encoder's own rows.
    """
    drawn = draw_images(len(store.image_ids), n_images, seed)
    found, (of_image, of_joint) = _embed_pictures(store, drawn, (image, joint), progress)
    chosen = pairs_of_images(store, found)
    fold = _deal(len(found), n_folds, seed)
    every_image = torch.ones(len(found), dtype=torch.bool)
    first = first_of_caption(chosen.captions)

    def images(encoder: IndependentEncoder | None, unit: Tensor | None) -> EmbeddedRows | None:
        return None if unit is None or encoder is None else _rows(encoder, unit, fold, every_image)

    def texts(encoder: IndependentEncoder | None) -> EmbeddedRows | None:
        if encoder is None:
            return None
        return _rows(encoder, encoder.embed_texts(chosen.captions), fold[chosen.image_index], first)

    both = images(joint, of_joint), texts(joint)
    embedded = EmbeddedPairs(
        chosen,
        images(image, of_image),
        texts(text),
        None if both[0] is None or both[1] is None else (both[0], both[1]),
        n_missing=len(drawn) - len(found),
    )
    _refuse_the_interpreted(embedded)
    return embedded


def _rows(
    encoder: IndependentEncoder,
    unit: Float[Tensor, "n_rows d"],
    fold: Int[Tensor, "n_rows"],
    counts: Bool[Tensor, "n_rows"],
) -> EmbeddedRows:
    # What has no word that the encoder knows is a row of zeros.
    used = counts & (unit.norm(dim=1) > 0.5)
    return EmbeddedRows(unit, used, fold, encoder.name, encoder.identity)


def _embed_pictures(
    store: PairedActivations,
    drawn: Int[Tensor, "n_drawn"],
    encoders: Sequence[IndependentEncoder | None],
    progress: bool,
) -> tuple[Int[Tensor, "n_found"], list[Tensor | None]]:
    """Open each picture once for all encoders: which were found, and their rows by each."""
    from tqdm import tqdm

    if not any(encoders):
        return drawn, [None for _ in encoders]
    parts: list[list[Tensor]] = [[] for _ in encoders]
    found: list[int] = []
    with tqdm(total=len(drawn), desc="embed", unit="picture", disable=not progress) as bar:
        for rows in drawn.split(256):
            pictures = dict(_opened(store, rows.tolist()))
            bar.update(len(rows))
            if not pictures:
                continue
            found.extend(pictures)
            for encoder, part in zip(encoders, parts, strict=True):
                if encoder is not None:
                    part.append(encoder.embed_images(pictures.values()))
    if not found:
        raise UserError(
            "None of the store's pictures was found, so no encoder can judge what images a feature "
            "fires on: bring the pictures back to where they were extracted from."
        )
    return torch.tensor(found), [torch.cat(part) if part else None for part in parts]


def _opened(store: PairedActivations, rows: list[int]) -> Iterator[tuple[int, "Image"]]:
    for row in rows:
        picture = store.open_image(row)
        if picture is not None:
            yield row, picture


def _deal(n_images: int, n_folds: int, seed: int) -> Int[Tensor, "n_images"]:
    """Deal images into folds of equal size, by chance."""
    assert n_folds >= 2
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randperm(n_images, generator=generator) % n_folds


def _refuse_the_interpreted(embedded: EmbeddedPairs) -> None:
    """Refuse an encoder whose cosines are those of the activations: it is the same one renamed."""
    joint_image, joint_text = embedded.joint or (None, None)
    part = next(pair_parts(embedded.store, _N_COMPARED))
    for rows, acts, index in (
        (embedded.image, part.acts_image, part.image_index),
        (joint_image, part.acts_image, part.image_index),
        (embedded.text, part.acts_text, part.pair_index),
        (joint_text, part.acts_text, part.pair_index),
    ):
        if rows is None:
            continue
        used = rows.used[index]
        theirs = rows.unit[index][used]
        ours = torch.nn.functional.normalize(acts[used].float(), dim=1)
        if len(ours) > 2 and (theirs @ theirs.T - ours @ ours.T).abs().max() < _SAME_COSINE:
            raise UserError(
                f"{rows.encoder} gives the very similarities of the encoder that is interpreted "
                "and cannot judge its features: name another one."
            )
